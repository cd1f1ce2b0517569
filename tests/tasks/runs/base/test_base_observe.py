"""Fields of the lake against their thresholds, at the measurement's own step."""

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from tasks.analysis.rules.judge import Judgement, judge
from tasks.core.batch import build_frame
from tasks.core.catalogue import Catalogue
from tasks.core.settings import shipped
from tasks.core.thresholds import Threshold
from tasks.core.window import Window
from tasks.lake.tables import Lake
from tasks.runs.base.observe import in_lake

CATALOGUE = Catalogue.read(shipped("config") / "metrics.yaml")
NODE = CATALOGUE["node"]
START = datetime(2026, 11, 1, tzinfo=UTC)
MINUTE, STEP = timedelta(minutes=1), timedelta(seconds=15)
ALL = list(Window(START, START + timedelta(days=2)).cells(timedelta(days=1)))


def busy(**changes: Any) -> Threshold:
    common = {"id": "busy", "field": "node.cpu_usage_ratio", "comparison": ">", "value": 0.8}
    rest = {"severity": "warning", "tags": ["instance"], "summary": "it is busy"}
    return Threshold.model_validate({**common, **rest, **changes})


def lake_with(folder: Path, series: dict[str, list[float | None]], step: timedelta = STEP) -> Lake:
    """A lake with these values of node, by instance, one each step; None is a row without."""
    lake = Lake(str(folder / "lake"))
    rows = [
        (START + index * step, name, value)
        for name, values in series.items()
        for index, value in enumerate(values)
        if value is not None
    ]
    times, names, values = zip(*rows, strict=True)
    frame = build_frame(
        NODE,
        {
            "time": list(times),
            "environment": ["production"] * len(rows),
            "instance": list(names),
            "cpu_usage_ratio": list(values),
            "memory_usage_ratio": [0.5] * len(rows),
        },
    )
    lake.land(NODE, frame, ALL, "production", {"run_id": "r"})
    return lake


def judged(threshold: Threshold, lake: Lake, at: datetime) -> list[Judgement]:
    return judge(threshold, "production", in_lake(threshold, CATALOGUE, lake, "production", at))


def states(found: list[Judgement]) -> dict[str, tuple[str, float | None]]:
    return {
        one.labels.get("instance", ""): (
            one.state,
            one.since and (one.since - START).total_seconds(),
        )
        for one in found
    }


@pytest.mark.parametrize(
    ("changes", "values", "expected"),
    [
        # the newest value is of 60 s
        ({}, [0.5, 0.5, 0.5, 0.5, 0.9], {"a": ("firing", 60)}),
        ({}, [0.5, 0.9, 0.9, 0.9, 0.9], {"a": ("firing", 15)}),
        ({}, [0.9, 0.9, 0.9, 0.9, 0.8], {"": ("ok", None)}),
        ({"for": "45s"}, [0.5, 0.9, 0.9, 0.9, 0.9], {"a": ("firing", 15)}),
        ({"for": "60s"}, [0.5, 0.9, 0.9, 0.9, 0.9], {"a": ("pending", 15)}),
        # one good value begins it anew
        ({"for": "45s"}, [0.9, 0.9, 0.5, 0.9, 0.9], {"a": ("pending", 45)}),
        # a missing row does not
        ({"for": "45s"}, [0.5, 0.9, None, 0.9, 0.9], {"a": ("firing", 15)}),
        ({"keep_firing_for": "30s"}, [0.5, 0.9, 0.5, 0.5], {"a": ("firing", 15)}),
        ({"keep_firing_for": "15s"}, [0.5, 0.9, 0.5, 0.5], {"": ("ok", None)}),
        ({"when": "memory_usage_ratio > 0.4"}, [0.9, 0.9], {"a": ("firing", 0)}),
        ({"when": "memory_usage_ratio > 0.5"}, [0.9, 0.9], {"": ("not_applicable", None)}),
    ],
)
def test_a_field_is_judged_at_its_step(
    changes: dict[str, Any],
    values: list[float | None],
    expected: dict[str, Any],
    tmp_path: Path,
) -> None:
    lake = lake_with(tmp_path, {"a": values})

    found = judged(busy(**changes), lake, START + 5 * MINUTE)

    assert states(found) == expected


def test_each_group_of_tags_is_judged_for_itself_and_the_worst_comes_first(tmp_path: Path) -> None:
    lake = lake_with(tmp_path, {"a": [0.9] * 4, "b": [0.1] * 4, "c": [0.95] * 4})

    of_each = judged(busy(), lake, START + 5 * MINUTE)
    of_all = judged(busy(tags=[]), lake, START + 5 * MINUTE)

    assert [(one.labels["instance"], one.value) for one in of_each] == [("c", 0.95), ("a", 0.9)]
    assert [(dict(one.labels), one.value) for one in of_all] == [({}, 0.95)]
    assert of_each[0].is_bad
    assert not judged(busy(mode="observe"), lake, START + 5 * MINUTE)[0].is_bad
    finding = of_each[0].finding()
    assert finding.fingerprint == busy().fingerprint("production", {"instance": "c", "job": "x"})
    assert finding.sentence == (
        "busy (instance c): it is busy, 0.95 (limit > 0.8), since 2026-11-01T00:00:00Z"
    )


def test_a_series_that_ended_is_not_firing(tmp_path: Path) -> None:
    minutes = {"gone": [0.9] * 4, "there": [0.5] * 10}
    lake = lake_with(tmp_path, minutes, MINUTE)

    assert states(judged(busy(), lake, START + 9 * MINUTE)) == {"": ("ok", None)}
    # Prometheus would show its last value of minute 3 for 5 minutes
    lake = lake_with(tmp_path / "b", minutes | {"there": [0.5] * 8}, MINUTE)
    assert states(judged(busy(), lake, START + 9 * MINUTE)) == {"gone": ("firing", 0)}


def test_old_data_are_no_data_and_a_finding_if_that_is_asked_for(tmp_path: Path) -> None:
    lake = lake_with(tmp_path, {"a": [0.9] * 4})
    late = START + timedelta(hours=3)

    for threshold, is_finding in ((busy(), False), (busy(no_data_after="1h"), True)):
        (fresh,) = judged(threshold, lake, START + timedelta(hours=1))
        (old,) = judged(threshold, lake, late)
        assert (fresh.state, old.state, old.is_finding) == ("firing", "no_data", is_finding)
    assert old.finding().subject == "busy_no_data production"
