"""The intake of alerts: `POST /alertmanager`, `/events` and `/findings`, and `GET /health`.

A notice is on the disk before the answer: one thread takes all that came in since its last
transaction in the next one, so that many senders wait for one write.
"""

import asyncio
import hmac
import json
import logging
import os
import queue
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future
from contextlib import ExitStack, contextmanager, suppress
from datetime import UTC, datetime
from functools import partial
from http import HTTPStatus
from typing import NamedTuple, TypeVar

from fastapi import FastAPI, HTTPException, Request
from pydantic import TypeAdapter
from starlette.concurrency import run_in_threadpool

from tasks.alerts.notices import Identify, of_event, of_webhook
from tasks.core.errors import ConfigurationInvalid, FedvitalsError, UsageInvalid, defect
from tasks.core.finding import Finding, fingerprint_of
from tasks.core.incidents import Notice
from tasks.core.secrets import secret_of
from tasks.core.services import Environment
from tasks.core.settings import Settings
from tasks.core.severity import Severity
from tasks.ledger.opening import opened_ledger
from tasks.runs.alerts.keeper import Keeper
from tasks.runs.base.alerts import SIGNATURE, TIME, Desk, identities, opened_desk, signature
from tasks.servers.http_server import TOKEN_VARIABLE, listen, serving

logger = logging.getLogger("fedvitals")
PREVIOUS_VARIABLE = f"{TOKEN_VARIABLE}_PREVIOUS"
LARGEST = 32 * 2**20
# by which the time of a signature may be off
WINDOW_SECONDS = 300
# notices that wait to be taken, and of one transaction
MOST_WAITING, AT_ONCE = 20_000, 1000
Content = TypeVar("Content")
_FINDINGS: TypeAdapter[tuple[Finding, ...]] = TypeAdapter(tuple[Finding, ...])
_LATER = {"Retry-After": "2"}


ADDRESS_VARIABLE, DEFAULT_ADDRESS = "FEDVITALS_ALERTS_ADDRESS", "127.0.0.1:4211"
_MOST_SENDERS = 500


@contextmanager
def intake(
    settings: Settings, notify: Callable[[str], None], variables: Mapping[str, str] = os.environ
) -> Iterator[str]:
    """Serve the intake within the block, and deliver; yield its address.

    Raises:
        ConfigurationInvalid: a setting or routes.yaml is wrong, or the address cannot be listened on.
    """
    tokens = Tokens(variables)
    address = variables.get(ADDRESS_VARIABLE) or DEFAULT_ADDRESS
    listener = listen(address, ADDRESS_VARIABLE, DEFAULT_ADDRESS, has_token=bool(tokens))
    identify = identities(settings)
    with opened_ledger(settings) as ledger, opened_desk(settings, ledger) as desk:
        keeper = Keeper(desk, identify, notify)
        taker = Taker(desk, keeper.changed)
        app = make_app(desk, taker, tokens, identify, keeper)
        with ExitStack() as stack:
            for one in (keeper, taker):
                one.start()
                stack.callback(one.stop)
            yield stack.enter_context(serving(app, listener, _MOST_SENDERS))


class _Job(NamedTuple):
    notices: list[Notice]
    done: "Future[None]"


class Taker:
    """Takes notices in the order in which they came, many in one transaction."""

    def __init__(self, desk: Desk, changed: Callable[[], None]) -> None:
        """`changed` is called when messages may wait."""
        self._desk, self._changed = desk, changed
        self._jobs: queue.SimpleQueue[_Job | None] = queue.SimpleQueue()
        self._waiting = 0
        self._lock = threading.Lock()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def start(self) -> None:
        """Begin to take."""
        self._thread.start()

    def stop(self) -> None:
        """Take what waits, and end."""
        self._jobs.put(None)
        self._thread.join()

    def put(self, notices: list[Notice]) -> "Future[None] | None":
        """Return what ends once they are on the disk; None when too many wait."""
        with self._lock:
            if self._waiting + len(notices) > MOST_WAITING and self._waiting:
                return None
            self._waiting += len(notices)
        job = _Job(notices, Future())
        self._jobs.put(job)
        return job.done

    def _run(self) -> None:
        is_over = False
        while not is_over:
            jobs = [self._jobs.get()]
            with suppress(queue.Empty):
                while sum(len(job.notices) for job in jobs if job) < AT_ONCE:
                    jobs.append(self._jobs.get_nowait())
            is_over = None in jobs
            self._take([job for job in jobs if job is not None])

    def _take(self, jobs: list[_Job]) -> None:
        notices = [one for job in jobs for one in job.notices]
        with self._lock:
            self._waiting -= len(notices)
        try:
            self._desk.take(notices)
        # its senders wait, and others come after them: each job has an answer
        except Exception as error:
            if not isinstance(error, FedvitalsError):
                logger.exception("notices are not taken: %s", defect(error))
                if len(jobs) > 1:
                    return self._take_each(jobs)
            for job in jobs:
                job.done.set_exception(error)
            return
        for job in jobs:
            job.done.set_result(None)
        self._changed()

    def _take_each(self, jobs: list[_Job]) -> None:
        """Take jobs one by one: a defect that one of them meets is no other's."""
        with self._lock:
            self._waiting += sum(len(job.notices) for job in jobs)
        for job in jobs:
            self._take([job])


class Tokens:
    """The tokens that are valid now: the newest and its predecessor, read anew from their files."""

    def __init__(self, variables: Mapping[str, str]) -> None:
        self._variables = variables
        self._last = self._read()

    def __bool__(self) -> bool:
        return bool(self._last)

    def valid(self) -> list[str]:
        """Return them; those of before when a file cannot be read."""
        with suppress(ConfigurationInvalid):
            self._last = self._read()
        return self._last

    def _read(self) -> list[str]:
        names = (TOKEN_VARIABLE, PREVIOUS_VARIABLE)
        return [token for name in names if (token := secret_of(self._variables, name))]


class Gate:
    """Lets senders in, and remembers those that were."""

    def __init__(self, tokens: Tokens, refused: Callable[[str, str], None]) -> None:
        """`refused` is called with a known sender that was refused, and why."""
        self._tokens, self._refused = tokens, refused
        self._known: set[str] = set()

    def require_bearer(self, request: Request) -> None:
        """Raise 401 for a request without a valid token."""
        given = request.headers.get("Authorization", "").encode()
        valid = [f"Bearer {token}".encode() for token in self._tokens.valid()]
        if valid and not any(hmac.compare_digest(given, one) for one in valid):
            self.refuse(request, f"the bearer token of {TOKEN_VARIABLE} is needed")
        self._note(request)

    def require_time(self, request: Request) -> None:
        """Raise 401 for a request whose signature lacks, or whose time is off."""
        if not self._tokens.valid():
            return
        at = request.headers.get(TIME, "")
        if not request.headers.get(SIGNATURE) or not at.isdecimal():
            self.refuse(request, f"{TIME} and {SIGNATURE} are needed")
        off = int(at[:18]) - time.time()
        if abs(off) > WINDOW_SECONDS:
            self.refuse(request, f"its time is {abs(off):.0f} s off ({WINDOW_SECONDS} are allowed)")

    def require_signature(self, request: Request, body: bytes) -> None:
        """Raise 401 for a body that was not signed with a valid token."""
        valid = self._tokens.valid()
        given, at = request.headers.get(SIGNATURE, "").encode(), request.headers.get(TIME, "")
        made = [signature(token, at, body).encode() for token in valid]
        if valid and not any(hmac.compare_digest(given, one) for one in made):
            self.refuse(request, f"{SIGNATURE} is not that of the body with {TOKEN_VARIABLE}")
        self._note(request)

    def refuse(self, request: Request, why: str, status: int = HTTPStatus.UNAUTHORIZED) -> None:
        """Raise the status; what a known sender is refused is a finding."""
        self.complain(request, why)
        headers = {"WWW-Authenticate": "Bearer"} if status == HTTPStatus.UNAUTHORIZED else None
        raise HTTPException(status, why, headers)

    def complain(self, request: Request, why: str) -> None:
        """Report what is wrong with what a known sender sends."""
        sender = _sender(request)
        if sender in self._known:
            self._refused(sender, why)

    def _note(self, request: Request) -> None:
        if len(self._known) < MOST_WAITING:
            self._known.add(_sender(request))


def _sender(request: Request) -> str:
    return request.client.host if request.client else "unknown"


def make_app(
    desk: Desk, taker: Taker, tokens: Tokens, identify: Identify, keeper: Keeper
) -> FastAPI:
    """Return the application; the keeper asks Alertmanager where a sender left something out."""
    app = FastAPI(docs_url=None, redoc_url=None, openapi_url=None)
    doors = _Doors(desk, taker, tokens, identify, keeper)
    app.get("/health")(doors.health)
    for path in (doors.alertmanager, doors.events, doors.findings):
        app.post(f"/{path.__name__}")(path)
    return app


class _Doors:
    """What each path does; the first line of each lets senders in."""

    def __init__(
        self, desk: Desk, taker: Taker, tokens: Tokens, identify: Identify, keeper: Keeper
    ) -> None:
        self._desk, self._taker = desk, taker
        self._identify, self._keeper = identify, keeper
        self._default = desk.settings.default_environment
        self._gate = Gate(tokens, partial(_report_refusal, taker, self._default))

    def health(self) -> dict[str, str]:
        """Answer that it runs."""
        return {"status": "ok"}

    async def alertmanager(self, request: Request) -> dict[str, int]:
        """Take a webhook of Alertmanager."""
        self._gate.require_bearer(request)
        body = await self._body(request)
        read = partial(of_webhook, body, self._default, self._identify, datetime.now(UTC))
        notices, missing = await self._readable(request, read)
        if missing:
            self._keeper.reconcile_soon()
        return await _taken(
            self._taker, self._gate, request, self._keeper.without_watchdog(notices)
        )

    async def events(self, request: Request) -> dict[str, int]:
        """Take a generic event."""
        body = await self._signed(request)
        read = partial(of_event, body, self._default, datetime.now(UTC))
        return await _taken(self._taker, self._gate, request, [await self._readable(request, read)])

    async def findings(self, request: Request) -> dict[str, int]:
        """Take what a run elsewhere found."""
        body = await self._signed(request)
        read = partial(_findings, self._desk.settings, body)
        flow, environment, found = await self._readable(request, read)
        try:
            await run_in_threadpool(self._desk.take_findings, flow, environment, found)
        except FedvitalsError as error:
            raise _unavailable(error) from error
        return {"taken": len(found)}

    async def _signed(self, request: Request) -> bytes:
        self._gate.require_time(request)
        body = await self._body(request)
        self._gate.require_signature(request, body)
        return body

    async def _body(self, request: Request) -> bytes:
        return await _read(request, self._gate, self._keeper.reconcile_soon)

    async def _readable(self, request: Request, read: Callable[[], Content]) -> Content:
        """Return what is read of a body; refuse one that can never be read."""
        try:
            return await run_in_threadpool(read)
        except ValueError as error:
            self._gate.refuse(request, str(error)[:300], HTTPStatus.BAD_REQUEST)
            raise


def _findings(settings: Settings, body: bytes) -> tuple[str, Environment, tuple[Finding, ...]]:
    """Return flow, environment and findings of a body; raise ValueError for one that is none."""
    try:
        read = json.loads(body)
        found = _FINDINGS.validate_python(read["findings"])
        return str(read["flow"])[:64], settings.environment(read["environment"]), found
    except (ValueError, LookupError, TypeError, RecursionError, UsageInvalid) as error:
        raise ValueError(f"it holds no findings of ours: {error}") from error


async def _read(request: Request, gate: Gate, reconcile: Callable[[], None]) -> bytes:
    """Return the body, read in parts; one that is too large is not kept."""
    announced = request.headers.get("Content-Length", "")[:18]
    parts, size = [], int(announced) if announced.isdecimal() else 0
    is_large = size > LARGEST
    size = 0
    if not is_large:
        async for part in request.stream():
            size += len(part)
            is_large = size > LARGEST
            if is_large:
                break
            parts.append(part)
    if is_large:
        reconcile()
        why = (
            f"a body of more than {LARGEST >> 20} MB; Alertmanager is asked for its alerts instead"
        )
        gate.refuse(request, why, HTTPStatus.REQUEST_ENTITY_TOO_LARGE)
    return b"".join(parts)


async def _taken(
    taker: Taker, gate: Gate, request: Request, notices: list[Notice]
) -> dict[str, int]:
    """Answer once the notices are on the disk; what lacks an identity is refused."""
    good = [one for one in notices if one.fingerprint and one.environment and one.name]
    if good:
        done = taker.put(good)
        if done is None:
            why = "too many notices wait"
            raise HTTPException(HTTPStatus.SERVICE_UNAVAILABLE, why, _LATER)
        try:
            await asyncio.wrap_future(done)
        except FedvitalsError as error:
            raise _unavailable(error) from error
    if len(good) < len(notices):
        gate.complain(request, f"{len(notices) - len(good)} of {len(notices)} alerts lack a name")
    if notices and not good:
        gate.refuse(request, "an alert needs a name", HTTPStatus.BAD_REQUEST)
    return {"taken": len(good)}


def _unavailable(error: FedvitalsError) -> HTTPException:
    logger.error("notices are not taken: %s", error)
    return HTTPException(HTTPStatus.SERVICE_UNAVAILABLE, str(error), _LATER)


def _report_refusal(taker: Taker, environment: str, sender: str, why: str) -> None:
    now = datetime.now(UTC)
    name = f"the intake refuses {sender}"
    taker.put(
        [
            Notice(
                fingerprint=fingerprint_of("intake", f"{environment} {sender}"),
                environment=environment,
                name=name,
                kind="intake",
                severity=Severity.HIGH,
                origin="event",
                starts_at=now,
                received_at=now,
                sentence=f"{name}: {why}",
            )
        ]
    )
