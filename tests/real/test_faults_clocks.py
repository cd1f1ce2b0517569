"""Clocks: both changes of summer time, a host's clock that jumps, a source whose clock is not ours."""

from collections.abc import Iterator
from datetime import datetime, timedelta
from pathlib import Path

import pytest

from tasks.core.window import Window
from tests.support.installation import Installation
from tests.support.nursery import Nursery
from tests.support.servers import InfluxServer
from tests.support.whole_way import HOUR, WholeWay, put_two, whole_way

BERLIN = "Europe/Berlin"
# both come at 01:00 UTC
CHANGES = ["2026-03-29T01:00:00+00:00", "2026-10-25T01:00:00+00:00"]
NOON = datetime.fromisoformat("2026-06-01T12:00:00+00:00")
MINUTE = timedelta(minutes=1)


@pytest.fixture
def way(tmp_path: Path, influxdb: InfluxServer, bucket: str) -> Iterator[WholeWay]:
    with whole_way(Installation(tmp_path / "here"), influxdb, bucket) as way:
        yield put_two(way, "alpha")


def due(way: WholeWay, nursery: Nursery, now: datetime, zone: str = "UTC") -> str:
    """A run over what is due at that time; what it said."""
    ended = way.run(nursery, None, clock=(now.isoformat(), zone))
    assert ended.code == 0, ended.text
    return ended.text


@pytest.mark.promise("Faults: summer time begins or ends on the host")
@pytest.mark.parametrize("change", CHANGES)
def test_summer_time_begins_and_ends(way: WholeWay, nursery: Nursery, change: str) -> None:
    moment = datetime.fromisoformat(change)
    # the last run reads the hours of the change again, by name
    for minutes in (-90, -30, 5, 30, 65, 130):
        due(way, nursery, moment + minutes * MINUTE, BERLIN)
    window = Window(moment - 3 * HOUR, moment + 129 * MINUTE)
    way.assert_whole(window)
    again = way.run(nursery, window, clock=((moment + 130 * MINUTE).isoformat(), BERLIN))
    assert again.receipt["values"]["landed"] == 0


@pytest.mark.promise("Faults: the host's clock jumps ahead and back")
def test_the_hosts_clock_jumps_ahead_and_back(way: WholeWay, nursery: Nursery) -> None:
    way.source.until = NOON
    due(way, nursery, NOON)
    # three hours that nobody has data of yet are looked at
    due(way, nursery, NOON + 3 * HOUR + 5 * MINUTE)
    way.source.until = NOON + HOUR
    assert "a clock was ahead" in due(way, nursery, NOON + HOUR)
    way.source.until = None
    due(way, nursery, NOON + 2 * HOUR + 7 * MINUTE)
    due(way, nursery, NOON + 4 * HOUR + 11 * MINUTE)
    way.assert_whole(Window(NOON - 2 * HOUR, NOON + 4 * HOUR + 10 * MINUTE))


@pytest.mark.promise("Faults: the source's clock is ahead or behind")
@pytest.mark.parametrize("ahead", [10, -10])
def test_a_source_whose_clock_is_not_ours(way: WholeWay, nursery: Nursery, ahead: int) -> None:
    """It has samples of a time that has not come here, or lacks those that should be there."""
    for hours in range(4):
        now = NOON + hours * HOUR + 5 * MINUTE
        way.source.until = now + ahead * MINUTE
        due(way, nursery, now)
        first, settled = NOON - HOUR, now - MINUTE
        # what is there and has settled here, no less and no more
        way.assert_whole(Window(first, settled))
