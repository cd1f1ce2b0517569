"""The run `alerts`: what the intake does, where none runs; the export of incidents; digests."""

import logging
from dataclasses import dataclass

from tasks.alerts.digest import message_of
from tasks.alerts.drill import drill, sent_to
from tasks.alerts.explain import lines_of
from tasks.alerts.planning import expanded, of_route
from tasks.core.alert_report import AlertsReport, ChannelAnswer
from tasks.core.artifact import Artifact, code
from tasks.core.finding import Finding
from tasks.core.incident_measurement import incident_measurement
from tasks.core.incidents import AlertMessage
from tasks.core.receipt import Receipt
from tasks.core.severity import Severity
from tasks.core.window import Window, parse_time
from tasks.ledger.incidents import intake_runs, open_incidents
from tasks.ledger.outbox import refused_openings
from tasks.runs.alerts.digest import Learn, make_digest
from tasks.runs.alerts.keeper import Keeper
from tasks.runs.base.alerts import Desk, identities, opened_desk
from tasks.runs.base.collecting import collect_by_source
from tasks.runs.base.deliver import deliver
from tasks.runs.base.plan import covered_window, make_own_plan
from tasks.runs.base.run import Run
from tasks.runs.base.self_metrics import land_self_metrics
from tasks.runs.base.step import Step, plain

logger = logging.getLogger("fedvitals")
# of a finding on messages that no channel took, which cannot be about itself
UNDELIVERED, DRILL = "undelivered", "drill"
_HINT = "See fedvitals alerts ls, and fedvitals doctor"


@dataclass(frozen=True)
class AlertsRequest:
    """Options: the beginning of a digest, whether it is a review, and a route to test."""

    digest: str | None = None
    review: bool = False
    drill: str | None = None


def alerts(
    run: Run, request: AlertsRequest, step: Step = plain, learn: Learn | None = None
) -> Receipt:
    """Keep incidents up to date where no intake runs, export them, and send a digest if asked."""
    since = parse_time(request.digest, run.now, "digest") if request.digest else None
    plan = step("plan", make_own_plan)(run, (incident_measurement(),))
    with opened_desk(run.settings, run.ledger) as desk:
        step("keep", keep)(run, desk)
        report = step("report", make_report)(desk)
        if since is not None:
            window = Window(since, run.now)
            step("digest", send_digest)(run, desk, window, learn if request.review else None)
        if request.drill is not None:
            run.findings += step("drill", test_route)(run, desk, request.drill)
    run.findings += undelivered(report)
    collect_by_source(run, plan, step)
    receipt = step("account", run.account)(covered_window(plan, run.outcomes), details=report)
    step("self metrics", land_self_metrics)(run, receipt)
    return step("deliver", deliver)(run, receipt)


def keep(run: Run, desk: Desk) -> None:
    """Do what the intake does, unless one runs."""
    if intake_runs(run.ledger, run.now):
        return
    run.notes += Keeper(desk, identities(run.settings), logger.info).once()


def make_report(desk: Desk) -> AlertsReport:
    """Return what is open, and the alerts that no channel took, with what the last one said."""
    found = open_incidents(desk.ledger)
    refused = refused_openings(desk.ledger, [one.id for one in found])
    # what is not delivered is not to be about itself
    lost = [one for one in found if one.id in refused and one.newest.kind != UNDELIVERED]
    names = sorted({f"{one.newest.name} ({refused[one.id]})" for one in lost})
    return AlertsReport(open=lines_of(found, refused), undelivered=tuple(names))


def undelivered(report: AlertsReport) -> list[Finding]:
    """Return a finding when no channel took the message about an incident."""
    if not report.undelivered:
        return []
    sentence = f"no channel took the message about {', '.join(report.undelivered)}"
    evidence = {"alerts": list(report.undelivered)}
    return [Finding(UNDELIVERED, Severity.HIGH, sentence, evidence, hint=_HINT)]


def test_route(run: Run, desk: Desk, route: str) -> list[Finding]:
    """Send a test to all channels of a route; return a finding on those that took none."""
    channels = desk.sender.channels
    names = of_route(desk.routes, route, channels)
    done = drill(channels, names, desk.settings.default_environment, run.now)
    failed = [f"{one.channel} ({one.detail})" for one in done if not one.ok]
    failed += [] if names else ["none is configured"]
    if not failed:
        return []
    sentence = f"the drill of route {route} reached not all channels: {', '.join(failed)}"
    return [Finding(DRILL, Severity.HIGH, sentence, {"failed": failed}, subject=route, hint=_HINT)]


def send_digest(run: Run, desk: Desk, window: Window, learn: Learn | None) -> None:
    """Make the digest, send it where routes say, and show it in Prefect."""
    found = make_digest(desk, window, learn)
    message = message_of(found, desk.settings.default_environment, desk.settings.timezone)
    lines = [message.title, *(f"{name}: {value}" for name, value in message.facts), *message.failed]
    text = "".join(f"- {code(line)}\n" for line in lines)
    run.artifacts.append(Artifact("markdown", "digest", text))
    with run.delivery("digest") as problems:
        answers = send_to_routes(desk, message)
        problems += (f"{one.channel}: {one.detail}" for one in answers if not one.ok)


def send_to_routes(desk: Desk, message: AlertMessage) -> tuple[ChannelAnswer, ...]:
    """Send a digest to the channels of routes.yaml; return how each took it."""
    names = expanded(desk.routes.digest, desk.sender.channels)
    return tuple(sent_to(desk.sender.channels, names, message))
