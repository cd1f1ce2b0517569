"""A storm of webhooks: what the intake takes in a second, how soon, and what people see of it.

`python -m benchmarks.alerts [--json]`: eight senders post 10,000 webhooks about 1,000 alerts, which
fire, repeat and end, to a real `fedvitals alerts serve`, and a critical one last; then the same
while Slack hangs for 60 s. Slack and PagerDuty are test servers in another process.
"""

import argparse
import http.client
import itertools
import json
import logging
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import NamedTuple

import requests
from pytest_httpserver import HTTPServer
from sqlalchemy import text
from werkzeug import Request, Response

from tasks.ledger.incidents import open_incidents
from tasks.ledger.ledger import Ledger
from tasks.ledger.outbox import next_due
from tests.support.fakes.pagerduty import FakePagerDuty
from tests.support.fakes.slack import FakeSlack
from tests.support.intake import TOKEN, IntakeProcess, a_webhook

WEBHOOKS, ALERTS, SENDERS = 10_000, 1_000, 8
HANG_SECONDS = 60.0
# until all that waits is sent, after a channel that hung as well
PATIENCE = 300.0
CRITICAL = "Grave"
PASSES = {"all well": 0.0, "Slack hangs": HANG_SECONDS}
MOST = {"p99_ms": 150.0, "critical_seconds": 2.0, "slack_messages": 20.0, "idle_mb": 200.0}
LEAST = {"webhooks_a_second": 200.0, "open": ALERTS + 1.0, "synchronous": 2.0}
Figures = dict[str, float]


def main() -> None:
    """Measure both passes and print them; exit code 1 when a goal is missed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", action="store_true", help="one JSON document on standard output")
    parser.add_argument("--fakes", type=float, metavar="HANG", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.fakes is not None:
        serve_fakes(options.fakes)
        return
    found = {name: measure(hang) for name, hang in PASSES.items()}
    print(json.dumps(found, indent=2) if options.json else _table(found))
    sys.exit(any(missed(figures) for figures in found.values()))


def missed(figures: Figures) -> list[str]:
    """Return the figures that miss their goals."""
    much = [name for name, most in MOST.items() if figures[name] > most]
    return much + [name for name, least in LEAST.items() if figures[name] < least]


def measure(hang: float) -> Figures:
    """Return the figures of one storm; Slack hangs for so long from its first message on."""
    with (
        tempfile.TemporaryDirectory() as folder,
        _fakes(hang) as (url, variables),
        IntakeProcess(Path(folder), variables) as intake,
        closing(Ledger(intake.ledger_url)) as ledger,
    ):
        # its first look at the ledger
        time.sleep(2)
        figures = {"idle_mb": _mb(intake.pid, "VmRSS")}
        figures |= storm(intake.port)
        figures["critical_seconds"] = _critical(intake.port, url)
        figures |= _outcome(ledger)
        figures["slack_messages"] = len(_seen(url)["slack"])
        figures["peak_mb"] = _mb(intake.pid, "VmHWM")
    return figures


def storm(port: int) -> Figures:
    """Post all webhooks; return how many a second, and milliseconds to the answer."""
    numbers = itertools.count()
    now = datetime.now(UTC)

    def send(_: int) -> list[float]:
        with closing(http.client.HTTPConnection("127.0.0.1", port)) as connection:
            took = []
            # next() of a count is one step of the interpreter: no two senders get the same
            while (number := next(numbers)) < WEBHOOKS:
                took.append(_post(connection, _webhook(number, now)))
            return took

    began = time.perf_counter()
    with ThreadPoolExecutor(SENDERS) as pool:
        took = [one for each in pool.map(send, range(SENDERS)) for one in each]
    seconds = time.perf_counter() - began
    cuts = statistics.quantiles(took, n=100)
    return {
        "webhooks_a_second": WEBHOOKS / seconds,
        "p50_ms": cuts[49] * 1000,
        "p99_ms": cuts[98] * 1000,
    }


def _critical(port: int, url: str) -> float:
    """Post the critical alert; return seconds until it is at PagerDuty."""
    with closing(http.client.HTTPConnection("127.0.0.1", port)) as connection:
        began = time.perf_counter()
        _post(connection, a_webhook(CRITICAL, "critical", datetime.now(UTC)))
        while not any(CRITICAL in page for page in _seen(url)["pages"]):
            assert time.perf_counter() - began < PATIENCE
            time.sleep(0.02)
        return time.perf_counter() - began


def _outcome(ledger: Ledger) -> Figures:
    """Wait until all is sent; return how many incidents are open, and how SQLite flushes."""
    end = time.monotonic() + PATIENCE
    while next_due(ledger) and time.monotonic() < end:
        time.sleep(0.5)
    with ledger.transaction() as connection:
        synchronous = connection.execute(text("PRAGMA synchronous")).scalar_one()
    return {"open": float(len(open_incidents(ledger))), "synchronous": float(synchronous)}


def _post(connection: http.client.HTTPConnection, body: bytes) -> float:
    headers = {"Authorization": f"Bearer {TOKEN}", "Content-Type": "application/json"}
    began = time.perf_counter()
    connection.request("POST", "/alertmanager", body, headers)
    answer = connection.getresponse()
    content = answer.read()
    assert answer.status == 200, content
    return time.perf_counter() - began


def _webhook(number: int, now: datetime) -> bytes:
    """Return a webhook about one alert: of each three the first two fire, and the third is the end."""
    turn, alert = divmod(number, ALERTS)
    began = now - timedelta(hours=1) + timedelta(minutes=turn // 3)
    return a_webhook(f"Loss{alert}", "high", began, ended=turn % 3 == 2)


class _Seen(NamedTuple):
    slack: FakeSlack
    pages: FakePagerDuty

    def answer(self, _: Request) -> Response:
        pages = [one.payload["summary"] for one in self.pages.incidents]
        return Response(json.dumps({"slack": self.slack.titles(), "pages": pages}))


def serve_fakes(hang: float) -> None:
    """Serve Slack and PagerDuty; print their variables and the address of what is seen there."""
    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    with HTTPServer(threaded=True) as slack_server, HTTPServer(threaded=True) as server:
        seen = _Seen(FakeSlack(slack_server), FakePagerDuty(server))
        server.expect_request("/seen").respond_with_handler(seen.answer)
        ends: list[float] = []

        def hangs(_: Request) -> None:
            ends.append(time.monotonic() + hang)
            time.sleep(max(0.0, ends[0] - time.monotonic()))

        seen.slack.faults += [hangs] * WEBHOOKS
        variables = {**seen.slack.variables, **seen.pages.variables}
        print(json.dumps([server.url_for("/seen"), variables]), flush=True)
        sys.stdin.read()


@contextmanager
def _fakes(hang: float) -> Iterator[tuple[str, dict[str, str]]]:
    command = [sys.executable, "-m", "benchmarks.alerts", "--fakes", str(hang)]
    pipe = subprocess.PIPE
    with subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True) as process:
        try:
            assert process.stdout is not None
            url, variables = json.loads(process.stdout.readline())
            yield url, variables
        finally:
            process.kill()


def _seen(url: str) -> dict[str, Sequence[str]]:
    found: dict[str, Sequence[str]] = requests.get(url, timeout=10).json()
    return found


def _mb(pid: int, what: str) -> float:
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(what)) / 1024


def _table(found: Mapping[str, Figures]) -> str:
    names = next(iter(found.values()))
    lines = [f"{'':<20}" + "".join(f"{name:>14}" for name in found)]
    lines += [
        f"{name:<20}" + "".join(f"{each[name]:14.2f}" for each in found.values()) for name in names
    ]
    return "\n".join(lines)


if __name__ == "__main__":
    main()
