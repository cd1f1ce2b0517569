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
        if since is not None:
            window = Window(since, run.now)
            step("digest", send_digest)(run, desk, window, learn if request.review else None)
        if request.drill is not None:
            step("drill", drill_route)(run, desk, request.drill)
        report = step("report", make_report)(run, desk)
    collect_by_source(run, plan, step)
    receipt = step("account", run.account)(covered_window(plan, run.outcomes), details=report)
    step("self metrics", land_self_metrics)(run, receipt)
    return step("deliver", deliver)(run, receipt)


def keep(run: Run, desk: Desk) -> None:
    """Do what the intake does, unless one runs; a part that fails leaves the run partial."""
    if intake_runs(run.ledger, run.now):
        return
    failed = Keeper(desk, identities(run.settings), logger.info).once()
    run.notes += failed
    run.is_partial |= bool(failed)


def make_report(run: Run, desk: Desk) -> AlertsReport:
    """Return what is open, and what is wrong with its messages, which is a finding too."""
    found = open_incidents(desk.ledger)
    refused = refused_openings(desk.ledger, [one.id for one in found])
    # what is not delivered is not to be about itself
    lost = [one for one in found if one.id in refused and one.newest.kind != UNDELIVERED]
    names = sorted({f"{one.newest.name} ({refused[one.id]})" for one in lost})
    if names:
        sentence = f"no channel took the message about {', '.join(names)}"
        run.findings.append(
            Finding(UNDELIVERED, Severity.HIGH, sentence, {"alerts": names}, hint=_HINT)
        )
    sentences = tuple(one.sentence for one in run.findings)
    return AlertsReport(open=lines_of(found, refused), findings=sentences)


def drill_route(run: Run, desk: Desk, route: str) -> None:
    """Send a test to all channels of a route; it is a finding when one does not take it."""
    channels = desk.sender.channels
    names = of_route(desk.routes, route, channels)
    done = drill(channels, names, desk.settings.default_environment, run.now)
    failed = [f"{one.channel} ({one.detail})" for one in done if not one.ok]
    failed += [] if names else ["none is configured"]
    if failed:
        sentence = f"the drill of route {route} reached not all channels: {', '.join(failed)}"
        evidence = {"failed": failed}
        run.findings.append(
            Finding(DRILL, Severity.HIGH, sentence, evidence, subject=route, hint=_HINT)
        )


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
