"""What flows do up to their reports, without Prefect's engine, which takes seconds."""

from collections.abc import Callable, Mapping

from tasks.core.maintained import Maintained
from tasks.core.receipt import Receipt
from tasks.core.settings import load_settings
from tasks.delivery.runs import plan_of_lake, run_replay
from tasks.run.plan import make_plan
from tasks.run.self_watch import watch
from tasks.stages import _keep, receipt_of, work_through
from tasks.upkeep.maintaining import maintain, make_upkeep_plan


def one_run(variables: Mapping[str, str], start: str | None, stop: str | None) -> Receipt:
    """One collect with these environment variables, over a window or over what is due.

    Raises:
        FedvitalsError: as the command would say it, SumsDiffer among them.
    """
    plan = make_plan(load_settings(variables), None, "all", (), start, stop)
    worked = work_through(plan, lambda *_: None)
    receipt = receipt_of("collect", plan, worked)
    _keep(plan, receipt)
    return watch(plan, receipt)


def one_replay(variables: Mapping[str, str], start: str | None, stop: str | None) -> Receipt:
    """One replay into InfluxDB, of a window or of all that is landed."""
    plan = plan_of_lake(load_settings(variables), "influxdb", None, "all", (), start, stop)
    receipt = watch(plan, run_replay(plan, "influxdb", lambda *_: None))
    _keep(plan, receipt)
    return receipt


def one_upkeep(
    variables: Mapping[str, str], start: str | None = None, stop: str | None = None
) -> Maintained:
    """One maintain, which knows no window."""
    return maintain(make_upkeep_plan(load_settings(variables)))


JOBS: Mapping[str, Callable[[Mapping[str, str], str | None, str | None], Receipt | Maintained]] = {
    "collect": one_run,
    "replay": one_replay,
    "maintain": one_upkeep,
}
