"""The loop of `fedvitals health watch`: samples of every check at a fixed rate."""

import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor

from tasks.core.errors import FedvitalsError
from tasks.core.health import Health, HostSample, Sample
from tasks.core.services import Environment
from tasks.core.settings import Settings
from tasks.ledger.health import keep_host
from tasks.ledger.ledger import Ledger
from tasks.ledger.opening import opened_ledger
from tasks.runs.health.round import record_samples, take_samples
from tasks.sources.host import local_host

# kept while the ledger is away, some 50 MB
MOST_SAMPLES = 100_000
_Round = tuple[list[Sample], list[HostSample]]


class ProbeLoop:
    """Takes samples in the caller's thread, and records them in another.

    A ledger that is away delays no sample: rounds wait in memory, and the oldest go when they have
    too many samples.
    """

    def __init__(
        self,
        settings: Settings,
        health: Health,
        environments: Sequence[Environment],
        notify: Callable[[str], None],
    ) -> None:
        self._settings, self._health, self._environments = settings, health, environments
        self._notify = notify
        self._waiting: deque[_Round] = deque()
        self._changed = threading.Condition()
        self._is_stopping = False

    def run(self) -> None:
        """Sample until `stop` or a signal; then record what waits, if the ledger is there."""
        with ThreadPoolExecutor(1) as pool:
            recorder = pool.submit(self._record)
            try:
                self._sample(recorder)
            finally:
                self.stop()
        recorder.result()

    def stop(self) -> None:
        """End the loop after the present round."""
        with self._changed:
            self._is_stopping = True
            self._changed.notify_all()

    def _sample(self, recorder: "Future[None]") -> None:
        interval = self._health.interval.total_seconds()
        local = [one.name for one in self._environments if one.is_local]
        # of CPU a call has the mean since the call before
        for name in local[:1]:
            local_host(name, None)
        due = time.monotonic()
        # a defect of the recorder ends the loop
        while not self._stopped_within(due - time.monotonic()) and not recorder.done():
            samples = take_samples(self._health, self._environments)
            self._put((samples, [local_host(name, None) for name in local]))
            # a round that took too long is followed by the next one at once
            due = max(due + interval, time.monotonic() - interval)

    def _stopped_within(self, seconds: float) -> bool:
        with self._changed:
            return self._changed.wait_for(lambda: self._is_stopping, max(0.0, seconds))

    def _put(self, seen: _Round) -> None:
        with self._changed:
            self._waiting.append(seen)
            while sum(len(samples) for samples, _ in self._waiting) > MOST_SAMPLES:
                self._waiting.popleft()
            self._changed.notify_all()

    def _record(self) -> None:
        """Record rounds in their order; a ledger that fails is opened again an interval later."""
        is_away = False
        while True:
            is_last = self._is_stopping
            try:
                with opened_ledger(self._settings) as ledger:
                    while seen := self._next():
                        self._record_one(ledger, seen)
                        if is_away:
                            self._notify(
                                f"the ledger is back; rounds waiting: {len(self._waiting)}"
                            )
                        is_away = False
                return
            except FedvitalsError as error:
                if not is_away:
                    self._notify(f"samples wait in memory: {error}")
                is_away = True
                if is_last:
                    return
                self._stopped_within(self._health.interval.total_seconds())

    def _next(self) -> _Round | None:
        """Wait for a round; return None when there is none and the loop ended."""
        with self._changed:
            self._changed.wait_for(lambda: self._waiting or self._is_stopping)
            return self._waiting[0] if self._waiting else None

    def _record_one(self, ledger: Ledger, seen: _Round) -> None:
        samples, hosts = seen
        names = [one.name for one in self._environments]
        record_samples(ledger, self._health, samples, names)
        for host in hosts:
            keep_host(ledger, host)
        with self._changed:
            # it may have gone meanwhile, for want of space
            if self._waiting and self._waiting[0] is seen:
                self._waiting.popleft()
