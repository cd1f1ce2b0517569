"""The home that a run works from: its id, whether it is new, and whether another one writes its bucket."""

import logging
from contextlib import closing
from datetime import UTC, datetime, timedelta

from tasks.core.errors import FedvitalsError
from tasks.core.self_metrics import LEDGER_ID, self_measurement
from tasks.core.settings import Environment, InfluxService, InfluxTuning, Settings, shipped
from tasks.core.window import Window, iso
from tasks.lake.tables import Lake
from tasks.ledger.ledger import Ledger
from tasks.runs.base.run import Run
from tasks.sinks.influxdb_read import InfluxReader

logger = logging.getLogger("fedvitals.plan")

# who wrote no run for so long is no longer at work
LOOK_BACK = timedelta(days=30)
ASK_TIMEOUT = timedelta(seconds=5)


def begin(run: Run) -> None:
    """Say which config and home a run uses, and warn of a new home and of variables without effect."""
    logger.info(places_line(run.settings))
    unused = (f"{name} is set and not used: {why}" for name, why in run.settings.unused.items())
    for warning in (*new_home(run.settings, run.ledger), *unused):
        logger.warning(warning)


def places_line(settings: Settings) -> str:
    """Return a line on which config and home are in force."""
    is_shipped = settings.config == shipped("config")
    return f"config {settings.config}{' (shipped)' if is_shipped else ''}, home {settings.home}"


def ledger_id(lake: Lake, ledger: Ledger) -> str:
    """Return the id that lake and ledger keep; the lake's counts, so a rebuilt ledger keeps its own."""
    known = lake.ledger_id()
    if known is not None:
        ledger.take_id(known)
        return known
    made = ledger.own_id()
    lake.keep_ledger_id(made)
    return made


def new_home(settings: Settings, ledger: Ledger) -> tuple[str, ...]:
    """Warn of a home without any run and without a lake, which may be the wrong one."""
    if ledger.has_runs():
        return ()
    try:
        if Lake(settings.lake_url).names():
            return ()
    except FedvitalsError:
        # whether the lake can be used is for the run to find out
        return ()
    return (
        f"{settings.home} is a new home: no run was made in it yet. Fix: if your lake is in another "
        "home, set FEDVITALS_HOME to that",
    )


def other_writer(
    settings: Settings, environment: Environment, lake: Lake, ledger: Ledger
) -> tuple[str, ...]:
    """Warn when a run of another home was the last to write the environment's bucket.

    Ask once a run, before anything is loaded; every run loads something, its own figures at least.
    An InfluxDB that does not answer, or whose token may only write, is no failure of the run.
    """
    service = settings.sink_service(InfluxReader.name, environment)
    if not isinstance(service, InfluxService):
        return ()
    try:
        mine = ledger_id(lake, ledger)
        last = _last_writer(service, environment.name)
    except FedvitalsError as error:
        runs = logging.getLogger("fedvitals")
        runs.info("who wrote bucket %s last is unknown: %s", service.bucket, error)
        return ()
    if last is None or last[1] == mine:
        return ()
    return (
        f"bucket {service.bucket} at {service.url} was last written for {environment.name} by the "
        f"ledger {last[1]} ({iso(last[0])}), not by that of {settings.home}, which is {mine}: both "
        "overwrite each other's points. Fix: set FEDVITALS_HOME to the other home, or go on if this "
        "one replaces it (fedvitals ledger ls shows a home's id)",
    )


def _last_writer(service: InfluxService, environment: str) -> tuple[datetime, str] | None:
    now = datetime.now(UTC)
    # a row of a clock that is ahead counts as well
    window = Window(now - LOOK_BACK, now + timedelta(days=1))
    tuning = InfluxTuning(timeout=ASK_TIMEOUT)
    with closing(InfluxReader(service, tuning, deadline_seconds=0)) as reader:
        return reader.last(self_measurement(), environment, LEDGER_ID, window)
