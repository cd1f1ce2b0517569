"""The suites that are proposed."""

from pathlib import Path

import pytest

from tasks.core.errors import SuiteInvalid
from tasks.runs.init.families import Family, Kind
from tasks.runs.init.fields import drafted
from tasks.runs.init.groups import Proposed, grouped
from tasks.runs.init.suites import suite_for
from tasks.validation.suites import canonical_json, read_suite, verify

KINDS: list[tuple[str, Kind]] = [
    ("a_load", "gauge"),
    ("a_mem_bytes", "gauge"),
    ("a_wait_seconds", "gauge"),
    ("a_hit_ratio", "gauge"),
    ("a_hits_total", "counter"),
    ("a_call_seconds", "histogram"),
]


@pytest.fixture
def proposed() -> Proposed:
    drafts = [drafted(Family(name, kind, ({"job": "a"},))) for name, kind in KINDS]
    [found] = grouped([one for one in drafts if one is not None], ())
    return found


def test_obligations_and_what_is_possible(proposed: Proposed) -> None:
    checks = {
        check["meta"]["check_id"]: (check["kwargs"], check["meta"]["severity"])
        for check in suite_for(proposed)["expectations"]
    }

    def not_negative(column: str) -> dict[str, object]:
        return {"column": column, "min_value": 0}

    assert checks == {
        "rows_present": ({"min_value": 1}, "critical"),
        "key_unique": ({"column_list": ["environment", "job", "time"]}, "critical"),
        "time_present": ({"column": "time"}, "critical"),
        "mem_bytes_possible": (not_negative("mem_bytes"), "warning"),
        "wait_seconds_possible": (not_negative("wait_seconds"), "warning"),
        "hit_ratio_possible": (
            {"column": "hit_ratio", "min_value": 0, "max_value": 1.000001},
            "warning",
        ),
        "hits_per_second_possible": (not_negative("hits_per_second"), "critical"),
        "call_p50_seconds_possible": (not_negative("call_p50_seconds"), "critical"),
        "call_p95_seconds_possible": (not_negative("call_p95_seconds"), "critical"),
        "call_p99_seconds_possible": (not_negative("call_p99_seconds"), "critical"),
        "call_observations_per_second_possible": (
            not_negative("call_observations_per_second"),
            "critical",
        ),
    }


def test_the_suite_is_sound_and_canonical(proposed: Proposed, tmp_path: Path) -> None:
    text = canonical_json(suite_for(proposed))
    (tmp_path / "a.json").write_text(text)

    suite = read_suite(tmp_path, proposed.measurement)
    verify(suite, proposed.measurement)
    assert canonical_json(suite.content) == text


def test_it_is_no_suite_for_another_measurement(proposed: Proposed, tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text(canonical_json(suite_for(proposed)))
    other = proposed.without(["mem_bytes"])
    assert other is not None

    with pytest.raises(SuiteInvalid, match="no column 'mem_bytes'"):
        read_suite(tmp_path, other.measurement)
