"""A training's history: one row a round, or one a client in a round, dated with the round's start."""

import threading
from collections.abc import Callable, Sequence
from typing import Any

from tasks.core.batch import Batch
from tasks.core.history import CLIENT_TAGS, KnownRun
from tasks.core.json_path import kind_of
from tasks.core.measurement import Measurement
from tasks.core.ports import History
from tasks.core.settings import Service
from tasks.core.window import Window
from tasks.http import Limits
from tasks.sources.http import API, Client, Request
from tasks.sources.json_body import fetch_json
from tasks.sources.json_rows import MISSING, JsonRows
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
# 1,000 rounds of 1,000 clients are some 150 MB
LIMITS = Limits(connect=5.0, silence=30.0, total=120.0, largest=512 * 2**20)
Known = Callable[[Measurement, str], KnownRun | None]


class FederatedSource:
    """Reads the rounds that are not landed yet, and the last landed one again.

    One answer serves all measurements that know the same rounds; use one source a run. Safe between
    threads.
    """

    name = "federated"
    history: History = "rounds"

    def __init__(self, service: Service, known: Known, limits: Limits | None = None) -> None:
        """`known` says what is landed of a measurement and environment; None for nothing."""
        self._client = Client(service, API, limits or LIMITS)
        self._known = known
        self._answers: dict[int, _Answer | None] = {}
        self._guard = threading.Lock()

    def close(self) -> None:
        """Gives the connections back."""
        self._client.close()

    def extract(self, measurement: Measurement, environment: str, window: Window) -> Batch:
        """The rounds that the service has beyond the known ones and that started in the window.

        When the service does not have the last known round any more, all that it has is read: a run
        was begun anew. Without a run_id in the answer, a counter that goes back begins a run, which is
        named by its first round's start. Rounds without a number or a start are left out and counted;
        values are fitted as JsonRows says. Rows with the same tags and start stay: that only one can
        be true is for the suite to say.

        Raises:
            SourceUnavailable, SourceRefused, CertificateInvalid: as Client.ask says.
            AnswerInvalid: it is not JSON, too large, or not an object or a list where one should be.
            SeriesExceeded: there are more different rows than the measurement may have.
        """
        known = self._known(measurement, environment)
        answer = self._answer(known)
        if answer is None:
            warning = f"{HISTORY} is not offered by this service"
            return nothing(measurement, environment, window, warning)
        reported = JsonRows(measurement, environment)
        reported.warnings.extend(answer.warnings)
        count_undated(reported, answer.undated)
        rounds = [r for r in answer.rounds if window.start <= r.started < window.stop]
        named = list(zip(runs_of(rounds, answer.run_id, known), rounds, strict=True))
        if measurement.tags == CLIENT_TAGS:
            fill_clients(reported, measurement, named, answer.request)
        else:
            fill_rounds(reported, measurement, named, answer.body)
        return reported.batch(window)

    def _answer(self, known: KnownRun | None) -> "_Answer | None":
        """What the service has after the known rounds, all when it does not go on with them."""
        since = known.since if known is not None else 0
        with self._guard:
            answer = self._once(since)
            if answer is None or known is None or since == 0 or answer.goes_on(known):
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
    """One answer, taken apart: its run_id, the dated rounds by their start, and what has no date."""

    def __init__(self, body: Any, request: Request) -> None:
        """Raises AnswerInvalid when something else stands where an object or a list should."""
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
        """Whether it is of the same run and has the last known round, as it was."""
        if self.run_id is not None and self.run_id != known.run_id:
            return False
        return any((r.number, r.started) == known.last for r in self.rounds)

    def _read_run_id(self, found: Any) -> str | None:
        if found is None or (isinstance(found, str) and found):
            return found
        # what it counts its runs with is a name too
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
