"""The loop of `fedvitals health watch`: samples of every check at a fixed rate."""

import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass

from tasks.core.errors import FedvitalsError
from tasks.core.health import Health, HostSample, Sample
from tasks.core.services import Environment
from tasks.core.settings import Settings
from tasks.core.units import counted
from tasks.ledger.health import keep_host
from tasks.ledger.ledger import Ledger
from tasks.runs.base.run import opened_ledger
from tasks.runs.health.round import record_samples, take_samples
from tasks.sources.host import local_host

# kept while the ledger is away, some 50 MB
MOST_SAMPLES = 100_000
Notify = Callable[[str], None]


@dataclass(frozen=True)
class _Round:
    """What was seen at one time."""

    samples: list[Sample]
    hosts: list[HostSample]


class ProbeLoop:
    """Takes samples in the caller's thread, and records them in another.

    A ledger that is away delays no sample: they wait in memory, and the oldest go when there are
    too many.
    """

    def __init__(
        self,
        settings: Settings,
        health: Health,
        environments: Sequence[Environment],
        notify: Notify,
    ) -> None:
        self._settings, self._health, self._environments = settings, health, environments
        self._notify = notify
        self._waiting: deque[_Round] = deque()
        self._arrived = threading.Condition()
        self._stopping = threading.Event()
        self._ledger: Ledger | None = None
        self._is_away = False

    def run(self) -> None:
        """Sample until `stop` or a signal; then record what waits, if the ledger is there."""
        recorder = threading.Thread(target=self._record, daemon=True)
        recorder.start()
        try:
            self._sample()
        finally:
            self.stop()
            recorder.join()

    def stop(self) -> None:
        """End the loop after the present round."""
        with self._arrived:
            self._stopping.set()
            self._arrived.notify()

    def _sample(self) -> None:
        interval = self._health.interval.total_seconds()
        local = [one.name for one in self._environments if one.is_local]
        # of CPU a call has the mean since the call before
        for name in local[:1]:
            local_host(name, None)
        due = time.monotonic()
        while not self._stopping.wait(max(0.0, due - time.monotonic())):
            samples = take_samples(self._health, self._environments)
            self._put(_Round(samples, [local_host(name, None) for name in local]))
            # a round that took too long is followed by the next one at once
            due = max(due + interval, time.monotonic() - interval)

    def _put(self, seen: _Round) -> None:
        with self._arrived:
            self._waiting.append(seen)
            while sum(len(each.samples) for each in self._waiting) > MOST_SAMPLES:
                self._waiting.popleft()
            self._arrived.notify()

    def _record(self) -> None:
        with ExitStack() as closing:
            while True:
                with self._arrived:
                    self._arrived.wait_for(lambda: self._waiting or self._stopping.is_set())
                is_last = self._stopping.is_set()
                self._record_waiting(closing)
                if is_last:
                    return

    def _record_waiting(self, closing: ExitStack) -> None:
        """Record the rounds in their order; stop at the first that the ledger does not take."""
        while self._waiting:
            seen = self._waiting[0]
            try:
                if self._ledger is None:
                    self._ledger = closing.enter_context(opened_ledger(self._settings))
                self._record_one(self._ledger, seen)
            except FedvitalsError as error:
                self._say_away(error)
                self._stopping.wait(self._health.interval.total_seconds())
                return
            self._say_back()
            with self._arrived:
                # it may have gone for want of space
                if self._waiting and self._waiting[0] is seen:
                    self._waiting.popleft()

    def _record_one(self, ledger: Ledger, seen: _Round) -> None:
        names = [one.name for one in self._environments]
        record_samples(ledger, self._health, seen.samples, names)
        for host in seen.hosts:
            keep_host(ledger, host)

    def _say_away(self, error: FedvitalsError) -> None:
        if not self._is_away:
            self._notify(f"samples wait in memory: {error}")
        self._is_away = True

    def _say_back(self) -> None:
        if self._is_away:
            self._notify(f"recording {counted(len(self._waiting), 'round')} that waited")
        self._is_away = False
