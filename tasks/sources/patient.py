"""Retries of a source within a deadline, and no second wait in one run."""

from tasks.core.batch import Batch
from tasks.core.errors import SourceUnavailable
from tasks.core.measurement import Measurement
from tasks.core.ports import Source
from tasks.core.retry import noticed, retrying
from tasks.core.window import Window


class PatientSource:
    """A source with retries of Transient errors, until it gave up once."""

    def __init__(self, source: Source, deadline_seconds: float) -> None:
        self.name, self.history = source.name, source.history
        self._source = source
        self._deadline = deadline_seconds

    def extract(self, measurement: Measurement, environment: str, window: Window) -> Batch:
        """Extract as the source does; raise its Transient errors only after the deadline."""
        extract = self._source.extract
        try:
            with noticed(f"{self.name} ({measurement.name})"):
                return retrying(self._deadline)(extract, measurement, environment, window)
        except SourceUnavailable:
            self._deadline = 0.0
            raise
