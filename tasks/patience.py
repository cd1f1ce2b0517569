"""Patience with outside services: retries within a deadline, and no second wait in one run."""

import threading

from tasks.core.batch import Batch, count_values
from tasks.core.catalogue import Measurement
from tasks.core.errors import FedvitalsError, SourceUnavailable
from tasks.core.loading import CellAnswer, CellToLoad, Sink
from tasks.core.receipt import SinkValues
from tasks.core.retry import retrying
from tasks.core.window import Window
from tasks.work import Source

EXTRACT_DEADLINE_SECONDS = 60.0


class PatientSource:
    """A source whose Transient errors are retried; after it gave up once, each call is one try."""

    def __init__(self, source: Source, deadline_seconds: float = EXTRACT_DEADLINE_SECONDS) -> None:
        self.name = source.name
        self._source = source
        self._deadline = deadline_seconds

    def extract(self, measurement: Measurement, environment: str, window: Window) -> Batch:
        """As the source does.

        Raises:
            FedvitalsError: of the source, a Transient one only after the deadline.
        """
        try:
            return retrying(self._deadline)(self._source.extract, measurement, environment, window)
        except SourceUnavailable:
            self._deadline = 0.0
            raise


class PatientSink:
    """A sink that, after it failed once in a run, leaves everything pending at once."""

    def __init__(self, sink: Sink) -> None:
        self.name = sink.name
        self._sink = sink
        self._error: FedvitalsError | None = None
        self._guard = threading.Lock()

    def load(
        self, measurement: Measurement, environment: str, cells: list[CellToLoad]
    ) -> list[CellAnswer]:
        """As the sink does; all pending when it failed before."""
        if self._error is not None:
            return [_pending(cell, measurement, self._error) for cell in cells]
        answers = self._sink.load(measurement, environment, cells)
        with self._guard:
            self._error = next((a.error for a in answers if a.error is not None), self._error)
        return answers

    def close(self) -> None:
        """Closes the sink."""
        self._sink.close()


def _pending(cell: CellToLoad, measurement: Measurement, error: FedvitalsError) -> CellAnswer:
    owed = count_values(cell.frame, measurement)
    return CellAnswer(cell=cell.cell, values=SinkValues(owed=owed, pending=owed), error=error)
