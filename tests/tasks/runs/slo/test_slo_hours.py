"""Events of an SLO from Prometheus and, older ones, from the lake."""

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any, cast

import numpy as np
import pandas as pd
import pytest

from tasks.core.maintenance_windows import Maintenance, length_of
from tasks.core.slos import Slo
from tasks.core.window import Window
from tasks.runs.slo.hours import COUNTS, all_events, new_hours
from tasks.sources.prometheus_rules import RulesClient
from tasks.sources.wide_frame import Grid

AT = datetime(2026, 11, 30, 7, 20, 15, tzinfo=UTC)
STEP, HOUR, DAY = timedelta(minutes=5), timedelta(hours=1), timedelta(days=1)
FIRST = datetime(2026, 11, 20, tzinfo=UTC)
SLICES = {"expr": "x", "comparison": "<", "value": 1}
SLO = Slo.model_validate({"id": "s", "objective": 0.9, "slices": SLICES, "summary": "it fails"})
HOURLY = 12


class Client:
    """A Prometheus with one bad slice at the end of each hour since FIRST, as it keeps them."""

    def __init__(self, retention: timedelta = 15 * DAY) -> None:
        self.kept, self.asked = retention, list[Window]()

    def retention(self) -> timedelta:
        return self.kept

    def table(
        self, query: str, window: Window, step: timedelta, what: str
    ) -> Mapping[Any, np.ndarray[Any, Any]]:
        self.asked.append(window)
        grid = Grid.of(window, step)
        moments = [grid.first + at * step for at in range(grid.slots)]
        is_good = query.startswith("count(((")
        values = [
            np.nan
            if one <= max(FIRST, AT - self.kept)
            else float(not (is_good and one.minute == 0))
            for one in moments
        ]
        return {(): np.array(values)}


def events(client: Client, hours: pd.DataFrame, *maintenance: Maintenance) -> Any:
    return all_events(SLO, cast(RulesClient, client), AT, STEP, hours, maintenance)


def landed(rows: list[dict[str, Any]]) -> pd.DataFrame:
    found = pd.DataFrame(rows, columns=["time", *COUNTS])
    return found.assign(time=pd.to_datetime(found["time"], utc=True)).sort_values("time")


NONE = landed([])
WHOLE = list(new_hours(SLO, "p", events(Client(), NONE), NONE))


def test_each_whole_hour_is_counted_once() -> None:
    assert len(WHOLE) == 10 * 24 + 7
    assert {(one["total_events"], one["bad_events"]) for one in WHOLE} == {(HOURLY, 1.0)}
    assert max(one["time"] for one in WHOLE) == datetime(2026, 11, 30, 6, tzinfo=UTC)
    known = landed(WHOLE[3:])
    new = list(new_hours(SLO, "p", events(Client(), known), known))
    assert [one["time"] for one in new] == [one["time"] for one in WHOLE[:3]]


def test_what_prometheus_no_longer_has_comes_from_the_lake() -> None:
    short = Client(retention=4 * DAY)
    both = events(short, landed(WHOLE))
    alone = events(short, NONE)

    assert both.sums(30 * DAY) == pytest.approx(events(Client(), NONE).sums(30 * DAY))
    assert both.since == FIRST
    assert alone.sums(30 * DAY)[1] == 4 * 24 * HOURLY


def test_only_recent_samples_are_read_when_the_lake_has_the_rest() -> None:
    def length(hours: list[dict[str, Any]], kept: timedelta) -> timedelta:
        client = Client(kept)
        events(client, landed(hours))
        return client.asked[0].length

    assert length(WHOLE, 8 * DAY) < 4 * DAY
    assert length(WHOLE[:-60] + WHOLE[-59:], 20 * DAY) > 19 * DAY
    assert length(WHOLE[:100] + WHOLE[101:], 8 * DAY) > 7 * DAY


def test_hours_in_the_lake_are_not_counted_again() -> None:
    # what was recorded stands, also where Prometheus would count otherwise
    other = [{**one, "bad_events": 5.0} for one in WHOLE]
    found = events(Client(), landed(other))

    assert found.sums(3 * DAY)[0] == 3 * 24
    assert found.sums(30 * DAY)[0] == pytest.approx(7 * 24 * 5 + 3 * 24, abs=40)


def test_events_in_maintenance_are_counted_apart() -> None:
    start = datetime(2026, 11, 29, 3, 30, tzinfo=UTC)
    found = events(Client(), NONE, Maintenance(start, start + 2 * HOUR))

    assert found.planned(30 * DAY) == (2.0, 24.0)
    (row,) = (
        one
        for one in new_hours(SLO, "p", found, NONE)
        if one["time"].hour == 4 and one["time"].day == 29
    )
    assert (row["planned_total_events"], row["planned_bad_events"]) == (HOURLY, 1.0)
    assert events(Client(), NONE).planned(30 * DAY) == (0.0, 0.0)


def test_maintenance_that_overlaps_counts_once() -> None:
    def of(start: int, stop: int) -> Maintenance:
        return Maintenance(AT + start * HOUR, AT + stop * HOUR)

    found = [of(0, 3), of(1, 2), of(2, 5), of(7, 9)]
    assert length_of(found, AT + HOUR, AT + 8 * HOUR) == 5 * 3600
    assert length_of([], AT, AT + HOUR) == 0
