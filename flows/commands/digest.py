"""`fedvitals digest`: what alerts did in the last day, week or shift."""

from datetime import UTC, datetime
from typing import Annotated

import typer

from flows.commands.options import AsJson
from flows.commands.show import print_clean, print_json


def digest(
    since: Annotated[
        str, typer.Option("--since", help="Its beginning: -12h, -7d, or a time.")
    ] = "-24h",
    send: Annotated[
        bool, typer.Option("--send", help="Send it to the channels of `digest` in routes.yaml.")
    ] = False,
    json: AsJson = False,
) -> None:
    """Show what is open, what fired, what was noise and what was acted on.

    Exit code 1 when a message was undelivered, or a channel does not take the digest.

    Examples:

        fedvitals digest

        fedvitals digest --since -12h --send
    """
    from tasks.alerts.digest import digest as made
    from tasks.alerts.digest import message_of
    from tasks.alerts.drill import sent_to
    from tasks.channels.email import text_of
    from tasks.core.settings import load_settings
    from tasks.core.window import Window, parse_time
    from tasks.ledger.incidents import events_in, incidents_in
    from tasks.ledger.opening import opened_ledger
    from tasks.ledger.outbox import refused_openings
    from tasks.runs.base.alerts import opened_desk

    settings, now = load_settings(), datetime.now(UTC)
    window = Window(parse_time(since, now, "--since"), now)
    with opened_ledger(settings) as ledger, opened_desk(settings, ledger) as desk:
        incidents = incidents_in(ledger, window)
        undelivered = refused_openings(ledger, [one.id for one in incidents if one.is_open])
        found = made(incidents, events_in(ledger, window), undelivered, window)
        message = message_of(found, incidents, settings.default_environment, settings.timezone)
        names = [name for name in desk.routes.digest if name in desk.sender.channels]
        answers = sent_to(desk.sender.channels, names if send else [], message)
    if json:
        print_json({**found, "sent": answers})
    else:
        print_clean(text_of(message).strip())
        for one in answers:
            print_clean(f"{one['channel']}: {'sent' if one['ok'] else one['detail']}")
    if found["undelivered"] or not all(one["ok"] for one in answers):
        raise typer.Exit(1)
