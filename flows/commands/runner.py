"""Prefect's runner for `serve`: it reports its runs, and ends them when it is stopped."""

import signal
import sys
from collections.abc import Callable
from typing import Any, Self, cast
from uuid import UUID

import anyio
from httpx import HTTPError
from prefect.client.orchestration import get_client
from prefect.client.schemas.actions import DeploymentUpdate
from prefect.client.schemas.objects import FlowRun, State
from prefect.deployments.runner import RunnerDeployment
from prefect.exceptions import ObjectNotFound
from prefect.runner import Runner
from prefect.runner._starter_engine import EngineCommandStarter
from prefect.states import Cancelling

from flows.commands import stopping
from flows.commands.served_runs import AT_WORK, ServedRuns
from tasks.core.units import counted

# a long backfill must not delay the scheduled runs
RUNS_AT_ONCE = 5
STOPPED = "fedvitals serve was stopped. Landed data stays; the next run continues"
# from a stop to the kill of a run that goes on, and to the end of serve
KILL_AFTER, END_AFTER = 7.0, 13.0
# within which Prefect's runner reports the end of a process
REPORT_SECONDS = 8.0


class ServeRunner(Runner):
    """A runner whose runs are recorded in the home."""

    def __init__(self, runs: ServedRuns) -> None:
        # a restart must find its schedules active
        super().__init__(pause_on_shutdown=False, limit=RUNS_AT_ONCE)
        self.code = 128 + signal.SIGTERM
        self._names: dict[UUID | None, str] = {}
        self._runs = runs

    def add(self, deployment: RunnerDeployment) -> None:
        """Register a deployment, out of the work pool to which it may have been deployed.

        A worker of the pool would take our runs, and they lack the path of the code.
        """
        found = cast(UUID, self.add_deployment(deployment))
        self._names[found] = deployment.full_name
        with get_client(sync_client=True) as client:
            client.update_deployment(found, DeploymentUpdate(work_pool_name=None, path="."))

    async def __aenter__(self) -> Self:
        await super().__aenter__()
        poller: Any = self._scheduled_run_poller
        self._submit: Callable[..., Any] = poller._submit_run
        poller._submit_run, poller._resolve_starter = self._follow, self._starter
        return self

    def _starter(self, flow_run: FlowRun) -> EngineCommandStarter:
        """Start a run in a session of its own, which Ctrl-C on our terminal does not reach."""
        self._say(flow_run, f"started ({flow_run.name})")
        return EngineCommandStarter(
            tmp_dir=self._tmp_dir,
            deployment_name=self._names[flow_run.deployment_id].split("/")[1],
            control_channel=self._control_channel,
            isolate_process_group=True,
        )

    async def _follow(self, flow_run: FlowRun, *rest: Any) -> None:
        """Record and run a flow run, and report how it ended."""
        run = str(flow_run.id)
        self._runs.begin(run, self._names[flow_run.deployment_id])
        try:
            await self._submit(flow_run, *rest)
            state = await self._state_after(flow_run.id)
            # else the record stays, from which the run is ended later
            if state and state.type not in AT_WORK:
                self._runs.end(run)
            if state and state.is_final():
                words = f"{state.name}: {state.message}" if state.message else state.name
                self._say(flow_run, f"ended as {words}")
        except (HTTPError, ObjectNotFound) as error:
            self._say(flow_run, f"ended; Prefect does not say how ({type(error).__name__})")
        finally:
            self._runs.under_way.discard(run)

    async def _state_after(self, run: UUID) -> State[Any] | None:
        """Return a run's state once Prefect knows that its process ended."""
        state = None
        with anyio.move_on_after(REPORT_SECONDS):
            while state is None or state.type in AT_WORK:
                state = (await self._client.read_flow_run(run)).state
                await anyio.sleep(0.3)
        return state

    def _say(self, flow_run: FlowRun, said: str) -> None:
        text = " ".join(f"fedvitals: {self._names[flow_run.deployment_id]} {said}".split())
        print(text, file=sys.stderr, flush=True)

    def handle_sigterm(self, *args: Any, **kwargs: Any) -> None:
        """End all runs and serve; at a second signal, at once."""
        code = 128 + int(args[0])
        if self.stopping:
            self._kill()
            stopping.end_now(code)
        stopping.end_after(END_AFTER, code)
        if not self.started:
            raise SystemExit(code)
        self.stopping, self.code = True, code
        self.execute_in_background(self.astop)

    async def cancel_all(self) -> None:
        """Cancel the runs together, as a cancel in the UI does."""
        if self._runs.under_way:
            runs = counted(len(self._runs.under_way), "run")
            print(f"fedvitals: stopping {runs}…", file=sys.stderr, flush=True)
        async with anyio.create_task_group() as group:
            group.start_soon(self._kill_late)
            # a run may be on its way to a process
            while self._runs.under_way:
                for run in self._process_manager.flow_run_ids() - self._cancelling_flow_run_ids:
                    # Prefect's observer leaves it alone then
                    self._cancelling_flow_run_ids.add(run)
                    group.start_soon(self._cancel, run)
                await anyio.sleep(0.1)
            group.cancel_scope.cancel()

    async def _cancel(self, run: UUID) -> None:
        try:
            flow_run = await self._client.read_flow_run(run)
            await self._client.set_flow_run_state(run, Cancelling(message=STOPPED))
            await self._cancellation_manager.cancel(flow_run, STOPPED)
        except (HTTPError, ObjectNotFound):
            # without its server, a run is killed in the end
            pass

    async def _kill_late(self) -> None:
        await anyio.sleep(KILL_AFTER)
        self._kill()

    def _kill(self) -> None:
        """Kill the processes of all runs, which a run survives."""
        for run in self._process_manager.flow_run_ids():
            handle = self._process_manager.get(run)
            try:
                if handle:
                    handle.hard_kill()
            except ProcessLookupError:
                pass
