"""`fedvitals doctor`: is everything in place, and what is to be fixed."""

from collections.abc import Callable, Iterator
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated, Any

import typer

from flows.commands.options import AsJson, EnvironmentName
from flows.commands.show import print_json
from tasks.core.checks import ServiceCheck

if TYPE_CHECKING:
    from tasks.core.ports import Adapter
    from tasks.core.services import Environment
    from tasks.core.settings import Settings


def doctor(
    create: Annotated[
        bool, typer.Option("--create", help="Make the InfluxDB bucket when it is missing.")
    ] = False,
    sink: Annotated[
        str | None,
        typer.Option("--sink", help="Say what this sink would be sent in a day, as the last one."),
    ] = None,
    environment: EnvironmentName = None,
    json: AsJson = False,
) -> None:
    """Check settings, files and each configured service in turn, and say what to fix.

    It shows the folders and addresses in force and where each came from. Nothing is written to a
    service, except with --create. Exit code 1 when something must be fixed.

    Examples:

        fedvitals doctor

        fedvitals doctor --create --environment staging

        fedvitals doctor --sink datadog
    """
    from tasks.core.settings import load_settings

    settings = load_settings()
    chosen = settings.environment(environment)
    checks: list[ServiceCheck] = []
    asked = examine(settings, chosen, create) if sink is None else volume(settings, chosen, sink)
    for check in asked:
        checks.append(check)
        if not json:
            _print(check)
    if json:
        print_json({"environment": chosen.name, "checks": [asdict(check) for check in checks]})
    if not all(check.ok for check in checks):
        raise typer.Exit(1)


def examine(
    settings: "Settings", environment: "Environment", create: bool
) -> Iterator[ServiceCheck]:
    """Every check, one after the other; a failed one does not stop the rest."""
    from tasks.runs.base.space import check_disks

    yield from _in_force(settings, environment)
    yield _tried("home", "can be written", lambda: _home(settings))
    yield from check_disks(settings)
    yield _tried("ledger", "answers", lambda: _ledger(settings))
    yield _tried("catalogue", "catalogue and suites are sound", lambda: _catalogue(settings))
    yield _tried("health", "health.yaml is sound", lambda: _health(settings))
    yield _tried("alerts", "thresholds and SLOs are sound", lambda: _alerts(settings))
    yield _tried("lake", "can be read and written", lambda: _lake(settings))
    yield from _source(environment)
    yield from _adapters(settings, environment, create)
    yield from _alert_channels(settings)
    yield from _clocks(environment)
    yield from _prefect(settings)


def volume(settings: "Settings", environment: "Environment", sink: str) -> Iterator[ServiceCheck]:
    """Say what a sink for metrics would be sent in a day."""
    from tasks.runs.base.volume import volume_of

    yield ServiceCheck(sink, "would be sent a day", True, volume_of(settings, environment, sink))


def _print(check: ServiceCheck) -> None:
    state = ("WARN" if check.fix else "ok  ") if check.ok else "BAD "
    print(f"{state} {check.service:<12} {check.what}: {check.detail}")
    if check.fix:
        print(f"     {'':<12} → {check.fix}")


def _in_force(settings: "Settings", environment: "Environment") -> Iterator[ServiceCheck]:
    from flows.commands.definitions import definitions_file
    from tasks.core import plugins
    from tasks.core.variables import SERVICES

    yield ServiceCheck("settings", "config", True, str(settings.config))
    yield ServiceCheck("settings", "expectations", True, str(settings.expectations))
    yield ServiceCheck("settings", "deployments", True, str(definitions_file(settings)))
    yield ServiceCheck("settings", "home", True, str(settings.home))
    yield ServiceCheck("settings", "environment", True, environment.name)
    yield ServiceCheck("settings", "report url", True, _report_url(settings))
    for name in dict.fromkeys((*SERVICES, *(name for _, name in plugins.installed()))):
        service = environment.services.get(name)
        detail = "not configured"
        if service is not None:
            token = f"token from {service.token_from}" if service.token else "without a token"
            detail = f"{service.url} (from {service.origin}), {token}"
        yield ServiceCheck("settings", name, True, detail)
    for variable, why in settings.unused.items():
        problem, _, fix = f"is set and not used: {why}".partition(". Fix: ")
        yield ServiceCheck("settings", variable, True, problem, f"{fix[0].upper()}{fix[1:]}")


def _report_url(settings: "Settings") -> str:
    if settings.report_url is None:
        return "not configured: Prefect shows host and path of a report, and no link"
    return f"{settings.report_url} (from FEDVITALS_REPORT_URL), for {settings.reports}"


def _tried(service: str, what: str, attempt: Callable[[], str]) -> ServiceCheck:
    from tasks.core.errors import FedvitalsError

    try:
        return ServiceCheck(service, what, True, attempt())
    except FedvitalsError as error:
        return ServiceCheck(service, what, False, "no", str(error))
    except OSError as error:
        fix = "Set FEDVITALS_HOME to a folder that can be written"
        return ServiceCheck(service, what, False, error.strerror or "no", fix)


def _catalogue(settings: "Settings") -> str:
    from tasks.core.catalogue import Catalogue
    from tasks.core.errors import DiskFull, LedgerUnavailable
    from tasks.ledger.opening import opened_ledger
    from tasks.runs.base.plan import read_suites, verify_new
    from tasks.sources.promql import check_queries
    from tasks.validation.suites import verify

    path = settings.config / "metrics.yaml"
    entries = tuple(Catalogue.read(path).values())
    check_queries(entries, path)
    suites = read_suites(settings, entries)
    try:
        with opened_ledger(settings) as ledger:
            verify_new(suites, entries, ledger)
    # it only remembers sound suites, and has a check of its own
    except (DiskFull, LedgerUnavailable):
        for entry in entries:
            verify(suites[entry.name], entry)
    return f"{len(entries)} measurements, {len(suites)} suites"


def _health(settings: "Settings") -> str:
    from tasks.core.health import read_health

    config = read_health(settings)
    return f"{len(config.endpoints)} endpoints, {len(config.pushed)} pushed checks"


def _alerts(settings: "Settings") -> str:
    from tasks.runs.base.slos import slos_in_force
    from tasks.runs.base.thresholds import thresholds_in_force

    thresholds, slos = thresholds_in_force(settings).thresholds, slos_in_force(settings)
    return f"{len(thresholds)} thresholds, {len(slos)} SLOs"


def _home(settings: "Settings") -> str:
    import tempfile

    from tasks.core.whole_file import make_private

    make_private(settings.home)
    with tempfile.TemporaryFile(dir=settings.home):
        return str(settings.home)


def _ledger(settings: "Settings") -> str:
    from tasks.ledger.opening import opened_ledger

    with opened_ledger(settings) as ledger:
        return ledger.url


def _lake(settings: "Settings") -> str:
    from contextlib import suppress

    from tasks.core.errors import ConfigurationInvalid, DiskFull, LedgerUnavailable
    from tasks.lake.query import describe
    from tasks.lake.tables import Lake
    from tasks.ledger.opening import opened_ledger
    from tasks.pipeline.recovery import require_lake

    lake = Lake(settings.lake_url)
    lake.try_writing()
    # a ledger that does not answer has a check of its own
    away = (ConfigurationInvalid, DiskFull, LedgerUnavailable)
    with suppress(*away), opened_ledger(settings) as ledger:
        require_lake(lake, ledger)
    tables = describe(lake)
    return (
        f"{len(tables)} tables, {sum(table.rows for table in tables)} rows in {settings.lake_url}"
    )


def _adapters(
    settings: "Settings", environment: "Environment", create: bool
) -> Iterator[ServiceCheck]:
    """Check configured sources, sinks and channels, and that plugins load."""
    from tasks.core import plugins
    from tasks.core.errors import FedvitalsError
    from tasks.runs.base.registry import OURS, find, lacks_package, service_of

    ours = [(find, group, kind.name) for group in OURS for kind in OURS[group]]
    theirs = [(plugins.load, group, name) for group, name in plugins.installed()]
    for load, group, name in ours + theirs:
        try:
            kind = load(group, name)
            tuning = settings.sinks.get(name)
            if tuning is not None and not tuning.enabled and name in environment.services:
                off = f"off (sinks.yaml: {name}.enabled); before: fedvitals doctor --sink {name}"
                yield ServiceCheck(name, "is used", True, off)
                continue
            service = service_of(kind, settings, environment)
            if service is not None and (lacking := lacks_package(kind, service)):
                raise lacking
            yield from _checks_of(kind, service, create)
        except FedvitalsError as error:
            yield ServiceCheck(name, "can be used", False, "no", str(error))


def _alert_channels(settings: "Settings") -> Iterator[ServiceCheck]:
    """Check where incidents are shown, without showing one."""
    from contextlib import closing

    from tasks.core.errors import FedvitalsError
    from tasks.core.routes import read_routes
    from tasks.runs.base.registry import alert_channels_in

    if read_routes(settings).shadow:
        detail = "shadow is on: incidents are kept, and no message about them is sent"
        yield ServiceCheck("routes.yaml", "sends", True, detail)
    for kind, opening in alert_channels_in(settings):
        try:
            with closing(kind.open(opening)) as channel:
                yield channel.check()
        except FedvitalsError as error:
            yield ServiceCheck(kind.title, "can be used", False, "no", str(error))


def _checks_of(kind: "Adapter", service: Any, create: bool) -> Iterator[ServiceCheck]:
    from contextlib import closing
    from datetime import timedelta

    from tasks.core.ports import ChannelKind, Opening, SinkKind

    if service is None:
        if isinstance(kind, SinkKind):
            later = f"the lake keeps everything, and a later {kind.title or kind.name} can be filled from it"
            yield ServiceCheck(kind.name, "is configured", True, f"not configured: {later}")
        return
    if create and isinstance(kind, SinkKind) and kind.create is not None:
        yield kind.create(service)
    if isinstance(kind, ChannelKind):
        with closing(kind.open(Opening(service, timedelta()))) as channel:
            yield channel.check()
    yield from kind.check(service)


def _source(environment: "Environment") -> Iterator[ServiceCheck]:
    from tasks.core.errors import NothingConfigured
    from tasks.runs.base.plan import check_source

    try:
        check_source(environment)
    except NothingConfigured as error:
        yield ServiceCheck("source", "is configured", False, "no", error.fix)


def _clocks(environment: "Environment") -> Iterator[ServiceCheck]:
    """Compare this machine's clock with those of the services that the checks before asked."""
    from tasks.core.clocks import FIX, skews
    from tasks.core.severity import Severity

    for name, skew in skews(environment):
        agrees = skew.severity is not Severity.HIGH
        fix = FIX if skew.severity else ""
        yield ServiceCheck("clock", f"agrees with {name}", agrees, f"it is {skew.words}", fix)


def _prefect(settings: "Settings") -> Iterator[ServiceCheck]:
    from flows.commands.prefect_server import check_server

    check = check_server()
    yield check
    if check.ok and check.what == "reachable":
        from flows.commands.schedules import check_deployments

        yield check_deployments(settings)
