"""Chunks of a backfill on a Dask cluster, by the executor of `distributed`."""

import pickle
from collections.abc import Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from typing import Any

from distributed import Client, LocalCluster, Semaphore

from tasks.core.errors import ConfigurationInvalid, FedvitalsError, WorkerLost
from tasks.core.settings import load_settings
from tasks.pipeline.chunk import Chunk, Tools
from tasks.runs.backfill.plan import Backfill
from tasks.runs.backfill.remote_worker import Gate, Order, process_apart
from tasks.runs.backfill.run import Done, Submit
from tasks.runs.base.run import Run

CONNECT_SECONDS = 10


@contextmanager
def on_cluster(run: Run, planned: Backfill) -> Iterator[Submit]:
    """Process chunks on a Dask cluster: a local one for the run, or an existing one."""
    with _client(run, planned) as client:
        executor = client.get_executor()

        def submit(chunk: Chunk, tools: Tools) -> Future[Done]:
            order = Order(run.id, run.now, chunk, tools.suite.digest)
            # pickled, since Dask looks for futures in every part of its arguments
            return _redacted(executor.submit(process_order, pickle.dumps(order)))

        yield submit


def process_order(order: bytes) -> Done:
    """Process one chunk; its addresses and secrets are the worker's own."""
    return process_apart(pickle.loads(order), load_settings(), _gate)


def _gate(most: int) -> Gate:
    gate: Gate = Semaphore(max_leases=most, name=f"fedvitals-queries-{most}")  # type: ignore[no-untyped-call]
    return gate


@contextmanager
def _client(run: Run, planned: Backfill) -> Iterator[Any]:
    options = planned.options
    if options.address is None:
        cluster = LocalCluster(  # type: ignore[no-untyped-call]
            n_workers=options.workers,
            threads_per_worker=1,
            host="127.0.0.1",
            # no dashboard that others on this machine could open
            dashboard_address=None,
            local_directory=str(run.settings.home / "tmp"),
        )
        with cluster, Client(cluster) as client:  # type: ignore[no-untyped-call]
            yield client
        return
    try:
        client = Client(options.address, timeout=CONNECT_SECONDS)  # type: ignore[no-untyped-call]
    except OSError as error:
        problem = f"no Dask scheduler answers at {options.address}"
        fix = "Start it (dask scheduler), or correct the address"
        raise ConfigurationInvalid(where="--address", problem=problem, fix=fix) from error
    with client:
        yield client


def _redacted(remote: "Future[Done]") -> "Future[Done]":
    """Hide foreign text: of an error that is not ours only its type is kept."""
    answer: Future[Done] = Future()

    def pass_on(done: "Future[Done]") -> None:
        # a lost scheduler cancels all futures, which is not an exception of theirs
        error = WorkerLost(problem="cancelled") if done.cancelled() else done.exception()
        if error is None:
            answer.set_result(done.result())
        elif isinstance(error, FedvitalsError):
            answer.set_exception(error)
        else:
            answer.set_exception(WorkerLost(problem=type(error).__name__))

    remote.add_done_callback(pass_on)
    return answer
