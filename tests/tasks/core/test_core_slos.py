"""slos.yaml: what it refuses, by name."""

from pathlib import Path
from typing import Any

import pytest
import yaml

from tasks.analysis.slo.slo_rules import require_own_names, require_selectors, thresholds_of
from tasks.core.errors import ConfigurationInvalid
from tasks.core.settings import shipped
from tasks.core.slos import Slo, read_slos
from tasks.core.window import parse_duration

RATIO = {"total": "x_total", "bad": 'x_total{status="500"}'}
SLICES = {"expr": "x", "comparison": "<", "value": 1}
GOOD: dict[str, Any] = {"objective": 0.99, "ratio": RATIO, "summary": "it fails"}


def read(folder: Path, **changes: Any) -> Slo:
    path = folder / "slos.yaml"
    path.write_text(yaml.safe_dump({"slos": {"mine": {**GOOD, **changes}}}))
    (found,) = read_slos(path, ("production",))
    require_selectors([found], path)
    return found


def test_a_good_one_is_read_and_begins_in_mode_observe(tmp_path: Path) -> None:
    found = read(tmp_path)

    assert (found.id, found.mode, found.window) == ("mine", "observe", parse_duration("30d"))
    assert found.budget == 0.01
    assert found.ratio is not None
    assert found.ratio.total == ("x_total",)


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"objective": 1}, "slos.mine.objective: 100 % leaves no budget"),
        ({"objective": 0.3}, "0.3 is not a share from 0.5 to below 1"),
        ({"objective": 99.9}, "99.9 is not a share"),
        ({"objective": float("nan")}, "slos.mine.objective: Input should be a finite number"),
        ({"window": "30m"}, "slos.mine.window: Input should be greater than or equal to 1 hour"),
        ({"window": "91d"}, "slos.mine.window: Input should be less than or equal to 90 days"),
        ({"ratio": None}, "needs either `ratio` or `slices`"),
        ({"slices": SLICES}, "needs either `ratio` or `slices`"),
        ({"ratio": {"total": "x_total"}}, "needs either `bad` or `good`"),
        ({"ratio": {**RATIO, "good": "x"}}, "needs either `bad` or `good`"),
        ({"ratio": {**RATIO, "total": []}}, "slos.mine.ratio.total"),
        ({"ratio": {**RATIO, "total": "rate(x_total[5m])"}}, "mine: 'rate(x_total[5m])' is not a c"),
        ({"ratio": {**RATIO, "total": "x_total offset 5m"}}, "is not a counter"),
        ({"ratio": {**RATIO, "bad": "x_total{"}}, "is not a counter"),
        ({"ratio": None, "slices": {**SLICES, "expr": "sum("}}, "mine: `expr` is not PromQL"),
        ({"ratio": None, "slices": {**SLICES, "value": float("inf")}}, "finite number"),
        ({"ratio": None, "slices": SLICES, "no_traffic_after": "1h"}, "time slices have no traffic"),
        ({"environment": "moon"}, "mine: there is no environment 'moon'"),
        ({"objectiv": 0.9}, "unknown key slos.mine.objectiv (did you mean objective?)"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_refused_by_name(
    changes: dict[str, Any], problem: str, tmp_path: Path
) -> None:
    with pytest.raises(ConfigurationInvalid) as caught:
        read(tmp_path, **changes)

    assert problem in str(caught.value)


def test_a_definition_changes_with_what_its_values_depend_on() -> None:
    one = Slo.model_validate({**GOOD, "id": "mine"})

    assert one.model_copy(update={"mode": "alert", "summary": "x"}).definition == one.definition
    assert one.model_copy(update={"objective": 0.9}).definition != one.definition
    assert one.model_copy(update={"window": parse_duration("7d")}).definition != one.definition


def test_a_threshold_may_not_have_the_name_of_an_alert() -> None:
    slos = read_slos(shipped("config") / "slos.yaml", ())
    alert = next(thresholds_of(slos[0], "p", parse_duration("1m")))

    require_own_names(slos, [alert.model_copy(update={"id": "other"})])
    with pytest.raises(ConfigurationInvalid, match="slo_availability_fast"):
        require_own_names(slos, [alert])
