"""`fedvitals maintenance`: planned work, in which health checks are no findings."""

from dataclasses import asdict
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Annotated

import typer

from flows.commands.options import AsJson, EnvironmentName
from flows.commands.show import print_json, print_table

if TYPE_CHECKING:
    from tasks.core.settings import Settings

Check = Annotated[
    str | None,
    typer.Option("--check", help="Only this check: an endpoint, a job, training, host_cpu, …"),
]
# of the windows in health.yaml that `ls` shows
AHEAD = timedelta(days=7)

group = typer.Typer(
    help="Announce planned work: no health check is a finding meanwhile.", no_args_is_help=True
)


@group.command("start")
def start(
    duration: Annotated[str, typer.Option("--for", help="How long at most, such as 15m.")],
    reason: Annotated[str, typer.Option(help="Why, for the status page.")],
    environment: EnvironmentName = None,
    check: Check = None,
) -> None:
    """Start maintenance now, for instance from the CI job that deploys.

    It ends by itself. What still fails then is a finding; until then samples are taken, and uptime
    is counted with and without it.

    Examples:

        fedvitals maintenance start --for 15m -e production --reason "deploy 4.2"

        fedvitals maintenance start --for 2h --check /metrics --reason "new exporter"
    """
    from tasks.core.maintenance_windows import Maintenance, checked_duration
    from tasks.core.user import user_name
    from tasks.ledger.health import start_maintenance
    from tasks.ledger.opening import opened_ledger

    settings, named, chosen = _chosen(environment, check)
    now = datetime.now(UTC)
    until = now + checked_duration(duration)
    with opened_ledger(settings) as ledger:
        start_maintenance(ledger, Maintenance(now, until, named, chosen, reason, user_name()))
    until = until.astimezone(settings.timezone)
    print(f"{chosen or 'all checks'} of {named} in maintenance until {until:%Y-%m-%d %H:%M %Z}")


@group.command("stop")
def stop(environment: EnvironmentName = None, check: Check = None) -> None:
    """End maintenance that was started by hand: of a check, or all of the environment.

    It is no error when there is none. Windows in health.yaml end by themselves.

    Example:

        fedvitals maintenance stop -e production
    """
    from tasks.ledger.health import stop_maintenance
    from tasks.ledger.opening import opened_ledger

    settings, named, chosen = _chosen(environment, check)
    with opened_ledger(settings) as ledger:
        ended = stop_maintenance(ledger, named, chosen, datetime.now(UTC))
    what = chosen or "all checks"
    print(f"{what} of {named}: {'maintenance ended' if ended else 'no maintenance goes on'}")


@group.command("ls")
def ls(json: AsJson = False) -> None:
    """List the maintenance that goes on, and the windows of the next seven days.

    Example:

        fedvitals maintenance ls
    """
    from tasks.core.health import read_health
    from tasks.core.settings import load_settings
    from tasks.ledger.health import started_maintenance
    from tasks.ledger.opening import opened_ledger

    settings = load_settings()
    now = datetime.now(UTC)
    windows = read_health(settings).maintenance
    ahead = [one for window in windows for one in window.occurrences(now, now + AHEAD)]
    with opened_ledger(settings) as ledger:
        rows = [asdict(one) for one in sorted([*started_maintenance(ledger, now), *ahead])]
    print_json({"maintenance": rows}) if json else print_table(
        rows, empty="no maintenance goes on or is planned", zone=settings.timezone
    )


def _chosen(environment: str | None, check: str | None) -> "tuple[Settings, str, str]":
    """Return the settings, the environment's name, and the check, empty for all.

    Raises:
        UsageInvalid: the environment or the check is unknown.
    """
    from tasks.core.documents import closest
    from tasks.core.errors import UsageInvalid
    from tasks.core.health import OTHER_CHECKS, read_health
    from tasks.core.settings import load_settings

    settings = load_settings()
    named, health = settings.environment(environment).name, read_health(settings)
    known = (*health.endpoints, *health.pushed, *OTHER_CHECKS)
    if check is None or check in known:
        return settings, named, check or ""
    close = closest(check, known)
    problem = f"health.yaml has no check {check!r}"
    fix = f"Did you mean {close!r}?" if close else f"Name one of {', '.join(known)}"
    raise UsageInvalid(argument="--check", problem=problem, fix=fix)
