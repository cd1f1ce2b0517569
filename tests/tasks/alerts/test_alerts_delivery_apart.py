"""Several processes drain one outbox: each message is sent once, and one that hangs holds up none."""

import threading
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing
from pathlib import Path

import pytest

from tasks.alerts.incidents import take
from tasks.core.incidents import AlertMessage
from tasks.ledger.ledger import Ledger
from tests.support.fakes.alert_channel import FakeChannel
from tests.support.incident_samples import ended, firing
from tests.tasks.alerts.conftest import Desk

NAMES = ("pagerduty", "slack", "email")


@pytest.fixture(params=["sqlite", pytest.param("postgresql", marks=pytest.mark.real)])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path / 'ledger.db'}"
    found: str = request.getfixturevalue("database")
    return found


def test_each_message_is_sent_by_one_of_several(url: str) -> None:
    channels = {name: FakeChannel(name) for name in NAMES}
    with ExitStack() as stack:
        ledgers = [stack.enter_context(closing(Ledger(url))) for _ in range(3)]
        desks = [Desk(ledger, channels) for ledger in ledgers]
        first = desks[0]
        notices = [firing(0, fingerprint=f"{n:016x}", name=f"a{n}") for n in range(8)]
        take(first.ledger, notices, first.routes.timing, first.plan)
        with ThreadPoolExecutor(3) as pool:
            list(pool.map(Desk.deliver, desks))
        first.take(*(ended(0, 1, fingerprint=one.fingerprint) for one in notices[:3]))
        first.wait(7)
    for name in ("pagerduty", "slack"):
        seen = Counter((one.incident_id, one.action) for one in channels[name].seen)
        assert set(seen.values()) <= {1}
        assert sum(action == "open" for _, action in seen) == 8
        assert sum(action == "resolve" for _, action in seen) == 3
        assert not any(one.is_repeat for one in channels[name].seen)


@pytest.mark.promise("Alerts: a channel that hangs holds up no other channel")
def test_a_channel_that_hangs_holds_up_no_other(url: str) -> None:
    begun, goes_on = threading.Event(), threading.Event()

    def hangs(_: AlertMessage) -> None:
        begun.set()
        assert goes_on.wait(30)

    channels = {name: FakeChannel(name) for name in NAMES}
    channels["slack"].answer = hangs
    with closing(Ledger(url)) as ledger, ThreadPoolExecutor(1) as pool:
        desk = Desk(ledger, channels)
        take(ledger, [firing(0)], desk.routes.timing, desk.plan)
        hanging = pool.submit(desk.sender.drain, "slack")
        try:
            assert begun.wait(10)
            # neither a page, nor what is taken meanwhile
            desk.sender.drain("pagerduty")
            other = firing(0, fingerprint="e" * 16, name="other")
            take(ledger, [other], desk.routes.timing, desk.plan)
            desk.sender.drain("pagerduty")
            assert len(desk.shown("pagerduty")) == 2
            assert desk.shown("slack") == []
        finally:
            goes_on.set()
        assert hanging.result() == 2
    assert len(channels["slack"].seen) == 2
