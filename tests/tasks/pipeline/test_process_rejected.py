"""Values that no column can hold, from a source without history to the quarantine."""

from dataclasses import dataclass, replace

import numpy as np
import pytest

from tasks.core.batch import Batch
from tasks.core.measurement import Measurement
from tasks.core.quarantine import Reason, records
from tasks.core.receipt import Values
from tasks.core.severity import Severity
from tasks.core.window import Window
from tests.support.fakes.memory import MemorySource
from tests.support.workbench import Bench, at, rows

NOW = at(0.5)
REASON = Reason(
    "structural", "value", "json_type", "json_type", Severity.CRITICAL, "a number", "no number"
)


@dataclass
class Rejecting(MemorySource):
    """Rejects a value `size_bytes` of "7" in each batch."""

    def extract(self, measurement: Measurement, environment: str, window: Window) -> Batch:
        batch = super().extract(measurement, environment, window)
        raw = rows(measurement, [window.start]).assign(size_bytes=["7"])
        rejected = records(raw, measurement, np.array([0]), ["size_bytes"], REASON)
        return replace(batch, rejected=rejected)


def quarantined(bench: Bench) -> list[tuple[str, str, str]]:
    """Field, text and stage of all records."""
    found = bench.lake.quarantined(bench.measurement.name, "production")
    return sorted(zip(found["field"], found["text"], found["stage"], strict=True))


@pytest.mark.promise(
    "Accounts: every value of a REST answer is landed, quarantined or dropped by rule; a wrong JSON type affects only its value"
)
def test_rejected_values_are_extracted_and_quarantined(bench: Bench) -> None:
    frame = rows(bench.measurement, [NOW, NOW], share_ratio=[0.5, 0.5], size_bytes=[7, 7])
    # the suite takes both rows of a repeated key, and what was rejected stays beside them
    source = Rejecting(frame, name="rest", history="sample", dropped={"nan": 1})
    outcome = bench.run(NOW, source=source)
    assert outcome.values == Values(extracted=6, quarantined=5, dropped_by_rule=1)
    assert quarantined(bench) == [
        ("share_ratio", "0.5", "suite"),
        ("share_ratio", "0.5", "suite"),
        ("size_bytes", "7", "structural"),
        ("size_bytes", "7", "suite"),
        ("size_bytes", "7", "suite"),
    ]


def test_nothing_but_rejected_values_is_no_silence(bench: Bench) -> None:
    source = Rejecting(rows(bench.measurement, []), name="rest", history="sample")
    outcome = bench.run(NOW, source=source)
    (verdict,) = outcome.verdicts
    assert (outcome.state, outcome.rows, verdict.suite) == ("landed", 0, "structural check")
    assert outcome.values == Values(extracted=1, quarantined=1)
    assert quarantined(bench) == [("size_bytes", "7", "structural")]
    assert bench.landed(0).empty


def test_a_good_row_lands_beside_a_rejected_value(bench: Bench) -> None:
    frame = rows(bench.measurement, [NOW], share_ratio=[0.5])
    outcome = bench.run(NOW, source=Rejecting(frame, name="rest", history="sample"))
    assert outcome.values == Values(extracted=2, landed=1, quarantined=1)
    assert bench.landed(0)["share_ratio"].tolist() == [0.5]
    assert bench.sink.values("share_ratio") == [0.5]


def test_the_next_sample_keeps_what_was_rejected_before(bench: Bench) -> None:
    bench.run(NOW, source=Rejecting(rows(bench.measurement, []), name="rest", history="sample"))
    outcome = bench.run(
        at(0.75), source=Rejecting(rows(bench.measurement, []), name="rest", history="sample")
    )
    assert outcome.values == Values(extracted=1, quarantined=1)
    assert quarantined(bench) == [("size_bytes", "7", "structural")] * 2
    state = bench.state(0)
    assert state is not None
    assert (state.quarantined, state.state) == (2, "no_data")
