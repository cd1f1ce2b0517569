"""Checks that the Prefect server schedules runs of our deployments ahead of time."""

import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from threading import Thread
from typing import TYPE_CHECKING

from flows.commands import prefect_server
from tasks.core.checks import ServiceCheck
from tasks.core.window import iso

if TYPE_CHECKING:
    from prefect.client.orchestration import SyncPrefectClient
    from prefect.client.schemas.responses import DeploymentResponse

    from tasks.core.settings import Settings

# the server's scheduler loops each minute
GRACE = timedelta(seconds=90)
CHECK_SECONDS = 60
WHAT = "schedules"
FIX = (
    "The scheduler of the Prefect server does not work: see the server's log, and whether "
    "PREFECT_SERVER_SERVICES_SCHEDULER_ENABLED is false there"
)
FIX_REFUSED = (
    "See the server's log; where it asks for a key, set PREFECT_API_KEY or PREFECT_API_AUTH_STRING"
)


@dataclass(frozen=True)
class Scheduled:
    """A deployment with an active schedule, and its next automatic run."""

    name: str
    changed: datetime
    next_run: datetime | None


def check_deployments(settings: "Settings") -> ServiceCheck:
    """Check that our deployments with an active schedule have a run scheduled ahead."""
    from flows.commands.definitions import read_deployments
    from tasks.core.errors import FedvitalsError

    try:
        return check_schedules([each.name for each in read_deployments(settings)])
    except FedvitalsError as error:
        return ServiceCheck("prefect", WHAT, False, "no", str(error))


def check_schedules(names: Sequence[str]) -> ServiceCheck:
    """Check that these deployments, FLOW/DEPLOYMENT each, have a run scheduled ahead."""
    import httpx
    from prefect.client.orchestration import get_client

    now = datetime.now(UTC)
    try:
        with get_client(sync_client=True) as client:
            found = [each for name in names if (each := _look_up(client, name, now))]
    except httpx.HTTPStatusError as error:
        detail = f"the server answers HTTP {error.response.status_code}"
        return ServiceCheck("prefect", WHAT, False, detail, FIX_REFUSED)
    except httpx.RequestError as error:
        detail = f"no answer ({type(error).__name__})"
        return ServiceCheck("prefect", WHAT, False, detail, prefect_server.FIX)
    return judge(found, now)


def judge(found: Sequence[Scheduled], now: datetime) -> ServiceCheck:
    """Judge deployments with a schedule; the scheduler has GRACE after each change."""
    late = [each.name for each in found if not each.next_run and now - each.changed > GRACE]
    if late:
        detail = f"active, but no run is scheduled ahead: {', '.join(late)}"
        return ServiceCheck("prefect", WHAT, False, detail, FIX)
    if not found:
        return ServiceCheck("prefect", WHAT, True, "none is active (fedvitals serve makes them)")
    next_runs = (f"{each.name} {_when(each)}" for each in found)
    return ServiceCheck("prefect", WHAT, True, f"next runs: {', '.join(next_runs)}")


def _when(each: Scheduled) -> str:
    return iso(each.next_run) if each.next_run else "not yet scheduled"


def _look_up(client: "SyncPrefectClient", name: str, now: datetime) -> Scheduled | None:
    """Return a deployment's next run; None when it is missing or not active."""
    from prefect.exceptions import ObjectNotFound

    try:
        deployment = client.read_deployment_by_name(name)
    except ObjectNotFound:
        return None
    active = [each for each in deployment.schedules if each.active]
    if deployment.paused or not active:
        return None
    changes = [each.updated for each in (deployment, *active) if each.updated]
    return Scheduled(name, max(changes, default=now), _next_run(client, deployment, now))


def _next_run(
    client: "SyncPrefectClient", deployment: "DeploymentResponse", now: datetime
) -> datetime | None:
    from prefect.client.schemas.filters import DeploymentFilter, FlowRunFilter
    from prefect.client.schemas.sorting import FlowRunSort

    time = {"after_": now}
    ahead = {"state": {"type": {"any_": ["SCHEDULED"]}}, "next_scheduled_start_time": time}
    runs = client.read_flow_runs(
        deployment_filter=DeploymentFilter.model_validate({"id": {"any_": [deployment.id]}}),
        flow_run_filter=FlowRunFilter.model_validate(ahead),
        sort=FlowRunSort.NEXT_SCHEDULED_START_TIME_ASC,
    )
    # runs scheduled by hand do not show that the scheduler works
    return next((run.next_scheduled_start_time for run in runs if run.auto_scheduled), None)


def watch_schedules(names: Sequence[str], end_left: Callable[[], None]) -> None:
    """Report from a thread when scheduling stops or resumes; end runs without a process."""
    Thread(target=_watch, args=(names, end_left), name="schedules", daemon=True).start()


def _watch(names: Sequence[str], end_left: Callable[[], None]) -> None:
    was_ok = True
    while True:
        time.sleep(CHECK_SECONDS)
        end_left()
        check = check_schedules(names)
        if check.ok != was_ok:
            said = "runs are scheduled again" if check.ok else f"{check.detail}. Fix: {check.fix}"
            print(f"fedvitals: Prefect schedules: {said}", file=sys.stderr, flush=True)
        was_ok = check.ok
