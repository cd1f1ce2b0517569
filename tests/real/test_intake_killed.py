"""kill -9 of the intake amid a stream of webhooks: what it answered with 2xx is kept and shown once."""

import itertools
import re
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

import pytest
import requests
from pytest_httpserver import HTTPServer

from tasks.ledger.incidents import open_incidents
from tasks.ledger.ledger import Ledger
from tasks.ledger.outbox import next_due
from tests.support.fakes.pagerduty import FakePagerDuty
from tests.support.fakes.slack import FakeSlack
from tests.support.intake import TOKEN, IntakeProcess, a_webhook
from tests.support.serving import eventually

pytestmark = [pytest.mark.real, pytest.mark.slow, pytest.mark.timeout(400)]
WEBHOOKS, SENDERS, KILLS = 400, 4, 3
STORM = re.compile(r"(\d+) alerts at once")
REPEAT = " (repeat: it may be here already)"


@dataclass
class Stream:
    """Webhooks about one alert each, sent until they are answered with 2xx, as Alertmanager does."""

    intake: IntakeProcess
    numbers: "itertools.count[int]" = field(default_factory=itertools.count)
    taken: list[str] = field(default_factory=list)
    tries: int = 0

    def send(self) -> None:
        while (number := next(self.numbers)) < WEBHOOKS:
            name = f"Loss{number}"
            body = a_webhook(name, "critical", datetime.now(UTC))
            while not self._is_taken(body):
                time.sleep(0.1)
            self.taken.append(name)

    def _is_taken(self, body: bytes) -> bool:
        self.tries += 1
        headers = {"Authorization": f"Bearer {TOKEN}"}
        try:
            return requests.post(
                f"{self.intake.url}/alertmanager", body, headers=headers, timeout=10
            ).ok
        except requests.RequestException:
            return False


def check_kept(taken: Sequence[str], kept: Sequence[str]) -> None:
    assert sorted(kept) == sorted(taken)


def check_shown(titles: Sequence[str], taken: Sequence[str], most_repeats: int) -> None:
    """Each alert is shown alone or counted by one storm; a second time only with the mark."""
    repeats = [one for one in titles if one.endswith(REPEAT)]
    assert len(repeats) <= most_repeats
    firsts = [one for one in titles if one not in repeats]
    assert len(firsts) == len(set(firsts))
    counts = [int(found[1]) for one in titles if (found := STORM.search(one))]
    singles = {one.removesuffix(REPEAT) for one in titles if not STORM.search(one)}
    shown = len(singles) + sum(counts)
    assert shown == len(taken) if not repeats else shown >= len(taken)


@pytest.mark.promise(
    "Alerts: kill -9 of the intake loses no webhook that it answered with 2xx, and doubles none"
)
def test_what_was_answered_with_2xx_outlives_the_intake(
    tmp_path: Path, httpserver: HTTPServer
) -> None:
    slack, pages = FakeSlack(httpserver), FakePagerDuty(httpserver)
    with IntakeProcess(tmp_path, {**slack.variables, **pages.variables}) as intake:
        stream = Stream(intake)
        senders = [threading.Thread(target=stream.send, daemon=True) for _ in range(SENDERS)]
        for sender in senders:
            sender.start()
        for kill in range(1, KILLS + 1):
            wait_for(lambda least=kill * WEBHOOKS // 5: len(stream.taken) >= least)  # type: ignore[misc]
            intake.kill()
            intake.start()
        for sender in senders:
            sender.join()
        # some were on their way at each kill, or it was not amid the stream
        assert stream.tries > WEBHOOKS
        with closing(Ledger(intake.ledger_url)) as ledger:
            # a message whose sender died waits for the end of its lease
            eventually(lambda: not next_due(ledger), 200)
            kept = [one.newest.name for one in open_incidents(ledger)]
    check_kept(stream.taken, kept)
    assert len({one.key for one in pages.incidents}) == len(pages.incidents)
    check_shown([one.payload["summary"].partition(":")[2] for one in pages.incidents], kept, 0)
    check_shown(slack.titles(), kept, KILLS)


def wait_for(holds: Callable[[], bool]) -> None:
    while not holds():
        time.sleep(0.001)


TITLES = ["production: a", "production: b", "production: 3 alerts at once"]
TAKEN = ["a", "b", "c", "d", "e"]


@pytest.mark.parametrize(
    "titles",
    [
        TITLES[1:],
        [*TITLES, TITLES[0]],
        [*TITLES, f"{TITLES[0]}{REPEAT}"],
        [*TITLES, "production: c"],
    ],
    ids=["one is missing", "no mark", "too many repeats", "alone and in a storm"],
)
def test_the_check_sees_what_is_missing_or_doubled(titles: list[str]) -> None:
    check_shown(TITLES, TAKEN, 0)
    with pytest.raises(AssertionError):
        check_shown(titles, TAKEN, 0)
    with pytest.raises(AssertionError):
        check_kept(TAKEN, TAKEN[1:])
