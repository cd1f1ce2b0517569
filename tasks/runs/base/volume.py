"""What a sink for metrics would be sent in a day, before it is switched on."""

from contextlib import closing
from datetime import UTC, datetime, timedelta

from tasks.core import plugins
from tasks.core.catalogue import Catalogue
from tasks.core.errors import ConfigurationInvalid, UsageInvalid
from tasks.core.metric_services import MetricsTuning
from tasks.core.ports import Opening
from tasks.core.services import Environment
from tasks.core.settings import Settings
from tasks.core.window import Window
from tasks.lake.tables import Lake
from tasks.runs.base.registry import find, lacks_package, names
from tasks.sinks.metrics_sink import Volume

DAY = timedelta(days=1)


def volume_of(settings: Settings, environment: Environment, sink: str) -> str:
    """Describe the series, points and requests of the lake's last day.

    Raises:
        UsageInvalid: there is no such sink for metrics.
        ConfigurationInvalid: it is not configured in the environment, or lacks its library.
    """
    tuning = settings.sinks.get(sink)
    if sink not in names(plugins.SINKS) or not isinstance(tuning, MetricsTuning):
        known = [name for name, each in settings.sinks.items() if isinstance(each, MetricsTuning)]
        problem, fix = f"{sink!r} is no sink for metrics", f"Use one of: {', '.join(known)}"
        raise UsageInvalid(argument="--sink", problem=problem, fix=fix)
    service = environment.services.get(sink)
    if service is None:
        where, problem = f"environment {environment.name}", f"no {sink} is configured"
        raise ConfigurationInvalid(where=where, problem=problem, fix="See docs/sinks.md")
    kind = find(plugins.SINKS, sink)
    if error := lacks_package(kind, service):
        raise error
    with closing(kind.open(Opening(service, timedelta(), tuning))) as opened:
        parts = [
            opened.volume(each, Lake(settings.lake_url).read(each, environment.name, _last_day()))
            for each in Catalogue.read(settings.config / "metrics.yaml").values()
            if tuning.metrics_of(each)
        ]
    total = sum(parts, Volume(0, 0, 0))
    if not total.points:
        return "nothing: the lake has none of it in the last 24 h"
    return (
        f"{total.series} series (max_series {tuning.max_series}), {total.points:,} points in "
        f"{total.requests:,} requests, as in the last 24 h of the lake"
    )


def _last_day() -> Window:
    now = datetime.now(UTC)
    return Window(now - DAY, now)
