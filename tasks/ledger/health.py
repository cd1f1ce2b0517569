"""Health in the ledger: samples, states, pushes, and maintenance started by hand."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict
from datetime import datetime
from typing import Any, TypeVar

from pydantic import TypeAdapter
from sqlalchemy import ColumnElement, Table, and_, delete, func, select, update

from tasks.core.health import HostSample, Interval, Key, Push, ResponseTime, Sample, Track
from tasks.core.health_measurements import SAMPLES_KEPT, STATES_KEPT
from tasks.core.maintenance_windows import Maintenance
from tasks.core.window import Window
from tasks.ledger.ledger import Ledger
from tasks.ledger.schema import (
    as_text,
    health_hosts,
    health_intervals,
    health_pushes,
    health_rounds,
    health_samples,
    health_tracks,
    maintenance,
)
from tasks.ledger.version import lock

# differs from the key of upgrades
_LOCK = 2
_TRACK: TypeAdapter[Track] = TypeAdapter(Track)
Record = TypeVar("Record", Sample, Interval, HostSample, Push, Maintenance)

# finds the changed intervals and the tracks after some samples
Advance = Callable[[Mapping[Key, Track]], tuple[list[Interval], list[Track]]]


def record_samples(ledger: Ledger, samples: Iterable[Sample], advance: Advance) -> None:
    """Keep samples with the states that follow; rounds of several processes do so in turn."""
    rows = [_row(sample) for sample in samples]

    def write(connection: Any) -> None:
        lock(connection, _LOCK)
        found = connection.execute(select(health_tracks)).mappings()
        before = {Key(one["environment"], one["check"]): one["track"] for one in found}
        read = {key: _TRACK.validate_json(text) for key, text in before.items()}
        intervals, after = advance(read)
        for table, records in (
            (health_samples, rows),
            (health_intervals, [_row(one) for one in intervals]),
            (health_tracks, [_track_row(one) for one in after]),
        ):
            if records:
                connection.execute(ledger.upsert(table), records)

    ledger.patiently(write)


def tracks(ledger: Ledger) -> dict[Key, Track]:
    """Return the newest interval of every check that was ever sampled."""
    found = ledger.ask(select(health_tracks))
    return {
        Key(row["environment"], row["check"]): _TRACK.validate_json(row["track"]) for row in found
    }


def samples(ledger: Ledger, environment: str, window: Window) -> list[Sample]:
    """Return the samples of a window, oldest first."""
    return [Sample(**row) for row in _of_time(ledger, health_samples, environment, window)]


def response_times(ledger: Ledger, environment: str, window: Window) -> list[ResponseTime]:
    """Return response times in steps of ten minutes, oldest first: a day has many samples."""
    table = health_samples.c
    # an ISO time up to the tens of its minutes
    step, mean, slowest = (
        func.substr(table.at, 1, 15),
        func.avg(table.seconds),
        func.max(table.seconds),
    )
    query = (
        select(table.check, step.label("step"), mean.label("mean"), slowest.label("slowest"))
        .where(_in_window(health_samples, environment, window), table.seconds.is_not(None))
        .group_by(table.check, step)
        .order_by(step)
    )
    return [
        ResponseTime(
            row["check"], datetime.fromisoformat(f"{row['step']}0Z"), row["mean"], row["slowest"]
        )
        for row in ledger.ask(query)
    ]


def host_samples(ledger: Ledger, environment: str, window: Window) -> list[HostSample]:
    """Return the figures of the environment's machine in a window, oldest first."""
    return [HostSample(**row) for row in _of_time(ledger, health_hosts, environment, window)]


def keep_host(ledger: Ledger, sample: HostSample) -> None:
    """Keep figures of a machine."""
    ledger.write(health_hosts, [_row(sample)])


def intervals(ledger: Ledger, environment: str, window: Window) -> list[Interval]:
    """Return the intervals that reach into a window, oldest first; none is cut."""
    table = health_intervals.c
    query = select(health_intervals).where(
        table.environment == environment,
        table.start < as_text(window.stop),
        table.until >= as_text(window.start),
    )
    return [Interval(**_read(row)) for row in ledger.ask(query.order_by(table.start))]


def pushes(ledger: Ledger) -> dict[Key, Push]:
    """Return the last report of every pushed check."""
    found = (Push(**_read(row)) for row in ledger.ask(select(health_pushes)))
    return {Key(push.environment, push.check): push for push in found}


def keep_push(ledger: Ledger, push: Push) -> None:
    """Keep a report of a pushed check, with the time by which the next one is due."""
    ledger.write(health_pushes, [_row(push)])


def expect_push(ledger: Ledger, push: Push) -> None:
    """Keep by when the first report is due, unless one came meanwhile."""
    ledger.write_new(health_pushes, _row(push))


def last_round(ledger: Ledger, environment: str) -> tuple[str, datetime] | None:
    """Return the round in which the training was seen last, and since when."""
    query = select(health_rounds).where(health_rounds.c.environment == environment)
    row = next(iter(ledger.ask(query)), None)
    return None if row is None else (row["round"], datetime.fromisoformat(row["since"]))


def keep_round(ledger: Ledger, environment: str, name: str, since: datetime) -> None:
    """Keep the round that a training is in, and since when."""
    row = {"environment": environment, "round": name, "since": as_text(since)}
    ledger.write(health_rounds, [row])


def started_maintenance(
    ledger: Ledger, at: datetime, since: datetime | None = None
) -> list[Maintenance]:
    """Return the maintenance started by hand that goes on at a moment, or did since another."""
    table = maintenance.c
    goes_on = table.start <= as_text(at), table.until > as_text(since or at)
    query = select(maintenance).where(*goes_on)
    return [Maintenance(**_read(row)) for row in ledger.ask(query)]


def start_maintenance(ledger: Ledger, one: Maintenance) -> None:
    """Keep maintenance that was started by hand."""
    ledger.write(maintenance, [_row(one)])


def stop_maintenance(ledger: Ledger, environment: str, check: str, at: datetime) -> int:
    """End what goes on in an environment, of one check or of all; return how many ended."""
    table = maintenance.c
    is_meant = [table.environment == environment, *([table.check == check] if check else [])]
    goes_on = table.start <= as_text(at), table.until > as_text(at)
    statement = update(maintenance).where(*is_meant, *goes_on).values(until=as_text(at))
    return ledger.patiently(lambda connection: connection.execute(statement).rowcount)


def forget_health(ledger: Ledger, now: datetime) -> int:
    """Drop samples and states older than they are kept; return their number."""
    ends = (
        (health_samples, health_samples.c.at, SAMPLES_KEPT),
        (health_hosts, health_hosts.c.at, SAMPLES_KEPT),
        (health_intervals, health_intervals.c.until, STATES_KEPT),
        (maintenance, maintenance.c.until, STATES_KEPT),
    )
    with ledger.transaction() as connection:
        done = [
            connection.execute(delete(table).where(end < as_text(now - kept))).rowcount
            for table, end, kept in ends
        ]
    return sum(done)


def _of_time(
    ledger: Ledger, table: Table, environment: str, window: Window
) -> list[dict[str, Any]]:
    query = select(table).where(_in_window(table, environment, window))
    return [_read(row) for row in ledger.ask(query.order_by(table.c.at))]


def _in_window(table: Table, environment: str, window: Window) -> ColumnElement[bool]:
    return and_(
        table.c.environment == environment,
        table.c.at >= as_text(window.start),
        table.c.at < as_text(window.stop),
    )


def _track_row(track: Track) -> dict[str, str]:
    return {**track.interval.key._asdict(), "track": _TRACK.dump_json(track).decode()}


def _row(record: Record) -> dict[str, Any]:
    return {
        name: as_text(value) if isinstance(value, datetime) else value
        for name, value in asdict(record).items()
    }


_TIMES = frozenset({"at", "start", "until", "deadline"})


def _read(row: dict[str, Any]) -> dict[str, Any]:
    return {
        name: datetime.fromisoformat(value) if name in _TIMES and value else value
        for name, value in row.items()
    }
