"""A training's history: one row a round, or a client in a round, dated by start."""

import threading
from collections.abc import Callable, Sequence
from typing import Any

from tasks.core.batch import Batch
from tasks.core.history import CLIENT_TAGS, KnownRun
from tasks.core.json_path import kind_of
from tasks.core.measurement import Measurement
from tasks.core.ports import History
from tasks.core.services import Service
from tasks.core.window import Window
from tasks.http import Limits
from tasks.sources.http import API, Client, Request
from tasks.sources.json_body import MISSING, fetch_json
from tasks.sources.json_rows import JsonRows
from tasks.sources.json_values import is_writable
from tasks.sources.rounds import (
    HistoryRound,
    count_undated,
    dated,
    fill_clients,
    fill_rounds,
    runs_of,
)
from tasks.sources.sample import nothing

HISTORY = "/api/training/history"
# 400 rounds of 1,000 clients are some 60 MB
LIMITS = Limits(connect=5.0, silence=30.0, total=120.0, largest=64 * 2**20)
Known = Callable[[Measurement, str], KnownRun | None]


class FederatedSource:
    """Reads rounds that are not landed yet, and the last landed one again.

    One answer serves all measurements with the same known rounds; use one source a run. Thread-safe.
    """

    name = "federated"
    history: History = "rounds"

    def __init__(self, service: Service, known: Known, limits: Limits | None = None) -> None:
        """`known` returns the landed rounds of a measurement and environment, or None."""
        self._client = Client(service, API, limits or LIMITS)
        self._known = known
        self._answers: dict[int, _Answer | None] = {}
        self._guard = threading.Lock()

    def close(self) -> None:
        """Release the connections."""
        self._client.close()

    def extract(self, measurement: Measurement, environment: str, window: Window) -> Batch:
        """Return the service's rounds beyond the known ones that started in the window.

        If the service no longer has the last known round, all rounds are read: a new run began.
        Without a run_id in the answer, a counter that goes back begins a run, named by its first
        round's start. Rounds without a number or a start are dropped and counted; values are fitted
        as in JsonRows. Rows with equal tags and start stay, for the suite to reject. Raises
        SourceUnavailable, SourceRefused, CertificateInvalid as Client.ask; AnswerInvalid when it is
        not JSON, too large, or has another type where an object or a list belongs.
        """
        known = self._known(measurement, environment)
        answer = self._answer(known)
        if answer is None:
            warning = f"{HISTORY} is not offered by this service"
            return nothing(measurement, environment, window, warning)
        rows = JsonRows(measurement, environment)
        rows.warnings.extend(answer.warnings)
        count_undated(rows, answer.undated)
        rounds = [r for r in answer.rounds if window.start <= r.started < window.stop]
        named = list(zip(runs_of(rounds, answer.run_id, known), rounds, strict=True))
        if measurement.tags == CLIENT_TAGS:
            fill_clients(rows, measurement, named, answer.request)
        else:
            fill_rounds(rows, measurement, named, answer.body)
        return rows.batch(window)

    def _answer(self, known: KnownRun | None) -> "_Answer | None":
        """Fetch the rounds after the known ones, or all if it is another run."""
        since = known.since if known is not None else 0
        with self._guard:
            answer = self._once(since)
            if answer is None or known is None or since == 0:
                return answer
            if answer.goes_on(known) and not answer.went_back(known):
                return answer
            return self._once(0)

    def _once(self, since: int) -> "_Answer | None":
        if since not in self._answers:
            self._answers[since] = self._fetch(since)
        return self._answers[since]

    def _fetch(self, since: int) -> "_Answer | None":
        what = f"{HISTORY}?since={since}"
        request = self._client.request(what)
        body = fetch_json(self._client, what, request)
        return None if body is MISSING else _Answer(body, request)


class _Answer:
    """A parsed answer: its run_id, the rounds by start, and those without a date."""

    def __init__(self, body: Any, request: Request) -> None:
        """Raise AnswerInvalid when another type is where an object or a list belongs."""
        if not isinstance(body, dict):
            raise request.invalid(f"the body is {kind_of(body)}, not an object")
        self.body: dict[str, Any] = body
        self.request = request
        self.warnings: list[str] = []
        self.run_id = self._read_run_id(body.get("run_id"))
        items = self._items(body)
        self.rounds: Sequence[HistoryRound] = dated(items)
        self.undated = [item for item in items if HistoryRound.of(item) is None]

    def goes_on(self, known: KnownRun) -> bool:
        """Return whether it continues the same run, with the last known round unchanged."""
        if self.run_id is not None and self.run_id != known.run_id:
            return False
        return any((r.number, r.started) == known.last for r in self.rounds)

    def went_back(self, known: KnownRun) -> bool:
        """Return whether known rounds ran again since the last known one."""
        numbers = {number for number, _ in known.rounds}
        again = ((r.number, r.started) for r in self.rounds if r.number in numbers)
        return any(n <= known.last[0] and (n, s) not in known.rounds for n, s in again)

    def _read_run_id(self, found: Any) -> str | None:
        if found is None or (isinstance(found, str) and found and is_writable(found)):
            return found
        # a number that counts runs is a name too
        if isinstance(found, int) and not isinstance(found, bool):
            return str(found)
        raise self.request.invalid(f"run_id is {kind_of(found)}, not a name")

    def _items(self, body: dict[str, Any]) -> list[dict[str, Any]]:
        found = body.get("rounds")
        if found is None:
            self.warnings.append(f"{HISTORY} has no rounds: not offered by this service")
            return []
        if not isinstance(found, list):
            raise self.request.invalid(f"rounds is {kind_of(found)}, not a list")
        for item in found:
            if not isinstance(item, dict):
                raise self.request.invalid(f"an item of rounds is {kind_of(item)}, not an object")
        return found
