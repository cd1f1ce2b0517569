"""Which messages follow from a change of an incident: rows of the outbox, in its transaction."""

from collections.abc import Callable, Collection, Iterable, Iterator

from sqlalchemy import Connection, select

from tasks.alerts.incidents import Plan
from tasks.core.errors import UsageInvalid
from tasks.core.incidents import Action, Incident, IncidentEvent
from tasks.core.routes import ChannelName, Route, Routes, is_channel
from tasks.core.severity import Severity
from tasks.ledger.outbox import Row, add, cancel_steps
from tasks.ledger.schema import outbox, shown_in

# an incident of this kind is about a channel, and is not sent there
CHANNEL_KIND = "channel"
CHANNEL_LABEL = "channel"
_OPENING = frozenset({"opened", "reopened", "worsened", "unmuted"})
_UPDATING = frozenset({"eased", "flapping", "stale", "unacknowledged"})


def planner(routes: Routes, configured: Collection[str]) -> Plan:
    """Return what plans the messages of a change to the channels that are configured."""

    def plan(connection: Connection, incident: Incident, event: IncidentEvent) -> None:
        add(connection, list(_rows(connection, routes, configured, incident, event)))

    return plan


def _rows(
    connection: Connection,
    routes: Routes,
    configured: Collection[str],
    incident: Incident,
    event: IncidentEvent,
) -> Iterator[Row]:
    _, route = routes.route_of(incident)
    make = _maker(incident, event)
    if event.change in _OPENING:
        for channel in usable(route, route.channels, configured, incident):
            yield make(channel, "open")
        if event.change != "opened":
            # an earlier opening's steps are not taken beside those of this one
            cancel_steps(connection, incident.id, event.at)
        yield from _escalation(routes, configured, incident, event)
    elif event.change in _UPDATING:
        for channel in _used(connection, incident):
            yield make(channel, "update")
    elif event.change == "acknowledged":
        for channel in _used(connection, incident):
            yield make(channel, "acknowledge")
    elif event.change == "resolved":
        for channel in _used(connection, incident):
            yield make(channel, "resolve")


def _escalation(
    routes: Routes,
    configured: Collection[str],
    incident: Incident,
    event: IncidentEvent,
) -> Iterator[Row]:
    _, route = routes.route_of(incident)
    for number, step in enumerate(route.escalation, 1):
        for channel in usable(route, step.channels, configured, incident):
            yield Row(
                incident.id,
                channel,
                "open",
                "escalated",
                incident.newest.severity is Severity.CRITICAL,
                event.at,
                event.at + step.after,
                event.at + step.after,
                step=number,
            )


def usable(
    route: Route,
    channels: tuple[ChannelName, ...],
    configured: Collection[str],
    incident: Incident,
) -> list[str]:
    """Return the channels of a step that are configured; the first fallback when none is."""
    about = incident.newest.labels.get(CHANNEL_LABEL)
    failing = about if incident.newest.kind == CHANNEL_KIND else None
    able = [one for one in expanded(channels, configured) if one != failing]
    if able or not channels:
        return able
    return [one for one in expanded(route.fallback, configured) if one != failing][:1]


def of_route(routes: Routes, name: str, configured: Collection[str]) -> list[str]:
    """Return all channels of a route that are configured; raise UsageInvalid for an unknown one."""
    route = routes.routes.get(name)
    if route is None:
        problem, fix = f"there is no route {name!r}", f"Use one of: {', '.join(routes.routes)}"
        raise UsageInvalid(argument="--route", problem=problem, fix=fix)
    steps = (one for step in route.escalation for one in step.channels)
    every = dict.fromkeys((*route.channels, *steps, *route.fallback))
    return expanded(every, configured)


def expanded(channels: Iterable[ChannelName], configured: Collection[str]) -> list[str]:
    """Return the configured channels that routes name so, in that order."""
    return [one for name in channels for one in sorted(configured) if is_channel(one, name)]


def _maker(incident: Incident, event: IncidentEvent) -> Callable[[str, Action], Row]:
    is_critical = incident.newest.severity is Severity.CRITICAL
    why, at = event.why or event.after, event.at

    def make(channel: str, action: Action) -> Row:
        return Row(incident.id, channel, action, event.change, is_critical, at, at, at, why=why)

    return make


def _used(connection: Connection, incident: Incident) -> list[str]:
    sent = select(outbox.c.channel).where(outbox.c.incident_id == incident.id)
    # of what was taken over nothing was sent
    shown = select(shown_in.c.channel).where(shown_in.c.subject == incident.id)
    return sorted(connection.execute(sent.union(shown)).scalars())
