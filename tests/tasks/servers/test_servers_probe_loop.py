"""The loop of probes: a fixed rate, and a ledger that goes away for a while."""

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from pathlib import Path

import pytest
from pytest_httpserver import HTTPServer
from werkzeug import Response

from tasks.core.health import Health, Sample
from tasks.core.services import Environment, Service
from tasks.core.settings import Settings, load_settings
from tasks.core.window import Window
from tasks.ledger.health import host_samples, samples
from tasks.ledger.ledger import Ledger
from tasks.servers import probe_loop
from tasks.servers.probe_loop import ProbeLoop

INTERVAL = 0.1


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return load_settings({"FEDVITALS_HOME": str(tmp_path)})


@pytest.fixture
def url() -> Iterator[str]:
    with HTTPServer(threaded=True) as server:

        def answer(request: object) -> Response:
            time.sleep(INTERVAL / 2)
            return Response('{"status": "ok"}')

        server.expect_request("/health").respond_with_handler(answer)
        yield server.url_for("").rstrip("/")


@contextmanager
def looping(settings: Settings, url: str, interval: float = INTERVAL) -> Iterator[list[str]]:
    """The loop at work; what it notified."""
    health = Health.model_validate({"endpoints": {"/health": {}}, "timeout": "1s"})
    # shorter than anyone may set
    health = health.model_copy(update={"interval": timedelta(seconds=interval)})
    api = Service(url=url, origin="here")
    environment = Environment(name="production", services={"api": api}, is_local=True)
    said: list[str] = []
    loop = ProbeLoop(settings, health, [environment], said.append)
    thread = threading.Thread(target=loop.run)
    thread.start()
    try:
        yield said
    finally:
        loop.stop()
        thread.join(10)
        assert not thread.is_alive()


def recorded(settings: Settings) -> list[Sample]:
    now = datetime.now(UTC)
    window = Window(now - timedelta(hours=1), now + timedelta(hours=1))
    with closing(Ledger(settings.ledger_url)) as ledger:
        assert host_samples(ledger, "production", window)
        return samples(ledger, "production", window)


def eventually(is_so: Callable[[], object]) -> None:
    deadline = time.monotonic() + 10
    while not is_so():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def spacing(found: list[Sample]) -> float:
    """The mean time between two samples, in seconds."""
    return (found[-1].at - found[0].at).total_seconds() / (len(found) - 1)


def test_samples_come_at_a_fixed_rate_however_long_a_round_takes(
    settings: Settings, url: str
) -> None:
    with looping(settings, url):
        time.sleep(1.2)
    found = recorded(settings)

    assert {one.status for one in found} == {"healthy"}
    assert spacing(found) == pytest.approx(INTERVAL, rel=0.35)


def test_a_round_that_takes_too_long_is_followed_by_the_next_at_once(
    settings: Settings, url: str
) -> None:
    with looping(settings, url, INTERVAL / 5):
        time.sleep(1)

    # neither several at once nor a time without, on a machine that is busy too
    assert INTERVAL / 4 < spacing(recorded(settings)) < 2 * INTERVAL


@pytest.mark.promise("Health: a ledger that is away for a while costs no sample")
def test_samples_wait_for_a_ledger_that_is_away(settings: Settings, url: str) -> None:
    blocked = settings.home / "ledger.db"
    blocked.mkdir()
    with looping(settings, url) as said:
        eventually(lambda: said)
        time.sleep(0.5)
        blocked.rmdir()
        eventually(lambda: len(said) == 2)
    found = recorded(settings)

    assert said[0].startswith("samples wait in memory: ledger")
    assert said[1].startswith("the ledger is back")
    # none is missing
    assert spacing(found) == pytest.approx(INTERVAL, rel=0.35)
    gaps = [after.at - before.at for before, after in pairwise(found)]
    assert max(gaps) < timedelta(seconds=3 * INTERVAL)


def test_only_the_newest_samples_wait(
    settings: Settings, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(probe_loop, "MOST_SAMPLES", 3)
    blocked = settings.home / "ledger.db"
    blocked.mkdir()
    with looping(settings, url) as said:
        eventually(lambda: said)
        began = datetime.now(UTC)
        time.sleep(1)
        blocked.rmdir()
        eventually(lambda: len(said) == 2)
    found = recorded(settings)

    assert found[0].at > began + timedelta(seconds=0.5)


def test_what_waits_is_recorded_at_the_end(settings: Settings, url: str) -> None:
    blocked = settings.home / "ledger.db"
    blocked.mkdir()
    with looping(settings, url) as said:
        eventually(lambda: said)
        time.sleep(3 * INTERVAL)
        blocked.rmdir()

    assert len(recorded(settings)) >= 2


def test_a_defect_of_the_recorder_ends_the_loop(
    settings: Settings, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A loop that samples and records nothing would look well."""

    def fail(*_: object) -> None:
        raise KeyError("planted")

    monkeypatch.setattr(probe_loop, "record_samples", fail)
    health = Health.model_validate({"endpoints": {"/health": {}}, "interval": "1s"})
    environment = Environment(name="production", services={"api": Service(url=url, origin="here")})
    loop = ProbeLoop(settings, health, [environment], print)

    with pytest.raises(KeyError, match="planted"):
        loop.run()
