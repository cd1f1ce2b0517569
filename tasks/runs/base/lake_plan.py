"""Plans of runs from the lake to a sink."""

from dataclasses import dataclass

from tasks.core import plugins
from tasks.core.catalogue import Catalogue
from tasks.core.errors import UsageInvalid
from tasks.core.ports import Sink
from tasks.core.series import ALL_TIME
from tasks.core.services import Environment
from tasks.core.settings import Settings
from tasks.core.window import Window
from tasks.runs.base.plan import Plan, Request, make_report_plan
from tasks.runs.base.registry import INFLUXDB, find, names, why_off
from tasks.runs.base.run import Run


@dataclass(frozen=True)
class LakeRequest(Request):
    """The part of the lake to load into, or compare with, a sink."""

    sink: str = INFLUXDB.name


def plan_of_lake(run: Run, request: LakeRequest) -> Plan:
    """Plan a replay or reconcile; no source has to be configured.

    All types are the whole catalogue, with those that `collect` takes only by name.
    """
    check_sink(request.sink, run.settings, run.environment)
    chosen = request.measurements
    if request.type == "all" and not chosen:
        chosen = list(Catalogue.read(run.settings.config / "metrics.yaml"))
    return make_report_plan(run, Request(request.type, chosen, request.start, request.stop))


def check_sink(name: str, settings: Settings, environment: Environment) -> None:
    """Refuse an unknown sink, and one that is off, which would silently take nothing."""
    if name not in (known := names(plugins.SINKS)):
        fix = f"Use one of: {', '.join(known)}"
        raise UsageInvalid(argument="--sink", problem=f"there is no sink {name!r}", fix=fix)
    error = why_off(plugins.SINKS, name, settings, environment)
    if error is not None:
        raise error
    if find(plugins.SINKS, name).reader is None:
        problem = f"{name} takes nothing twice and cannot be read, so what it holds is unknown"
        fix = "See what it was sent: fedvitals ledger ls"
        raise UsageInvalid(argument="--sink", problem=problem, fix=fix)


def sink_of(sinks: tuple[Sink, ...], name: str) -> Sink:
    """Return the opened sink of this name."""
    return next(each for each in sinks if each.name == name)


def whole_cells(plan: Plan) -> Window:
    """Return the plan's window, widened to whole cells; all time without one."""
    return ALL_TIME if plan.window is None else plan.window.widened(plan.settings.pipeline.cell)
