"""The home of a run: its id, and warnings of a new home or a second writer."""

import logging
from contextlib import closing
from datetime import UTC, datetime, timedelta

from tasks.core.errors import FedvitalsError
from tasks.core.self_metrics import LEDGER_ID, self_measurement
from tasks.core.services import Environment, InfluxService, InfluxTuning
from tasks.core.settings import Settings, shipped
from tasks.core.window import Window, iso
from tasks.lake.tables import Lake
from tasks.ledger.ledger import Ledger
from tasks.runs.base.run import Run
from tasks.sinks.influxdb_read import InfluxReader

logger = logging.getLogger("fedvitals.plan")

# a home without a run for this long is no longer in use
LOOK_BACK = timedelta(days=30)
ASK_TIMEOUT = timedelta(seconds=5)


def begin(run: Run) -> None:
    """Log the config and home in force; warn of a new home and unused variables."""
    logger.info(places_line(run.settings))
    unused = (f"{name} is set and not used: {why}" for name, why in run.settings.unused.items())
    for warning in (*new_home(run.settings, run.ledger), *unused):
        logger.warning(warning)


def places_line(settings: Settings) -> str:
    """Return a line with the config and home in force."""
    is_shipped = settings.config == shipped("config")
    return f"config {settings.config}{' (shipped)' if is_shipped else ''}, home {settings.home}"


def ledger_id(lake: Lake, ledger: Ledger) -> str:
    """Return the shared id of lake and ledger; a ledger without cells takes the lake's.

    An empty lake beside a ledger with cells gets none: it is lost, or another one.
    """
    if ledger.lake_id() is None and (known := lake.ledger_id()) is not None:
        ledger.take_id(known)
    elif ledger.lake_id() is None and (lake.names() or not ledger.newest_run()):
        lake.keep_ledger_id(ledger.own_id())
    return ledger.own_id()


def new_home(settings: Settings, ledger: Ledger) -> tuple[str, ...]:
    """Warn of a home without runs and without a lake, which may be the wrong one."""
    if ledger.has_runs():
        return ()
    try:
        if Lake(settings.lake_url).names():
            return ()
    except FedvitalsError:
        # the run itself finds out whether the lake is usable
        return ()
    return (
        f"{settings.home} is a new home with no runs. Fix: if your lake is in another "
        "home, set FEDVITALS_HOME to it",
    )


def other_writer(
    settings: Settings, environment: Environment, lake: Lake, ledger: Ledger
) -> tuple[str, ...]:
    """Warn when a run of another home was the last to write the environment's bucket.

    Call once a run, before any load: every run loads its self metrics at least. An InfluxDB that
    does not answer, or whose token may only write, does not fail the run.
    """
    service = settings.sink_service(InfluxReader.name, environment)
    if not isinstance(service, InfluxService):
        return ()
    try:
        mine = ledger_id(lake, ledger)
        last = _last_writer(service, environment.name)
    except FedvitalsError as error:
        runs = logging.getLogger("fedvitals")
        runs.info("the last writer of bucket %s is unknown: %s", service.bucket, error)
        return ()
    if last is None or last[1] == mine:
        return ()
    return (
        f"bucket {service.bucket} at {service.url} was last written for {environment.name} by the "
        f"ledger {last[1]} ({iso(last[0])}), not by that of {settings.home}, which is {mine}: both "
        "overwrite each other's points. Fix: set FEDVITALS_HOME to the other home, or continue if this "
        "one replaces it (fedvitals ledger ls shows a home's id)",
    )


def _last_writer(service: InfluxService, environment: str) -> tuple[datetime, str] | None:
    now = datetime.now(UTC)
    # includes rows dated by a clock that is ahead
    window = Window(now - LOOK_BACK, now + timedelta(days=1))
    tuning = InfluxTuning(timeout=ASK_TIMEOUT)
    with closing(InfluxReader(service, tuning, deadline_seconds=0)) as reader:
        return reader.last(self_measurement(), environment, LEDGER_ID, window)
