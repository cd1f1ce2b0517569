"""Prefect's runner for `serve`: it reports its runs, and ends them when it is stopped."""

import sys
from contextlib import suppress
from functools import partial
from threading import Timer
from typing import Any, Self, cast
from uuid import UUID

import anyio
from httpx import HTTPError
from prefect._internal.observers import FlowRunCancellingObserver
from prefect.client.orchestration import get_client
from prefect.client.schemas.actions import DeploymentUpdate
from prefect.client.schemas.objects import FlowRun, State
from prefect.deployments.runner import RunnerDeployment
from prefect.exceptions import ObjectNotFound
from prefect.runner import Runner
from prefect.runner._scheduled_run_poller import ScheduledRunPoller
from prefect.states import Cancelling

from flows.commands import stopping
from flows.commands.served_runs import AT_WORK, ServedRuns
from tasks.core.units import counted

# a long backfill must not delay the scheduled runs
RUNS_AT_ONCE = 5
STOPPED = "fedvitals serve was stopped. Landed data stays; the next run continues"
# from a cancel to the kill of a run that goes on, and from a stop to the end of serve
KILL_AFTER, END_AFTER = 8.0, 14.0


def _make_patient(owner: Any, name: str) -> None:
    """Let a loop of Prefect wait for its server, where it would end at the third error."""
    ask = getattr(owner, name)

    async def patiently(*args: Any) -> None:
        with suppress(HTTPError):
            await ask(*args)

    setattr(owner, name, patiently)


_make_patient(ScheduledRunPoller, "_get_and_submit_flow_runs")
_make_patient(FlowRunCancellingObserver, "_check_for_cancelled_flow_runs")


class ServeRunner(Runner):
    """A runner whose runs are recorded in the home."""

    def __init__(self, runs: ServedRuns) -> None:
        # a restart must find its schedules active
        super().__init__(pause_on_shutdown=False, limit=RUNS_AT_ONCE)
        self.code = 0
        self._runs, self._names = runs, dict[UUID | None, str]()

    def add(self, deployment: RunnerDeployment) -> None:
        """Register a deployment, also one that was deployed to a work pool before."""
        found = cast(UUID, self.add_deployment(deployment))
        self._names[found] = deployment.full_name
        # a worker of the pool would take its runs, and they lack the path of the code
        with get_client(sync_client=True) as client:
            client.update_deployment(found, DeploymentUpdate(work_pool_name=None, path="."))
        print(f"fedvitals: serving {deployment.full_name}", file=sys.stderr)

    async def __aenter__(self) -> Self:
        await super().__aenter__()
        poller: Any = self._scheduled_run_poller
        manager: Any = self._process_manager
        # what Prefect's cancel asks for is longer than a stop of serve may take
        kill = manager.kill
        manager.kill = lambda run, **_: kill(run, grace_seconds=KILL_AFTER)
        poller._submit_run = partial(self._follow, poller._submit_run)
        poller._resolve_starter = partial(self._starter, poller._resolve_starter)
        # a signal may have come before
        if self.code:
            self.execute_in_background(self.astop)
        return self

    def _starter(self, resolve: Any, flow_run: FlowRun) -> Any:
        """Start a run in a session of its own, which Ctrl-C on our terminal does not reach."""
        self._say(flow_run, f"started ({flow_run.name})")
        starter = resolve(flow_run)
        starter._isolate_process_group = True
        return starter

    async def _follow(self, submit: Any, flow_run: FlowRun, *rest: Any) -> None:
        """Record and run a flow run, and report how it ended."""
        run = str(flow_run.id)
        record = self._runs.begin(run, self._names[flow_run.deployment_id])
        try:
            await submit(flow_run, *rest)
            state = await self._state_after(flow_run.id)
            if state is None:
                # the record stays, so that the run is set to Crashed later
                return self._say(flow_run, "ended, but Prefect has no result of it")
            record.unlink(missing_ok=True)
            if state.is_final():
                self._say(flow_run, f"ended as {state.name}: {state.message}")
        finally:
            self._runs.under_way.discard(run)

    async def _state_after(self, run: UUID) -> State[Any] | None:
        """Return a run's state once Prefect knows that its process ended."""
        with anyio.move_on_after(KILL_AFTER), suppress(HTTPError, ObjectNotFound):
            while True:
                state = (await self._client.read_flow_run(run)).state
                if state and state.type not in AT_WORK:
                    return state
                await anyio.sleep(0.3)
        return None

    def _say(self, flow_run: FlowRun, said: str) -> None:
        text = " ".join(f"{self._names[flow_run.deployment_id]} {said}".split())
        print(f"fedvitals: {text}", file=sys.stderr, flush=True)

    def handle_sigterm(self, *args: Any, **kwargs: Any) -> None:
        """End all runs and serve; at a second signal, at once."""
        is_second, self.code = bool(self.code), 128 + int(args[0])
        if is_second:
            self._end_now()
        patience = Timer(END_AFTER, self._end_now)
        patience.daemon = True
        patience.start()
        if self.started:
            self.execute_in_background(self.astop)

    def _end_now(self) -> None:
        """End without waiting for runs: they survive a kill."""
        manager = self._process_manager
        for handle in filter(None, map(manager.get, manager.flow_run_ids())):
            with suppress(ProcessLookupError):
                handle.hard_kill()
        stopping.end_now(self.code)

    async def cancel_all(self) -> None:
        """Cancel the runs together, as a cancel in the UI does."""
        if self._runs.under_way:
            runs = counted(len(self._runs.under_way), "run")
            print(f"fedvitals: stopping {runs}…", file=sys.stderr, flush=True)
        async with anyio.create_task_group() as group:
            # a run may be on its way to a process
            while self._runs.under_way:
                for run in self._process_manager.flow_run_ids() - self._cancelling_flow_run_ids:
                    # Prefect's observer leaves it alone then
                    self._cancelling_flow_run_ids.add(run)
                    group.start_soon(self._cancel, run)
                await anyio.sleep(0.1)

    async def _cancel(self, run: UUID) -> None:
        # without its server, a run is killed in the end
        with suppress(HTTPError, ObjectNotFound):
            flow_run = await self._client.read_flow_run(run)
            await self._client.set_flow_run_state(run, Cancelling(message=STOPPED))
            await self._cancellation_manager.cancel(flow_run, STOPPED)
