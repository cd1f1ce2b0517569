"""The door of alerts: notices become incidents, and incidents messages; for runs and for the intake."""

import hashlib
import hmac
import json
import logging
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from pydantic import TypeAdapter

from tasks.alerts.delivery import Sender
from tasks.alerts.incidents import Plan, silence, take
from tasks.alerts.notices import Identify, hidden, of_finding
from tasks.alerts.planning import planner
from tasks.alerts.wording import Links
from tasks.analysis.slo.slo_rules import thresholds_of
from tasks.core.alert_services import AlertSettings
from tasks.core.catalogue import Catalogue
from tasks.core.errors import FedvitalsError, SourceUnavailable
from tasks.core.finding import Finding
from tasks.core.incidents import Incident, IncidentEvent, Notice, Silence
from tasks.core.receipt import Receipt
from tasks.core.routes import Routes, read_routes
from tasks.core.services import Environment, Service
from tasks.core.settings import Settings
from tasks.core.severity import Severity
from tasks.core.thresholds import NO_DATA, RULE, Threshold
from tasks.http import Limits, Transport
from tasks.ledger.held_findings import held, hold
from tasks.ledger.incidents import intake_runs
from tasks.ledger.ledger import Ledger
from tasks.runs.base.registry import alert_channels_in
from tasks.runs.base.slos import slos_in_force
from tasks.runs.base.thresholds import thresholds_in_force
from tasks.sources.alertmanager import Alertmanager, posted
from tasks.sources.pseudonyms import Namer, namer_of

if TYPE_CHECKING:
    # the intake makes no run, and is small without a lake
    from tasks.runs.base.run import Run

logger = logging.getLogger("fedvitals")
# a run waits so long for its messages, when no intake sends them
DRAIN_SECONDS = 20.0
# between two runs of a flow, by which an alert of a finding lives on in Alertmanager
EVERY: Mapping[str, timedelta] = {
    "health": timedelta(minutes=15),
    "federated": timedelta(minutes=5),
    "alerts": timedelta(minutes=15),
}
HOURLY = timedelta(hours=1)
_FINDINGS: TypeAdapter[tuple[Finding, ...]] = TypeAdapter(tuple[Finding, ...])
SIGNATURE, TIME = "X-Fedvitals-Signature", "X-Fedvitals-Time"


@dataclass(frozen=True)
class Desk:
    """Where notices are taken: the ledger, routes, and what sends messages."""

    settings: Settings
    ledger: Ledger
    routes: Routes
    sender: Sender
    tags: frozenset[str]

    @property
    def plan(self) -> Plan:
        """Return what plans messages."""
        return self.sender.plan

    def take(self, notices: Sequence[Notice]) -> list[IncidentEvent]:
        """Take notices with pseudonyms of clients; raise LedgerUnavailable, UsageInvalid."""
        notices = hidden(notices, self.tags, self.name_client)
        return take(self.ledger, notices, self.routes.timing, self.plan)

    @cached_property
    def name_client(self) -> Namer:
        """Return what names clients in incidents and messages."""
        return (namer_of(self.settings) if self.tags else None) or str

    def take_findings(
        self, flow: str, environment: Environment, findings: Sequence[Finding], link: str = ""
    ) -> None:
        """Take what a run found, and end what it finds no more.

        With an Alertmanager they are posted there; when it takes them not, they are taken here.
        """
        now = datetime.now(UTC)
        before = held(self.ledger, flow, environment.name)
        grave = [one for one in findings if one.severity is not Severity.INFO]
        if not grave and not before:
            return
        found = {
            one.fingerprint: of_finding(one, environment.name, flow, now, link) for one in grave
        }
        notices = [
            replace(one, starts_at=before[key].starts_at) if key in before else one
            for key, one in found.items()
        ]
        hold(self.ledger, flow, environment.name, notices)
        ended = [
            replace(one, ends_at=now, received_at=now)
            for key, one in before.items()
            if key not in found
        ]
        self.forward(environment, [*notices, *ended], EVERY.get(flow, HOURLY))

    def forward(
        self, environment: Environment, notices: Sequence[Notice], every: timedelta
    ) -> None:
        """Post findings to the environment's Alertmanager, else take them here."""
        service = environment.services.get("alertmanager")
        # there it would be sent by the team's own receivers
        if service is not None and notices and not self.routes.shadow:
            try:
                with closing(Alertmanager(service)) as alertmanager:
                    alertmanager.post(posted(notices, datetime.now(UTC), every))
                return
            except FedvitalsError as error:
                logger.warning("findings go by routes.yaml: %s", error)
        self.take(notices)

    def silence(self, incident: Incident, given: Silence | None, by: str) -> None:
        """Silence an incident's alert here and in its Alertmanager, or end that; raise as a source."""
        environment = self.settings.environments.get(incident.newest.environment)
        service = environment.services.get("alertmanager") if environment else None
        labels = {**incident.newest.labels, "alertname": incident.newest.name}
        labels.pop("severity", None)
        if incident.newest.origin == "finding":
            # as it is posted there
            labels["environment"] = incident.newest.environment
        # there a client has another name
        if service is not None and not self.tags & labels.keys():
            with closing(Alertmanager(service)) as alertmanager:
                if given is None:
                    alertmanager.end_silences(labels)
                else:
                    alertmanager.silence(labels, given)
        silence(self.ledger, incident.id, given, datetime.now(UTC), by, self.plan)


@contextmanager
def opened_desk(settings: Settings, ledger: Ledger) -> Iterator[Desk]:
    """Open the channels for a block; raise ConfigurationInvalid for wrong routes."""
    routes = read_routes(settings)
    catalogue = Catalogue.read(settings.config / "metrics.yaml")
    tags = frozenset(one.identity for one in catalogue.values() if one.identity)
    with ExitStack() as stack:
        kinds = [] if routes.shadow else list(alert_channels_in(settings))
        channels = {
            kind.name: stack.enter_context(closing(kind.open(opening))) for kind, opening in kinds
        }
        sender = Sender(
            ledger,
            routes,
            channels,
            planner(routes, frozenset(channels)),
            frozenset(kind.name for kind, _ in kinds if kind.repeats),
            settings.timezone,
            {one.name: _links(settings, one) for one in settings.environments.values()},
        )
        yield Desk(settings, ledger, routes, sender, tags)


def _links(settings: Settings, environment: Environment) -> Links:
    """Return where to look further: dashboards, alerts and logs."""
    pages = {
        "grafana": ("Grafana dashboard", "/dashboards"),
        "prometheus": ("Prometheus alerts", "/alerts"),
    }
    found = [
        (title, environment.services[name].url + path)
        for name, (title, path) in pages.items()
        if name in environment.services
    ]
    logs = settings.alerts.logs_url
    return (*found, ("Logs", logs)) if logs else tuple(found)


def report_findings(run: "Run", receipt: Receipt) -> None:
    """Take the run's findings to the door: the intake's, or this ledger's.

    A ledger that lasts for this run alone starts no incident: each run would start it again.
    """
    alerts, settings = run.settings.alerts, run.settings
    if not (run.ledger.is_on_server or run.ledger.has_runs(besides=run.id)):
        if alerts.intake_url:
            post_findings(alerts, run.flow, receipt)
        return
    link = settings.report_link(Path(run.report)) if run.report else None
    with opened_desk(settings, run.ledger) as desk:
        desk.take_findings(run.flow, run.environment, receipt.findings, link or "")
        if not intake_runs(run.ledger, datetime.now(UTC)):
            desk.sender.drain_all(DRAIN_SECONDS)


def identities(settings: Settings) -> Identify:
    """Return what finds the identity of alerts that Prometheus made by our rules.

    It is that of the finding on the same threshold with the same tags.
    """
    file = thresholds_in_force(settings)
    known: dict[tuple[str, str], Threshold] = {}
    for environment in settings.environments:
        every = [*file.thresholds.values()]
        for slo in slos_in_force(settings):
            every += thresholds_of(slo, environment, file.interval)
        for one in every:
            known |= {(environment, name): one for name in (one.id, one.id + NO_DATA)}

    def identify(environment: str, labels: Mapping[str, str]) -> tuple[str, str] | None:
        name = labels.get("alertname", "")
        rule = known.get((environment, name)) if "mode" in labels else None
        return (rule.fingerprint(environment, labels, name), RULE) if rule else None

    return identify


class _Intake(Transport):
    """The intake of another machine."""

    def no_answer(self, what: str, problem: str, is_late: bool) -> FedvitalsError:
        """Return SourceUnavailable."""
        return SourceUnavailable(
            service="the intake", url=self.service.url, what=what, problem=problem
        )


def post_findings(alerts: AlertSettings, flow: str, receipt: Receipt) -> None:
    """Post a run's findings to the intake of FEDVITALS_INTAKE_URL; raise as a source."""
    document = {
        "flow": flow,
        "environment": receipt.environment,
        "findings": _FINDINGS.dump_python(receipt.findings, mode="json"),
    }
    body = json.dumps(document).encode()
    service = Service(url=alerts.intake_url, origin="FEDVITALS_INTAKE_URL")
    headers = {"Content-Type": "application/json"}
    if alerts.intake_token:
        now = str(int(time.time()))
        headers |= {
            TIME: now,
            SIGNATURE: signature(alerts.intake_token.get_secret_value(), now, body),
        }
    with closing(_Intake(service, "the intake", Limits(total=20.0))) as intake:
        answer = intake.call(
            "POST", f"{service.url}/findings", "findings", data=body, headers=headers
        )
        if answer.status // 100 != 2:
            words = answer.body.decode("utf-8", "replace")
            raise intake.no_answer(
                "findings", f"HTTP {answer.status}: {intake.quoted(words)}", False
            )


def signature(token: str, at: str, body: bytes) -> str:
    """Return the HMAC-SHA256 of time and body, in hex (RFC 2104)."""
    return hmac.new(token.encode(), f"{at}.".encode() + body, hashlib.sha256).hexdigest()
