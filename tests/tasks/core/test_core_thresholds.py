"""Thresholds: their file, and what of it is refused."""

from datetime import timedelta
from pathlib import Path

import numpy as np
import pytest
import yaml

from tasks.core.catalogue import Catalogue
from tasks.core.errors import ConfigurationInvalid
from tasks.core.evaluations import Evaluations
from tasks.core.finding import Finding
from tasks.core.severity import Severity
from tasks.core.thresholds import Threshold, check_thresholds, read_thresholds

ROOT = Path(__file__).resolve().parents[3]
SHIPPED = ROOT / "config" / "alert-thresholds.yaml"
FIELD = {
    "field": "node.cpu_usage_ratio",
    "comparison": ">",
    "value": 0.8,
    "severity": "warning",
    "summary": "busy",
}


def read(tmp_path: Path, **changes: object) -> tuple[Threshold, ...]:
    entry = {key: value for key, value in (FIELD | changes).items() if value is not None}
    path = tmp_path / "alert-thresholds.yaml"
    path.write_text(yaml.safe_dump({"thresholds": {"busy": entry}}))
    return read_thresholds(path)


def test_the_shipped_limits_of_the_host() -> None:
    shipped = {each.id: each for each in read_thresholds(SHIPPED)}

    limits = [shipped[name].value for name in ("host_cpu", "host_memory", "host_disk")]
    assert limits == [0.8, 0.85, 0.9]


def test_a_threshold_has_the_values_of_the_file(tmp_path: Path) -> None:
    (found,) = read(tmp_path, **{"for": "5m", "when": "memory_usage_ratio > 0.5"})

    assert (found.id, found.for_, found.mode) == ("busy", timedelta(minutes=5), "alert")
    assert found.severity is Severity.WARNING
    assert found.condition == ("memory_usage_ratio", ">", 0.5)
    values = Evaluations(np.array([0, 60]), np.array([0.81, 0.8]))
    assert found.breaches(values).times.tolist() == [0]


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"sevrity": "high"}, "unknown key thresholds.busy.sevrity (did you mean severity?)"),
        ({"expr": "up"}, "either `expr` or `field`"),
        ({"field": None}, "either `expr` or `field`"),
        ({"value": None}, "`comparison` and `value` go together"),
        ({"value": None, "comparison": None}, "`field` needs"),
        ({"value": float("nan")}, "finite"),
        ({"field": "node"}, "thresholds.busy.field"),
        ({"for": 5}, "is not a duration"),
        ({"severity": "page"}, "thresholds.busy.severity"),
        ({"mode": "mute"}, "thresholds.busy.mode"),
        ({"when": "sum(up) > 0"}, "FIELD > NUMBER"),
        ({"when": "cpu_usage_ratio > x"}, "FIELD > NUMBER"),
        ({"summary": "now {{ $value }}"}, "may not show the value"),
        ({"annotations": {"more": "{{ .Value }}"}}, "may not show the value"),
        ({"tags": ["a-b"]}, "thresholds.busy.tags.0"),
        ({"no_data_after": "0s"}, "thresholds.busy.no_data_after"),
    ],
)
def test_a_wrong_threshold_is_refused_by_its_key(
    tmp_path: Path, changes: dict[str, object], words: str
) -> None:
    with pytest.raises(ConfigurationInvalid) as caught:
        read(tmp_path, **changes)

    assert words in str(caught.value)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"field": "node.cpu"}, "the catalogue has no node.cpu"),
        ({"field": "training_run.state"}, "is text"),
        ({"for": "10s"}, "`for` 10s is shorter than the step of node, 15s"),
        ({"tags": ["gpu"]}, "node has no tag gpu"),
        ({"environment": "mars"}, "there is no environment 'mars'"),
        ({"when": "warm > 1"}, "the catalogue has no node.warm"),
    ],
)
def test_a_threshold_that_fits_nothing_is_refused(
    tmp_path: Path, changes: dict[str, object], words: str
) -> None:
    catalogue = Catalogue.read(ROOT / "config" / "metrics.yaml")
    check_thresholds(read(tmp_path), catalogue, ["production"], SHIPPED)

    with pytest.raises(ConfigurationInvalid) as caught:
        check_thresholds(read(tmp_path, **changes), catalogue, ["production"], SHIPPED)

    assert f"busy: {words}" in str(caught.value) or words in str(caught.value)


def test_a_fingerprint_is_of_rule_environment_and_declared_tags(tmp_path: Path) -> None:
    (found,) = read(tmp_path, tags=["instance"])
    labels = {"instance": "a:9100", "job": "node"}
    mine = found.fingerprint("production", labels)

    assert mine == found.fingerprint("production", {"instance": "a:9100", "severity": "high"})
    subject = found.subject("production", labels)
    assert mine == Finding("rule", Severity.HIGH, "", {}, subject=subject).fingerprint
    others = {
        found.fingerprint("staging", labels),
        found.fingerprint("production", {"instance": "b:9100"}),
        found.model_copy(update={"id": "calm"}).fingerprint("production", labels),
    }
    assert len(others - {mine}) == 3
