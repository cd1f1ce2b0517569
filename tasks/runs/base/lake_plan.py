"""Plans of runs from the lake to a sink."""

from dataclasses import dataclass

from tasks.core.catalogue import Catalogue
from tasks.core.errors import NothingConfigured, UsageInvalid
from tasks.core.ports import Sink
from tasks.core.series import ALL_TIME
from tasks.core.settings import Environment, Settings
from tasks.core.window import Window
from tasks.runs.base.plan import Plan, Request, make_report_plan
from tasks.runs.base.run import Run
from tasks.runs.base.toolbox import SINKS

INFLUXDB = "influxdb"


@dataclass(frozen=True)
class LakeRequest(Request):
    """The part of the lake to load into, or compare with, a sink."""

    sink: str = INFLUXDB


def plan_of_lake(run: Run, request: LakeRequest) -> Plan:
    """Plan a replay or reconcile; no source has to be configured.

    All types are the whole catalogue, with those that `collect` takes only by name.
    """
    if request.sink not in SINKS:
        fix = f"Use one of: {', '.join(SINKS)}"
        raise UsageInvalid(argument="--sink", problem=f"there is no sink {request.sink!r}", fix=fix)
    names = request.measurements
    if request.type == "all" and not names:
        names = list(Catalogue.read(run.settings.config / "metrics.yaml"))
    plan = make_report_plan(run, Request(request.type, names, request.start, request.stop))
    check_influxdb(run.settings, run.environment)
    return plan


def check_influxdb(settings: Settings, environment: Environment) -> None:
    """Refuse an incomplete InfluxDB configuration, which would silently take nothing."""
    service = environment.influxdb
    if service is None:
        url, token = environment.setting("influxdb_url"), environment.setting("influxdb_token")
        problem = "no InfluxDB is configured"
        fix = f"Set {url} and {token}"
        raise NothingConfigured(where=f"environment {environment.name}", problem=problem, fix=fix)
    if service.token is None:
        problem = "names an InfluxDB whose token is not set"
        fix = "Set INFLUXDB_TOKEN, or the variable that environments.yaml names"
        raise NothingConfigured(where=service.origin, problem=problem, fix=fix)
    if not settings.influxdb.enabled:
        raise NothingConfigured(
            where="sinks.yaml: influxdb.enabled",
            problem="InfluxDB is disabled",
            fix="Set it to true",
        )


def sink_of(sinks: tuple[Sink, ...], name: str) -> Sink:
    """Return the opened sink of this name."""
    return next(each for each in sinks if each.name == name)


def whole_cells(plan: Plan) -> Window:
    """Return the plan's window, widened to whole cells; all time without one."""
    return ALL_TIME if plan.window is None else plan.window.widened(plan.settings.pipeline.cell)
