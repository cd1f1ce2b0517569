"""Probes: one request to an endpoint, and what its answer is evidence for."""

import re
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from itertools import starmap
from typing import Any, NamedTuple
from urllib.parse import urljoin, urlsplit

from tasks.core.errors import FedvitalsError, SourceTimedOut, SourceUnavailable
from tasks.core.health import LATE, BodyCondition, Endpoint, Sample, SampleStatus, Target
from tasks.core.json_path import kind_of, values_at
from tasks.core.outside import read_json, shown
from tasks.core.services import Service
from tasks.core.thresholds import COMPARISONS
from tasks.http import Answer, Limits, bearer
from tasks.sources.certificate import days_left_at
from tasks.sources.http import Client, Kind

# each takes a thread for its time, and another for its deadline
MOST_AT_ONCE = 256
MOST_REDIRECTS = 5
LARGEST = 4 << 20
REDIRECTS = frozenset({301, 302, 303, 307, 308})
_CONTROL = Endpoint()
_LEAST_SECONDS = 0.05
_NUMBER = re.compile(r"\[Errno -?\d+\] ")


class _Flaw(NamedTuple):
    """Why an answer is not good, and whether that only degrades its check."""

    problem: str
    degrades: bool = False


class Probed(NamedTuple):
    """The samples of endpoints and of controls, taken at one time."""

    samples: list[Sample]
    controls: list[Sample]


def probe_all(
    targets: Sequence[Target],
    services: Mapping[str, Service],
    controls: Iterable[str],
    timeout: timedelta,
    *,
    certificates: bool = False,
) -> Probed:
    """Ask all targets and controls once, side by side; `services` are the APIs of environments.

    certificates: also note how many days those of https have left, by a handshake of its own.
    """
    neutral = [Target("", url, url, _CONTROL) for url in controls]
    asked = [*targets, *neutral]
    hosts = {_origin(target.url): target.url for target in targets if certificates}
    with ThreadPoolExecutor(min(MOST_AT_ONCE, len(asked) + len(hosts)) or 1) as pool:
        taken = pool.map(lambda each: probe(each, services.get(each.environment), timeout), asked)
        days = dict(zip(hosts, pool.map(days_left_at, hosts.values()), strict=True))
        samples = [
            replace(one, certificate_days=days.get(_origin(target.url)))
            for target, one in zip(asked, taken, strict=True)
        ]
    return Probed(samples[: len(targets)], samples[len(targets) :])


def probe(target: Target, service: Service | None, timeout: timedelta) -> Sample:
    """Ask one target; whatever happens is a sample.

    The token goes to the service's own scheme, host and port alone. Redirects are followed, five at
    most, all within the time-out.
    """
    began, at = time.perf_counter(), datetime.now(UTC)

    def sample(status: SampleStatus, error: str = "", **facts: Any) -> Sample:
        # a server may echo what it was sent
        token = bearer(service) if service else ""
        clean = error.replace(token, "***") if token else error
        return Sample(target.environment, target.check, at, status, error=clean, **facts)

    try:
        answer = _answer(target.url, service, began + timeout.total_seconds())
    except FedvitalsError as error:
        is_silent = isinstance(error, SourceUnavailable)
        late = f"{LATE} {timeout.total_seconds():g} s"
        why = _NUMBER.sub("", error.facts["problem"])
        problem = late if isinstance(error, SourceTimedOut) else why
        return sample("error", error=problem, answered=not is_silent)
    seconds = time.perf_counter() - began
    flaws = list(_flaws(answer, target.endpoint, seconds))
    facts: dict[str, Any] = {"seconds": seconds, "status_code": answer.status}
    if not flaws:
        return sample("healthy", **facts)
    worst = min(flaws, key=lambda flaw: flaw.degrades)
    return sample("unhealthy", error=shown(worst.problem), degraded=worst.degrades, **facts)


def _answer(url: str, service: Service | None, end: float) -> Answer:
    """Return the answer at the end of all redirects."""
    home = _origin(service.url) if service is not None else None
    seen = [url]
    while True:
        left = max(end - time.perf_counter(), _LEAST_SECONDS)
        limits = Limits(connect=left, silence=left, total=left, largest=LARGEST)
        is_home = service is not None and _origin(url) == home
        asked = service if is_home and service else Service(url=url, origin="health.yaml")
        with Client(asked, Kind("the endpoint"), limits) as client:
            answer = client.call("GET", url, "its health")
            place = answer.headers.get("Location")
            if answer.status not in REDIRECTS or place is None:
                return answer
            url = urljoin(url, place)
            if urlsplit(url).scheme not in ("http", "https"):
                raise client.request("its health").invalid("it redirects to no http address")
            if url in seen or len(seen) > MOST_REDIRECTS:
                loops = "in a circle" if url in seen else f"more than {MOST_REDIRECTS} times"
                raise client.request("its health").invalid(f"it redirects {loops}")
            seen.append(url)


def _origin(url: str) -> tuple[str, str | None, int | None]:
    parts = urlsplit(url)
    return parts.scheme, parts.hostname, parts.port or {"http": 80, "https": 443}.get(parts.scheme)


def _flaws(answer: Answer, endpoint: Endpoint, seconds: float) -> Iterator[_Flaw]:
    if answer.status != endpoint.status:
        yield _Flaw(f"HTTP {answer.status} instead of {endpoint.status}")
        return
    if answer.flaw:
        yield _Flaw(f"the body cannot be used: {answer.flaw}")
        return
    longest = endpoint.response_time
    if longest is not None and seconds > longest.total_seconds():
        yield _Flaw(f"it took {seconds:.2g} s (limit {longest.total_seconds():g} s)", True)
    text = answer.body.decode(errors="replace")
    try:
        document = read_json(answer.body)
    except ValueError as error:
        document, why = None, str(error)
        if any(condition.path for condition in endpoint.body):
            yield _Flaw(f"the body is not JSON: {why}")
            return
    status = document.get("status") if isinstance(document, dict) else None
    if isinstance(status, str) and status.lower() == "degraded":
        yield _Flaw('its status is "degraded"', True)
    unmet = starmap(_unmet, ((each, document, text) for each in endpoint.body))
    yield from (flaw for flaw in unmet if flaw is not None)


def _unmet(condition: BodyCondition, document: Any, text: str) -> _Flaw | None:
    """Return how a condition is not met; of several selected values each has to meet it."""
    found = [text] if condition.path is None else values_at(condition.path, document)
    subject = condition.path or "the body"
    if not found:
        return _Flaw(f"{subject} is missing", condition.degrades)
    problems = (_problem(condition, value) for value in found)
    problem = next((each for each in problems if each), None)
    return None if problem is None else _Flaw(f"{subject} {problem}", condition.degrades)


def _problem(condition: BodyCondition, value: Any) -> str | None:
    if condition.pattern is not None:
        is_met = isinstance(value, str) and re.search(condition.pattern, value) is not None
        quoted = f"is {shown(value)!r}, and " if condition.path else ""
        return None if is_met else f"{quoted}does not match {condition.pattern!r}"
    if condition.comparison is None or condition.value is None:
        return None
    compare: Callable[[Any, Any], bool] = COMPARISONS[condition.comparison]
    is_met = kind_of(value) == kind_of(condition.value) and compare(value, condition.value)
    return None if is_met else f"is {shown(value)!r}, not {condition.comparison} {condition.value}"
