"""What commands do in one process, without the command line."""

from collections.abc import Callable, Mapping

from tasks.core.receipt import Receipt
from tasks.core.settings import load_settings
from tasks.runs.base.collecting import collect_by_source
from tasks.runs.base.lake_plan import LakeRequest
from tasks.runs.base.plan import covered_window, make_plan
from tasks.runs.base.run import Run
from tasks.runs.base.self_metrics import land_self_metrics
from tasks.runs.collect import CollectRequest
from tasks.runs.maintain import MaintainRequest, maintain
from tasks.runs.replay.run import replay


def one_run(variables: Mapping[str, str], start: str | None, stop: str | None) -> Receipt:
    """One collect with these environment variables, over a window or over what is due.

    It writes no report, which costs a second and which faults of services leave alone.

    Raises:
        FedvitalsError: as the command would say it, SumsDiffer among them.
    """
    with Run("collect", load_settings(variables)) as run:
        plan = make_plan(run, CollectRequest(start=start, stop=stop))
        collect_by_source(run, plan)
        receipt = run.account(covered_window(plan, run.outcomes))
        land_self_metrics(run, receipt)
        return run.complete(receipt)


def one_replay(variables: Mapping[str, str], start: str | None, stop: str | None) -> Receipt:
    """One replay into InfluxDB, of a window or of all that is landed."""
    with Run("replay", load_settings(variables)) as run:
        return replay(run, LakeRequest(start=start, stop=stop))


def one_upkeep(
    variables: Mapping[str, str], start: str | None = None, stop: str | None = None
) -> Receipt:
    """One maintain, which knows no window."""
    with Run("maintain", load_settings(variables)) as run:
        return maintain(run, MaintainRequest())


JOBS: Mapping[str, Callable[[Mapping[str, str], str | None, str | None], Receipt]] = {
    "collect": one_run,
    "replay": one_replay,
    "maintain": one_upkeep,
}
