"""Patience: retries within a deadline, and no second wait in one run."""

import time
from dataclasses import dataclass, field

import pytest

from tasks.core.batch import Batch
from tasks.core.errors import (
    FedvitalsError,
    SinkUnavailable,
    SourceOverloaded,
    SourceRefused,
    SourceUnavailable,
)
from tasks.core.measurement import Measurement
from tasks.core.ports import History
from tasks.core.window import Window
from tasks.sources.patient import PatientSource
from tests.support.fakes.memory import MemorySource
from tests.support.suite_examples import a_measurement
from tests.support.workbench import at, rows

M = a_measurement()
WINDOW = Window(at(0), at(1))
FACTS = {"service": "Prometheus", "url": "http://localhost:1", "what": "q", "problem": "503"}
UNAVAILABLE = SourceUnavailable(**FACTS, retry_after=0.01)
OVERLOADED = SourceOverloaded(**FACTS, retry_after=0.01)
REFUSED = SourceRefused(**FACTS, status=400, fix="Fix the query")
DOWN = SinkUnavailable(sink="memory", url="http://localhost:1", problem="down", retry_after=None)


@dataclass
class Recovering:
    """A source that fails so many times before it answers."""

    failures: int
    error: FedvitalsError
    inner: MemorySource = field(default_factory=lambda: MemorySource(rows(M, [at(0.5)])))
    name: str = "prometheus"
    history: History = "range"
    calls: int = 0

    def extract(self, measurement: Measurement, environment: str, window: Window) -> Batch:
        self.calls += 1
        if self.calls <= self.failures:
            raise self.error
        return self.inner.extract(measurement, environment, window)


def test_transient_error_is_tried_again() -> None:
    source = Recovering(2, UNAVAILABLE)
    batch = PatientSource(source, 5.0).extract(M, "production", WINDOW)
    assert (len(batch.frame), source.calls) == (1, 3)


def test_terminal_error_is_raised_at_once() -> None:
    source = Recovering(1, REFUSED)
    patient = PatientSource(source, 5.0)
    with pytest.raises(SourceRefused):
        patient.extract(M, "production", WINDOW)
    assert source.calls == 1
    # and costs no retry_timeout: the next error is waited for
    source.failures, source.error = 2, UNAVAILABLE
    patient.extract(M, "production", WINDOW)
    assert source.calls == 3


def test_source_that_gave_up_once_is_asked_once_a_call() -> None:
    source = Recovering(10**6, UNAVAILABLE)
    patient = PatientSource(source, 0.1)
    started = time.perf_counter()
    with pytest.raises(SourceUnavailable):
        patient.extract(M, "production", WINDOW)
    assert time.perf_counter() - started < 0.5
    tried = source.calls
    assert tried > 2
    for _ in range(3):
        with pytest.raises(SourceUnavailable):
            patient.extract(M, "production", WINDOW)
    assert source.calls == tried + 3


def test_overload_of_one_query_costs_the_others_no_patience() -> None:
    source = Recovering(10**6, OVERLOADED)
    patient = PatientSource(source, 0.1)
    with pytest.raises(SourceOverloaded):
        patient.extract(M, "production", WINDOW)
    source.calls, source.failures, source.error = 0, 2, UNAVAILABLE
    patient.extract(M, "production", WINDOW)
    assert source.calls == 3
