"""What the commands of `fedvitals alerts` share: the ledger, the channels, and incidents shown."""

import sys
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from flows.commands.show import print_clean, print_document

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from tasks.core.alert_report import IncidentLine
    from tasks.core.incidents import Incident, Notice
    from tasks.core.window import Window
    from tasks.runs.base.alerts import Desk


@contextmanager
def opened() -> "Iterator[Desk]":
    """Open the ledger and the channels for a block."""
    from tasks.core.settings import load_settings
    from tasks.ledger.opening import opened_ledger
    from tasks.runs.base.alerts import opened_desk

    settings = load_settings()
    with opened_ledger(settings) as ledger, opened_desk(settings, ledger) as desk:
        if desk.routes.shadow:
            print("fedvitals: shadow of routes.yaml is on: no message is sent", file=sys.stderr)
        yield desk


def shown(lines: "Sequence[IncidentLine]") -> list[dict[str, Any]]:
    """Return incidents as rows of a table, without columns that are empty in all."""
    rows = [dict(line) for line in lines]
    full = {name for row in rows for name, value in row.items() if value not in ("", None)}
    return [{name: value for name, value in row.items() if name in full} for row in rows]


def channels_of(desk: "Desk", channel: str | None, route: str | None) -> list[str]:
    """Return the channel, those of the route, or all; raise UsageInvalid for what is not there."""
    from tasks.alerts.planning import of_route
    from tasks.core.errors import UsageInvalid

    channels = desk.sender.channels
    names = [channel] if channel else [*channels]
    if route is not None:
        names = of_route(desk.routes, route, channels)
    if not names or not set(names) <= set(channels):
        problem = f"it is not configured (configured: {', '.join(channels) or 'none'})"
        fix = "Set its variables: docs/configuration.md#alerts"
        raise UsageInvalid(argument=channel or "a channel", problem=problem, fix=fix)
    return names


def found(desk: "Desk", beginning: str) -> "Incident":
    """Return the incident whose id begins so; raise UsageInvalid for none or several."""
    from tasks.alerts.incidents import the_incident

    return the_incident(desk.ledger, beginning)


def since_window(text: str) -> "Window":
    """Return the window from --since to now; raise UsageInvalid for what is no time."""
    from tasks.core.window import Window, parse_time

    now = datetime.now(UTC)
    return Window(parse_time(text, now, "--since"), now)


def answer(desk: "Desk", before: "Incident", state: str, json: bool) -> None:
    """Print what became of an incident."""
    from tasks.runs.alerts.shown import detail_of

    if json:
        print_document(detail_of(desk, found(desk, before.id)))
    else:
        print_clean(f"{before.newest.name} in {before.newest.environment}: {state}")


def send(desk: "Desk") -> None:
    """Send what follows at once, where no intake does."""
    from tasks.ledger.incidents import intake_runs
    from tasks.runs.base.alerts import DRAIN_SECONDS

    if desk.sender.channels and not intake_runs(desk.ledger, datetime.now(UTC)):
        desk.sender.drain_all(DRAIN_SECONDS)


def notices_of(desk: "Desk", file: Path) -> "list[Notice]":
    """Return the notices of a webhook's or an event's body; raise UsageInvalid for another."""
    from tasks.alerts.notices import of_event, of_webhook
    from tasks.core.errors import UsageInvalid
    from tasks.runs.base.alerts import identities

    now, default = datetime.now(UTC), desk.settings.default_environment
    try:
        body = file.read_bytes()
        if b'"alert_name"' in body:
            return [of_event(body, default, now)]
        return of_webhook(body, default, identities(desk.settings), now)[0]
    except (OSError, ValueError) as error:
        problem = getattr(error, "strerror", None) or str(error)
        fix = "Name a file with the JSON of Alertmanager's webhook, or of an event"
        raise UsageInvalid(argument=str(file), problem=problem, fix=fix) from error
