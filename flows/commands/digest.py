"""`fedvitals digest`: what alerts did in the last day, week or shift."""

from datetime import UTC, datetime
from typing import Annotated

import typer

from flows.commands.options import AsJson
from flows.commands.show import print_clean, print_document


def digest(
    since: Annotated[
        str, typer.Option("--since", help="Its beginning: -12h, -7d, or a time.")
    ] = "-24h",
    send: Annotated[
        bool, typer.Option("--send", help="Send it to the channels of `digest` in routes.yaml.")
    ] = False,
    review: Annotated[
        bool, typer.Option("--review", help="Look at rules, SLOs, limits and silences too.")
    ] = False,
    json: AsJson = False,
) -> None:
    """Show what is open, what fired, what was noise and what was acted on.

    Exit code 1 when a message was undelivered, or a channel does not take the digest.

    Examples:

        fedvitals digest

        fedvitals digest --since -12h --send

        fedvitals digest --since -30d --review
    """
    from tasks.alerts.digest import message_of
    from tasks.channels.email import text_of
    from tasks.core.settings import load_settings
    from tasks.core.window import Window, parse_time
    from tasks.ledger.opening import opened_ledger
    from tasks.runs.alerts.digest import make_digest
    from tasks.runs.alerts.run import send_to_routes
    from tasks.runs.base.alerts import opened_desk
    from tasks.runs.rules.backtest import learned_limits

    settings, now = load_settings(), datetime.now(UTC)
    window = Window(parse_time(since, now, "--since"), now)
    with opened_ledger(settings) as ledger, opened_desk(settings, ledger) as desk:
        found = make_digest(desk, window, learned_limits if review else None)
        message = message_of(found, settings.default_environment, settings.timezone)
        answers = send_to_routes(desk, message) if send else ()
    if json:
        print_document(found.model_copy(update={"sent": answers}))
    else:
        print_clean(text_of(message).strip())
        for one in answers:
            print_clean(f"{one.channel}: {'sent' if one.ok else one.detail}")
    if found.undelivered or not all(one.ok for one in answers):
        raise typer.Exit(1)
