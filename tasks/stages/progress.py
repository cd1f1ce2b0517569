"""Progress of a long step, as an artifact of its flow run."""

import re
import time
from contextlib import suppress
from dataclasses import dataclass, field
from uuid import UUID

import httpx
from prefect import runtime
from prefect.artifacts import create_progress_artifact, update_progress_artifact
from prefect.exceptions import PrefectException

# shorter work needs none; more frequent updates are of no use
SECONDS_BEFORE = 10.0
SECONDS_BETWEEN = 5.0


@dataclass
class ProgressArtifact:
    """A progress artifact for each measurement that takes long."""

    _began: dict[str, float] = field(default_factory=dict)
    _known: dict[str, UUID] = field(default_factory=dict)
    _shown: float = 0.0

    def __call__(self, measurement: str, done: int, total: int) -> None:
        """Show how many cells of a measurement are done."""
        now = time.monotonic()
        began = self._began.setdefault(measurement, now)
        is_last = done == total and measurement in self._known
        if now - began < SECONDS_BEFORE or (now - self._shown < SECONDS_BETWEEN and not is_last):
            return
        self._shown, percent = now, 100 * done / max(total, 1)
        # a failure to show progress must not end the step
        with suppress(PrefectException, httpx.HTTPError):
            self._show(measurement, percent, f"{measurement}: {done} of {total} cells")

    def _show(self, measurement: str, percent: float, text: str) -> None:
        if measurement in self._known:
            update_progress_artifact(self._known[measurement], percent, text)
        elif runtime.flow_run.id is not None:
            key = re.sub(r"[^a-z0-9]+", "-", f"progress-{measurement}".lower())
            found = create_progress_artifact(percent, key=key, description=text)
            assert isinstance(found, UUID), "no event loop runs here"
            self._known[measurement] = found
