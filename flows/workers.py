"""Workers for the chunks of a backfill."""

from tasks.runs.backfill.plan import Runner
from tasks.runs.backfill.run import Workers, in_threads


def workers_of(runner: Runner) -> Workers:
    """Return the workers: threads of this process, or those of a Dask cluster."""
    if runner != "dask":
        return in_threads
    # Dask is an extra, and slow to import
    from tasks.stages.dask import on_cluster

    return on_cluster
