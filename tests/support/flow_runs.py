"""What Prefect's server knows of flow runs."""

from typing import Any
from uuid import UUID

from prefect.client.orchestration import SyncPrefectClient
from prefect.client.schemas.filters import (
    ArtifactFilter,
    ArtifactFilterFlowRunId,
    FlowRunFilter,
    FlowRunFilterId,
    LogFilter,
    LogFilterFlowRunId,
)
from prefect.client.schemas.objects import FlowRun, Log
from prefect.client.schemas.sorting import TaskRunSort


def runs(client: SyncPrefectClient) -> set[UUID]:
    """The flow runs that there are."""
    return {run.id for run in client.read_flow_runs(limit=200)}


def newest_run(client: SyncPrefectClient, before: set[UUID]) -> FlowRun:
    """The one run that was not there before."""
    (found,) = runs(client) - before
    return client.read_flow_run(found)


def ending(run: FlowRun) -> tuple[str, str, str | None]:
    """Type, name and message of the run's state."""
    assert run.state is not None
    return run.state.type.value, run.state.name or "", run.state.message


def artifacts(client: SyncPrefectClient, run: FlowRun) -> dict[str, Any]:
    """The data of each artifact of a run, by its key."""
    mine = ArtifactFilter(flow_run_id=ArtifactFilterFlowRunId(any_=[run.id]))
    return {each.key or "": each.data for each in client.read_artifacts(artifact_filter=mine)}


def logs(client: SyncPrefectClient, run: FlowRun) -> list[Log]:
    """What the run logged, its tasks included."""
    return client.read_logs(log_filter=LogFilter(flow_run_id=LogFilterFlowRunId(any_=[run.id])))


def task_runs(client: SyncPrefectClient, run: FlowRun) -> list[str]:
    """The steps of the run, as its graph shows them."""
    mine = FlowRunFilter(id=FlowRunFilterId(any_=[run.id]))
    found = client.read_task_runs(flow_run_filter=mine, sort=TaskRunSort.EXPECTED_START_TIME_ASC)
    return [each.name for each in found]
