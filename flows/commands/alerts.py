"""`fedvitals alerts`: incidents, what was sent about them, and the intake."""

import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer

from flows.commands import alerts_desk
from flows.commands.options import AsJson, EnvironmentName
from flows.commands.show import print_clean, print_document, print_table

group = typer.Typer(
    help="List, acknowledge and explain incidents, and take alerts.", no_args_is_help=True
)
Id = Annotated[str, typer.Argument(help="Id of the incident, or its beginning.")]
Why = Annotated[str, typer.Option("--reason", help="Why, for those who read it later.")]
Since = Annotated[str, typer.Option("--since", help="The beginning: -14d, or a time.")]


@group.command("ls")
def ls(
    environment: EnvironmentName = None,
    all_: Annotated[bool, typer.Option("--all", help="Also those closed in 7 days.")] = False,
    json: AsJson = False,
) -> None:
    """List open incidents, the gravest first.

    Exit code 1 when no channel took the message about one.

    Examples:

        fedvitals alerts ls

        fedvitals alerts ls --all --json
    """
    from datetime import timedelta

    from tasks.alerts.explain import lines_of
    from tasks.core.alert_report import IncidentList
    from tasks.core.window import Window
    from tasks.ledger.incidents import incidents_in, open_incidents
    from tasks.ledger.outbox import refused_openings

    now = datetime.now(UTC)
    with alerts_desk.opened() as desk:
        week = Window(now - timedelta(days=7), now)
        found = incidents_in(desk.ledger, week) if all_ else open_incidents(desk.ledger)
        if environment is not None:
            found = [one for one in found if one.newest.environment == environment]
        undelivered = refused_openings(desk.ledger, [one.id for one in found if one.is_open])
    lines = lines_of(found, undelivered)
    if json:
        print_document(IncidentList(incidents=lines))
    else:
        print_table(
            alerts_desk.shown(lines), empty="no open incidents", zone=desk.settings.timezone
        )
    if undelivered:
        raise typer.Exit(1)


@group.command("show")
def show(incident: Id, json: AsJson = False) -> None:
    """Show an incident: what happened to it, and what was sent where.

    Example:

        fedvitals alerts show 3fa1
    """
    from tasks.runs.alerts.shown import detail_of

    with alerts_desk.opened() as desk:
        detail = detail_of(desk, alerts_desk.found(desk, incident))
    if json:
        print_document(detail)
        return
    zone = desk.settings.timezone
    facts = {**dict(detail), **detail.labels, "labels": None, "events": None, "messages": None}
    print_table(
        [{"fact": name, "value": value} for name, value in facts.items() if value], "", zone
    )
    print()
    print_table([dict(one) for one in detail.events], "no changes", zone)
    print()
    print_table([dict(one) for one in detail.messages], "no messages", zone)


@group.command("ack")
def ack(
    incident: Id,
    reason: Why = "",
    duration: Annotated[
        str | None, typer.Option("--for", help="How long; acknowledged_for of routes.yaml.")
    ] = None,
    json: AsJson = False,
) -> None:
    """Acknowledge an incident: it escalates no more, until that expires.

    Example:

        fedvitals alerts ack 3fa1 --for 2h --reason "disk is being replaced"
    """
    from tasks.alerts.incidents import acknowledge
    from tasks.core.incidents import Acknowledgement
    from tasks.core.maintenance_windows import checked_duration
    from tasks.core.user import user_name

    now = datetime.now(UTC)
    with alerts_desk.opened() as desk:
        one = alerts_desk.found(desk, incident)
        length = checked_duration(duration) if duration else desk.routes.timing.acknowledged_for
        given = Acknowledgement(user_name(), now, now + length, reason)
        acknowledge(desk.ledger, one.id, given, desk.plan)
        alerts_desk.send(desk)
        until = given.until.astimezone(desk.settings.timezone)
        state = "acknowledged" if one.is_open else "was closed already; noted"
        alerts_desk.answer(desk, one, f"{state} until {until:%Y-%m-%d %H:%M %Z}", json)


@group.command("silence")
def silence(
    incident: Id,
    duration: Annotated[str, typer.Option("--for", help="How long, such as 2h.")] = "2h",
    end: Annotated[bool, typer.Option("--end", help="End the silence instead.")] = False,
    reason: Why = "",
    json: AsJson = False,
) -> None:
    """Silence the alert of an incident: nothing is opened or escalates, until that ends.

    Also in its Alertmanager, if there is one. What was opened is still resolved. For planned work
    there is `fedvitals maintenance`.

    Examples:

        fedvitals alerts silence 3fa1 --for 2h --reason "known, fixed on Monday"

        fedvitals alerts silence 3fa1 --end
    """
    from tasks.core.incidents import Silence
    from tasks.core.maintenance_windows import checked_duration
    from tasks.core.user import user_name

    now, user = datetime.now(UTC), user_name()
    with alerts_desk.opened() as desk:
        one = alerts_desk.found(desk, incident)
        given = None if end else Silence(user, now, now + checked_duration(duration), reason)
        desk.silence(one, given, user)
        alerts_desk.send(desk)
        until = given and given.until.astimezone(desk.settings.timezone)
        state = f"silenced until {until:%Y-%m-%d %H:%M %Z}" if until else "not silenced any more"
        alerts_desk.answer(desk, one, state, json)


@group.command("resolve")
def resolve(incident: Id, reason: Why = "", json: AsJson = False) -> None:
    """Close an incident whose source does not end it.

    Its alert opens a new one when it begins anew.

    Example:

        fedvitals alerts resolve 3fa1 --reason "the sender is gone"
    """
    from tasks.alerts.incidents import resolve_by_hand
    from tasks.core.user import user_name

    with alerts_desk.opened() as desk:
        one = alerts_desk.found(desk, incident)
        resolve_by_hand(desk.ledger, one.id, datetime.now(UTC), user_name(), reason, desk.plan)
        alerts_desk.send(desk)
        alerts_desk.answer(desk, one, "closed" if one.is_open else "was closed already", json)


@group.command("noise")
def noise(since: Since = "-30d", json: AsJson = False) -> None:
    """List the alerts that fired, the noisiest first, with a `for` that would have kept it away.

    Noise ended within 15 minutes, and nobody acknowledged or closed it.

    Example:

        fedvitals alerts noise --since -7d
    """
    from tasks.runs.alerts.digest import noise_of

    with alerts_desk.opened() as desk:
        found = noise_of(desk, alerts_desk.since_window(since))
    if json:
        print_document(found)
    else:
        print_table([dict(one) for one in found.alerts], empty="no alert fired")


@group.command("shadow")
def shadow(since: Since = "-14d", json: AsJson = False) -> None:
    """Compare alerts of fedvitals with those that a team has already, before it takes over.

    Set `shadow: true` in routes.yaml, so that nothing is sent, and let the team's Alertmanager (or
    POST /events) send to the intake too. After two weeks this shows what either side missed.

    Example:

        fedvitals alerts shadow
    """
    from tasks.runs.alerts.digest import shadow_of

    with alerts_desk.opened() as desk:
        found = shadow_of(desk, alerts_desk.since_window(since))
    if json:
        print_document(found)
        return
    sides = (("both", found.both), ("fedvitals alone", found.only_fedvitals))
    for title, lines in (*sides, ("the team alone", found.only_team)):
        print(f"{title}: {len(lines)}")
        if lines:
            print_table([dict(one) for one in lines], "", desk.settings.timezone)
    sent = ", ".join(f"{name} {number}" for name, number in found.openings.items())
    print(f"messages that open an incident, by route: {sent or 'none'}")


@group.command("explain")
def explain(
    file: Annotated[Path, typer.Argument(help="Body of Alertmanager's webhook, or of an event.")],
    json: AsJson = False,
) -> None:
    """Show what an alert would do now: its identity, route, channels and escalation.

    Nothing is taken or sent.

    Example:

        fedvitals alerts explain webhook.json
    """
    from tasks.alerts.explain import explain as explained
    from tasks.core.alert_report import Explanation
    from tasks.ledger.incidents import newest_of

    with alerts_desk.opened() as desk:
        notices = alerts_desk.notices_of(desk, file)
        known = desk.ledger.patiently(lambda c: newest_of(c, [one.key for one in notices]))
        channels = frozenset(desk.sender.channels)
        found = [explained(one, known.get(one.key), desk.routes, channels) for one in notices]
    if json:
        print_document(Explanation(alerts=tuple(found)))
        return
    for one in found:
        print_clean(
            f"{one.alert} ({one.severity}) in {one.environment}: "
            f"{', '.join(one.changes) or 'changes nothing'}; route {one.route}"
        )
        for step in one.steps:
            where = ", ".join(step.channels) or "no channel"
            lacking = ", ".join(step.not_configured)
            print_clean(
                f"  {step.at.astimezone(desk.settings.timezone):%H:%M} {where}"
                + (f" (not configured: {lacking})" if lacking else "")
            )


@group.command("test")
def send_test(
    channel: Annotated[str | None, typer.Argument(help="A channel, such as slack.")] = None,
    route: Annotated[
        str | None, typer.Option("--route", help="All channels of a route of routes.yaml.")
    ] = None,
    json: AsJson = False,
) -> None:
    """Send a message marked TEST to a channel or a route, and resolve it.

    Exit code 1 when one of them does not take it.

    Examples:

        fedvitals alerts test slack

        fedvitals alerts test --route page
    """
    from tasks.alerts.drill import drill
    from tasks.core.alert_report import ChannelAnswers

    with alerts_desk.opened() as desk:
        names = alerts_desk.channels_of(desk, channel, route)
        default = desk.settings.default_environment
        done = drill(desk.sender.channels, names, default, datetime.now(UTC))
    if json:
        print_document(ChannelAnswers(channels=tuple(done)))
    else:
        print_table([dict(one) for one in done], empty="no channel")
    if not all(one.ok for one in done):
        raise typer.Exit(1)


@group.command("serve")
def serve() -> None:
    """Take alerts and deliver messages about them, until Ctrl-C.

    `fedvitals serve` runs it; one on a ledger is enough. It listens at FEDVITALS_ALERTS_ADDRESS
    (127.0.0.1:4211): POST /alertmanager for Alertmanager's webhook, with the bearer token of
    FEDVITALS_INTAKE_TOKEN; POST /events for others, signed with it. routes.yaml says where messages
    go.

    Example:

        fedvitals alerts serve
    """
    import threading

    from tasks.core.settings import load_settings
    from tasks.servers.intake import intake
    from tasks.servers.supervisor import end_with_parent

    end_with_parent()

    def notify(text: str) -> None:
        print(f"fedvitals: {text}", file=sys.stderr, flush=True)

    with intake(load_settings(), notify) as address:
        notify(f"taking alerts at {address}/alertmanager and {address}/events")
        # until a signal
        threading.Event().wait()
