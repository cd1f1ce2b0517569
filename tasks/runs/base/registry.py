"""Declare our sources, sinks and channels, and find those of other packages.

Adapters are named as entry points are, and imported when they are used: a run loads what it needs.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from datetime import timedelta
from functools import partial
from importlib import import_module
from importlib.util import find_spec
from typing import Any

from tasks.core import plugins
from tasks.core.errors import ConfigurationInvalid, NothingConfigured, PluginInvalid
from tasks.core.metric_services import CloudWatchTuning, DatadogTuning, GcpTuning, OtlpTuning
from tasks.core.ports import (
    Adapter,
    AlertChannelKind,
    ChannelKind,
    Opening,
    OpenSource,
    SinkKind,
    SourceKind,
    SourceOpening,
)
from tasks.core.retry import retrying
from tasks.core.routes import is_channel
from tasks.core.services import (
    CloudWatchService,
    DatadogService,
    Environment,
    GcpService,
    GrafanaService,
    InfluxService,
    InfluxTuning,
    OtlpService,
    Service,
)
from tasks.core.settings import Settings

API = "api"
# a mark on a dashboard is worth no longer wait
CHANNEL_RETRY_TIMEOUT = timedelta(seconds=10)
# the run whose ends a heartbeat and the marks on dashboards are about
WATCHED_FLOW = "collect"


def _at(place: str) -> Callable[..., Any]:
    """Return a function that imports what it calls."""
    module, _, name = place.partition(":")
    return lambda *facts, **more: getattr(import_module(module), name)(*facts, **more)


def _scrape(opening: SourceOpening) -> OpenSource:
    """Open the service's /metrics page, with the one kept before, for rates."""
    from tasks.sources.scrape import Page, ScrapeSource, fetch_page

    kept = opening.last_page(opening.service.url)
    page = retrying(opening.seconds)(fetch_page, opening.service)
    previous = Page(url=page.url, time=kept[0], text=kept[1].decode()) if kept else None
    opening.keep_page(page.url, page.time, page.text.encode())
    return ScrapeSource(page, previous, opening.now)


SCRAPE = SourceKind(
    name="scrape",
    service=API,
    history="sample",
    open=_scrape,
    check=_at("tasks.sources.scrape:check_api"),
)
PROMETHEUS = SourceKind(
    name="prometheus",
    history="range",
    open=lambda o: _at("tasks.sources.prometheus:PrometheusSource")(o.service, gate=o.gate),
    check=_at("tasks.sources.discovery:check"),
    probe=_at("tasks.sources.discovery:probe"),
    count=_at("tasks.sources.counting:count_series"),
    stand_in=SCRAPE,
)
REST = SourceKind(
    name="rest",
    service=API,
    history="sample",
    open=lambda o: _at("tasks.sources.rest:RestSource")(o.service, now=o.now),
)
TLS = SourceKind(
    name="tls",
    service=API,
    history="sample",
    open=lambda o: _at("tasks.sources.tls:TlsSource")(o.service, now=o.now),
)
FEDERATED = SourceKind(
    name="federated",
    service=API,
    history="rounds",
    open=lambda o: _at("tasks.sources.federated:FederatedSource")(o.service, o.landed),
)
HEALTH = SourceKind(
    name="health",
    settings=None,
    history="range",
    is_own=True,
    open=lambda o: _at("tasks.sources.health:HealthSource")(o.recorded, o.cell),
)
INCIDENTS = SourceKind(
    name="incidents",
    settings=None,
    history="range",
    is_own=True,
    open=lambda o: _at("tasks.sources.incidents:IncidentSource")(o.changes),
)
INFLUXDB = SinkKind(
    name="influxdb",
    title="InfluxDB",
    settings=InfluxService,
    tuning=InfluxTuning,
    open=lambda o: _at("tasks.sinks.influxdb:InfluxSink")(o.service, o.tuning, o.seconds),
    reader=lambda o: _at("tasks.sinks.influxdb_read:InfluxReader")(o.service, o.tuning, o.seconds),
    check=_at("tasks.sinks.influxdb_checks:check"),
    create=_at("tasks.sinks.influxdb_checks:create_bucket"),
)
DATADOG = SinkKind(
    name="datadog",
    title="Datadog",
    settings=DatadogService,
    tuning=DatadogTuning,
    open=lambda o: _at("tasks.sinks.datadog:DatadogSink")(o.service, o.tuning, o.seconds),
    check=_at("tasks.sinks.datadog:check"),
)
CLOUDWATCH = SinkKind(
    name="cloudwatch",
    title="CloudWatch",
    settings=CloudWatchService,
    tuning=CloudWatchTuning,
    open=lambda o: _at("tasks.sinks.cloudwatch:CloudWatchSink")(o.service, o.tuning, o.seconds),
    check=_at("tasks.sinks.cloudwatch:check"),
    package="boto3",
    extra="aws",
)
GCP = SinkKind(
    name="gcp",
    title="Google Cloud Monitoring",
    settings=GcpService,
    tuning=GcpTuning,
    open=lambda o: _at("tasks.sinks.gcp:GcpSink")(o.service, o.tuning, o.seconds),
    check=_at("tasks.sinks.gcp:check"),
    package="google.cloud.monitoring_v3",
    extra="gcp",
)
OTLP = SinkKind(
    name="otlp",
    title="OTLP",
    settings=OtlpService,
    tuning=OtlpTuning,
    open=lambda o: _at("tasks.sinks.otlp:OtlpSink")(o.service, o.tuning, o.seconds),
    check=_at("tasks.sinks.otlp:check"),
    package="opentelemetry.proto",
    extra="otlp",
)
GRAFANA = ChannelKind(
    name="grafana",
    title="Grafana",
    settings=GrafanaService,
    open=lambda o: _at("tasks.channels.grafana:GrafanaChannel")(o.service, o.retry_timeout),
    wants=lambda receipt: receipt.flow == WATCHED_FLOW,
)
HEARTBEAT = ChannelKind(
    name="heartbeat",
    open=lambda o: _at("tasks.channels.heartbeat:Heartbeat")(o.service),
    wants=lambda receipt: receipt.flow == WATCHED_FLOW and receipt.did_its_work,
)
OURS: Mapping[str, tuple[Adapter, ...]] = {
    plugins.SOURCES: (PROMETHEUS, SCRAPE, REST, TLS, FEDERATED, HEALTH, INCIDENTS),
    plugins.SINKS: (INFLUXDB, DATADOG, CLOUDWATCH, GCP, OTLP),
    plugins.CHANNELS: (GRAFANA, HEARTBEAT),
}


def _alerts(name: str, title: str, place: str, *, repeats: bool = False) -> AlertChannelKind:
    return AlertChannelKind(
        name=name,
        title=title,
        settings=None,
        open=lambda o: _at(place)(o.service, o.retry_timeout),
        repeats=repeats,
    )


ALERT_CHANNELS: Mapping[str, AlertChannelKind] = {
    kind.name: kind
    for kind in (
        _alerts("slack", "Slack", "tasks.channels.slack:SlackChannel", repeats=True),
        _alerts("pagerduty", "PagerDuty", "tasks.channels.pagerduty:PagerDutyChannel"),
        _alerts("github", "GitHub", "tasks.channels.github:GitHubChannel"),
        _alerts("email", "e-mail", "tasks.channels.email:EmailChannel", repeats=True),
        _alerts("grafana", "Grafana", "tasks.channels.grafana_incidents:GrafanaIncidents"),
        _alerts("apprise", "apprise", "tasks.channels.apprise:AppriseChannel", repeats=True),
    )
}


def alert_channels_in(settings: Settings) -> Iterator[tuple[AlertChannelKind, Opening]]:
    """Yield the channels of incidents that are configured; Grafana is the default environment's."""
    services = dict(settings.alerts.services)
    grafana = settings.environment(None).services.get("grafana")
    if grafana is not None and grafana.is_whole:
        services["grafana"] = grafana
    for name, kind in ALERT_CHANNELS.items():
        for each in sorted(one for one in services if is_channel(one, name)):
            yield replace(kind, name=each), Opening(services[each], CHANNEL_RETRY_TIMEOUT)


def names(group: str) -> list[str]:
    """Return the names of all sources, sinks or channels, ours first."""
    return list(dict.fromkeys((*(kind.name for kind in OURS[group]), *plugins.names(group))))


def find(group: str, name: str) -> Any:
    """Return the SourceKind, SinkKind or ChannelKind of this name.

    Raises:
        PluginInvalid: when another package's cannot be loaded.
    """
    ours = next((kind for kind in OURS[group] if kind.name == name), None)
    return ours or plugins.load(group, name)


def source(name: str) -> SourceKind:
    """Return the source of this name; a broken plugin raises when it is opened."""
    try:
        kind: SourceKind = find(plugins.SOURCES, name)
    except PluginInvalid as error:
        return SourceKind(name=name, history="sample", open=partial(_refuse, error), settings=None)
    return kind


def _refuse(error: PluginInvalid, _: Opening) -> OpenSource:
    raise error


def source_in(name: str, environment: Environment) -> SourceKind | None:
    """Return the configured source, or its stand-in; None when neither is."""
    kind: SourceKind | None = source(name)
    while kind and kind.settings and kind.service_name not in environment.services:
        kind = kind.stand_in
    return kind


def configured_sources(environment: Environment) -> Iterator[SourceKind]:
    """Yield the sources, or their stand-ins, that the environment has to read from."""
    for name in names(plugins.SOURCES):
        kind = source_in(name, environment)
        if kind is not None and not kind.is_own:
            yield kind


def service_of(kind: Adapter, settings: Settings, environment: Environment) -> Any:
    """Return the service that an adapter uses; None when it is not configured."""
    # one for all environments, and as a whole a secret
    is_run_wide = kind is HEARTBEAT
    return settings.heartbeat_url if is_run_wide else environment.services.get(kind.service_name)


def sinks_in(settings: Settings, environment: Environment) -> Iterator[tuple[SinkKind, Opening]]:
    """Yield the sinks that the environment's runs load, with their openings."""
    for name in names(plugins.SINKS):
        service = settings.sink_service(name, environment)
        if service is not None and why_off(plugins.SINKS, name, settings, environment) is None:
            timeout = settings.pipeline.retry_timeout
            yield find(plugins.SINKS, name), Opening(service, timeout, settings.sinks[name])


def channels_in(
    settings: Settings, environment: Environment
) -> Iterator[tuple[ChannelKind, Opening]]:
    """Yield the channels that the environment's runs send to, with their openings."""
    timeout = min(settings.pipeline.retry_timeout, CHANNEL_RETRY_TIMEOUT)
    for name in names(plugins.CHANNELS):
        if name == HEARTBEAT.name and settings.heartbeat_url is not None:
            yield HEARTBEAT, Opening(settings.heartbeat_url, timeout)
        elif why_off(plugins.CHANNELS, name, settings, environment) is None:
            yield find(plugins.CHANNELS, name), Opening(environment.services[name], timeout)


def why_off(
    group: str, name: str, settings: Settings, environment: Environment
) -> ConfigurationInvalid | None:
    """Return why a sink or channel is off in the environment; None when it is on."""
    service, tuning = environment.services.get(name), settings.sinks.get(name)
    ours = next((kind for kind in OURS[group] if kind.name == name), None)
    title = (ours and ours.title) or name
    where, problem = f"environment {environment.name}", f"no {title} is configured"
    keys = (f"{name}_url", f"{name}_token") if ours else (f"{name}_url",)
    fix = f"Set {' and '.join(map(environment.setting, keys))}"
    if service is not None:
        try:
            find(group, name)
        except PluginInvalid as error:
            return error
        if not service.is_whole:
            where, problem = service.origin, f"{title} is off, since its token is not set"
            fix = f"Set {service.token_from}"
        elif tuning is not None and not tuning.enabled:
            where, problem, fix = f"sinks.yaml: {name}.enabled", f"{title} is off", "Set it to true"
        else:
            return lacks_package(ours, service)
    return NothingConfigured(where=where, problem=problem, fix=fix)


def lacks_package(kind: Adapter | None, service: Service) -> NothingConfigured | None:
    """Return why a sink is off whose library is not installed; None when it is, or none is needed."""
    if not isinstance(kind, SinkKind) or not kind.package or _is_installed(kind.package):
        return None
    return NothingConfigured(
        where=service.origin,
        problem=f"{kind.title} is off, since its library is not installed",
        fix=f"Install it: pip install 'fedvitals[{kind.extra}]'",
    )


def _is_installed(package: str) -> bool:
    try:
        return find_spec(package) is not None
    except ModuleNotFoundError:  # of the package that it is in
        return False


def mistakes(settings: Settings, environment: Environment) -> Iterator[ConfigurationInvalid]:
    """Warn of sinks and channels that are configured incompletely or broken.

    Ours may be left out; what another package brings was installed to be used.
    """
    for group in (plugins.SINKS, plugins.CHANNELS):
        for name in names(group):
            tuning = settings.sinks.get(name)
            is_off = tuning is not None and not tuning.enabled
            is_left_out = name not in environment.services and name not in plugins.names(group)
            error = why_off(group, name, settings, environment)
            if error is not None and not (is_off or is_left_out):
                yield error
