"""A Dask cluster that works on chunks, by prefect-dask: each chunk is one task on a worker."""

import pickle
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any, Self

from distributed import Semaphore
from prefect import task
from prefect.cache_policies import NO_CACHE
from prefect.client.orchestration import get_client
from prefect.settings import PREFECT_API_URL, temporary_settings
from prefect_dask.task_runners import DaskTaskRunner

from tasks.backfill.apart import Done, Gate, Order, process_apart
from tasks.backfill.backfilling import Handed
from tasks.backfill.plan import Backfill, Manner
from tasks.chunk.work import Chunk, Tools
from tasks.core.errors import ConfigurationInvalid, WorkerLost
from tasks.core.receipt import Outcome
from tasks.core.settings import Settings, load_settings


@task(name="chunk", cache_policy=NO_CACHE, persist_result=False)
def chunk_apart(order: bytes) -> Done:
    """One chunk on a worker of a Dask cluster.

    The order is pickled, since Prefect and Dask look for futures in every part of what they see.
    """
    return process_apart(pickle.loads(order), load_settings(), _gate)


def _gate(most: int) -> Gate:
    """One count of leases for all workers of the cluster."""
    gate: Gate = Semaphore(  # type: ignore[no-untyped-call]
        max_leases=most, name=f"fedvitals-queries-{most}"
    )
    return gate


@dataclass
class Cluster:
    """Workers of a Dask cluster: one on this machine for the run, or one that is there."""

    workers: int
    wanted: Backfill
    _runner: Any

    @classmethod
    @contextmanager
    def at_work(cls, wanted: Backfill) -> Iterator[Self]:
        """The workers, until the block ends.

        Raises:
            ConfigurationInvalid: Dask is not installed, or no scheduler answers at the address.
        """
        with ExitStack() as stack:
            api_url = stack.enter_context(_told_server())
            runner = _runner_of(wanted.manner, wanted.plan.settings, api_url)
            stack.enter_context(runner)
            try:
                # connects, or starts the workers
                runner.client  # noqa: B018
            except OSError as error:
                raise ConfigurationInvalid(
                    where="--address",
                    problem=f"no Dask scheduler answers at {wanted.manner.address}",
                    mend="Start it (dask scheduler), or correct the address",
                ) from error
            yield cls(wanted.manner.workers, wanted, runner)

    def hand(self, chunk: Chunk, tools: Tools) -> Handed:
        """Gives a chunk to one of them; does not wait."""
        plan = self.wanted.plan
        order = Order(plan.run_id, plan.now, chunk, tools.suite.digest)
        return _Apart(self._runner.submit(chunk_apart, {"order": pickle.dumps(order)}), tools)


@dataclass
class _Apart:
    """A chunk on a worker; what it changed is told to the run's tools."""

    future: Any
    tools: Tools
    _outcome: Outcome | None = None

    def exception(self) -> BaseException | None:
        """Waits; what ended the work, if it did not end well."""
        lost = self.future.wrapped_future.exception()
        if lost is not None:
            # not what it says: nobody vouches that a foreign text holds no secret
            return WorkerLost(problem=type(lost).__name__)
        found = self.future.result(raise_on_failure=False)
        if not isinstance(found, Done):
            return (
                found
                if isinstance(found, BaseException)
                else WorkerLost(problem=type(found).__name__)
            )
        self.tools.record(list(found.states))
        self._outcome = found.outcome
        return None

    def result(self) -> Outcome:
        """What became of it."""
        assert self._outcome is not None, "the error comes first"
        return self._outcome


@contextmanager
def _told_server() -> Iterator[str]:
    """The address of the run's Prefect server, told to workers: each would start one of its own."""
    with get_client(sync_client=True) as client:
        url = str(client.api_url).rstrip("/")
    with temporary_settings({PREFECT_API_URL: url}):
        yield url


def _runner_of(manner: Manner, settings: Settings, api_url: str) -> DaskTaskRunner:
    if manner.address is not None:
        return DaskTaskRunner(address=manner.address)
    return DaskTaskRunner(
        cluster_kwargs={
            "n_workers": manner.workers,
            "threads_per_worker": 1,
            "host": "127.0.0.1",
            # no page that anybody on this machine could look at
            "dashboard_address": None,
            "env": {"PREFECT_API_URL": api_url},
            "local_directory": str(settings.home / "tmp"),
        }
    )
