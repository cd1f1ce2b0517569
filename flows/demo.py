"""The demo: a real, small federated training, monitored while it runs."""

import json
import logging
import os
import shutil
import signal
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import requests
import yaml

from deployments.services import processes
from flows.commands.prefect_server import VARIABLE as PREFECT_VARIABLE
from flows.commands.running import run_command
from tasks.core.health import read_health
from tasks.core.health_report import HealthReport
from tasks.core.receipt import Receipt
from tasks.core.services import InfluxService, Service
from tasks.core.settings import Settings, load_settings, shipped
from tasks.core.slo_report import SloReport
from tasks.core.window import Window, iso
from tasks.ledger.incidents import changes_in
from tasks.ledger.opening import opened_ledger
from tasks.runs.alerts.run import AlertsRequest
from tasks.runs.collect import CollectRequest
from tasks.runs.federated import FederatedRequest
from tasks.runs.health.round import push_report
from tasks.runs.health.run import HealthRequest
from tasks.runs.slo.run import SloRequest

ROUNDS = 60
ROUND_SECONDS = 2.0
PAUSE_SECONDS = 5.0
LONGEST_SECONDS = 240.0
FLUSH_SECONDS = 5.0
# makes the report show a race of target and privacy budget
TARGET = "90%"
# the demo lasts minutes, so its cells and waits are shorter than in production
CLOSER = {"step": "1s", "every": "1s"}
SOONER = {"settle_delay": "1s"}
SCRAPE_INTERVAL = "1s"
# the user's own InfluxDB may be in use, so the demo must not look like production
ENVIRONMENT = "demo"
# limits that every training breaks in its first rounds
OF_A_GROWN_TRAINING = {
    "training": ("training_loss_within_limit", "model_accuracy_ratio_within_limit"),
    "federation": ("rounds_per_hour_within_limit",),
}
LOSSY_CLIENTS = 1
# a job is late so long after its report, and an incident closes so soon after its alert's end
LATE_SECONDS = 10
JOB = {"every": "5s", "grace": "4s", "severity": "high"}
MOST_TICKS = 10
QUIET = {"resolve_hold": "5s", "evaluations": 0}
PLANTED = "planted: the network of one client loses a fifth of its packets; the report names it"
LATE = "model-export"
LATE_SAID = f"planted: the job {LATE} reports once, and is late after that, until it reports again"
FLUX = (
    'from(bucket: "{bucket}") |> range(start: -1h) |> filter(fn: (r) => r._measurement == '
    f'"training" and r._field == "model_accuracy_ratio" and r.environment == "{ENVIRONMENT}")'
)

Notify = Callable[[str], None]


@dataclass(frozen=True)
class Stage:
    """The demo's running services: the training's URL, variables for collect, and what to open."""

    service: str
    variables: Mapping[str, str]
    to_open: tuple[str, ...]


def demo(
    settings: Settings,
    output: Path | None,
    notify: Notify,
    show: Callable[[Receipt], None],
    keep: bool = False,
) -> Receipt:
    """Start the training, collect while it runs, and once more at its end.

    All files are in the folder `demo` of FEDVITALS_HOME, which is emptied first. Every server it
    started is stopped, with keep on a signal. Shows and returns the last run's receipt.
    """
    folder = settings.home / "demo"
    shutil.rmtree(folder, ignore_errors=True)
    # config and home are the demo's own, so no warning applies
    logging.getLogger("fedvitals.plan").addFilter(lambda _: False)
    with _stage(settings, folder, notify) as stage, _variables(stage.variables):
        started = datetime.now(UTC)
        end = started + timedelta(seconds=LONGEST_SECONDS)
        acts = iter((_report_job, _miss_job, _report_job_again))
        while _status(stage.service)["state"] == "running" and datetime.now(UTC) < end:
            time.sleep(PAUSE_SECONDS)
            receipt = _collect(started, output)
            notify(f"{_round(stage.service)}; {receipt.values.landed} values landed")
            next(acts, _do_nothing)(notify)
        # a busy machine had no time for all of them
        for act in acts:
            act(notify)
        _end_incident(notify)
        receipt = _collect(started, output)
        _report_job(notify)
        _check_health(notify)
        if stage.variables["PROMETHEUS_URL"]:
            _judge_slos(notify)
        _follow(Path(receipt.report).parent if receipt.report else folder / "reports", notify)
        show(receipt)
        if keep:
            _wait(stage, receipt, notify)
        return receipt


def _do_nothing(_: Notify) -> None:
    """Act no more."""


def _report_job(_: Notify) -> None:
    """Report the job whose next report will be late."""
    with opened_ledger(load_settings()) as ledger:
        push_report(ledger, read_health(load_settings()), ENVIRONMENT, LATE)


def _miss_job(notify: Notify) -> None:
    """Check when the job is late, which opens an incident."""
    time.sleep(LATE_SECONDS)
    began = datetime.now(UTC)
    run_command("health", HealthRequest())
    _name_changes(began, notify)


def _report_job_again(notify: Notify) -> None:
    """Report the job, which ends the alert; its incident closes after some quiet."""
    _report_job(notify)
    run_command("health", HealthRequest())
    run_command("alerts", AlertsRequest())


def _end_incident(notify: Notify) -> None:
    """Let time pass for incidents, as the intake does, until the job's is closed."""
    for _ in range(MOST_TICKS):
        began = datetime.now(UTC)
        run_command("alerts", AlertsRequest())
        if "resolved" in _name_changes(began, notify):
            break
        time.sleep(PAUSE_SECONDS)


def _name_changes(began: datetime, notify: Notify) -> set[str]:
    """Name what has happened to the job's incident since then, and return it."""
    changes: set[str] = set()
    window = Window(began, datetime.now(UTC))
    with opened_ledger(load_settings()) as ledger:
        for event, incident in changes_in(ledger, ENVIRONMENT, window):
            if incident.newest.name == LATE:
                what = incident.newest.sentence if event.change == "opened" else LATE
                notify(f"incident {incident.id[:4]} {event.change}: {what}")
                changes.add(event.change)
    return changes


def _wait(stage: Stage, receipt: Receipt, notify: Notify) -> None:
    """Name what to open, and wait for a signal."""
    report = [f"report: {Path(receipt.report).resolve().as_uri()}"] if receipt.report else []
    for line in (*report, *stage.to_open):
        notify(f"open {line}")
    notify("the servers stay until you press Ctrl-C")
    signal.pause()


def _follow(folder: Path, notify: Notify) -> None:
    """Read the training's rounds, and judge whether it converged."""
    run_command("federated", FederatedRequest(target=TARGET, output=str(folder / "training")))
    analysis = folder / "training" / "convergence-analysis.json"
    if not analysis.is_file():
        notify("no round of the training was landed, so its convergence is unknown")
        return
    for run in json.loads(analysis.read_text("utf-8"))["runs"]:
        notify(f"{run['sentence']} {run['advice']['sentence']}")
    notify(f"convergence: {analysis.with_name('convergence-report.html')}")


def _check_health(notify: Notify) -> None:
    """Check endpoints, machine and training, and show what was found."""
    receipt = run_command("health", HealthRequest())
    report = receipt.details
    if isinstance(report, HealthReport):
        training = report.federated_learning
        about = f"training {training.state}, round {training.round}"
        notify(f"health: {receipt.sentence}; {about} ({receipt.report})")


def _judge_slos(notify: Notify) -> None:
    """Judge the shipped SLOs by the demo's Prometheus, and show what is left of each budget."""
    receipt = run_command("slo", SloRequest())
    if isinstance(receipt.details, SloReport):
        for line in receipt.details.slos:
            notify(f"slo: {line.sentence}")
    notify(f"slo page: {receipt.report}")


def _collect(started: datetime, output: Path | None) -> Receipt:
    folder = str(output) if output else None
    return run_command("collect", CollectRequest(start=iso(started), stop="now", output=folder))


@contextmanager
def _stage(settings: Settings, folder: Path, notify: Notify) -> Iterator[Stage]:
    _write_config(folder)
    with ExitStack() as stack:
        # the slow ones first, so that all of the training is seen
        to_open: list[str] = []
        servers = {
            **_influxdb(settings, folder, stack, notify, to_open),
            **_prefect(folder, stack, notify, to_open),
        }
        training = stack.enter_context(
            processes.fl_server(folder / "services", ROUNDS, ROUND_SECONDS, LOSSY_CLIENTS)
        )
        service = training.http
        notify(f"a federated training of {ROUNDS} rounds runs at {service}")
        notify(PLANTED)
        notify(LATE_SAID)
        variables = {
            "FEDVITALS_HOME": str(folder),
            "FEDVITALS_CONFIG": str(folder / "config"),
            "FEDVITALS_LAKE_URL": "",
            "FEDVITALS_LEDGER_URL": "",
            "ALERTMANAGER_URL": "",
            "FED_VIT_API_URL": training.https,
            "REQUESTS_CA_BUNDLE": training.ca_file,
            "FED_VIT_API_TOKEN": "",
            "FED_VIT_HOST": "local",
            **_prometheus(settings, service, folder, stack, notify),
            **servers,
        }
        yield Stage(service=service, variables=variables, to_open=tuple(to_open))


def _prometheus(
    settings: Settings, service: str, folder: Path, stack: ExitStack, notify: Notify
) -> dict[str, str]:
    configured = settings.environment(None).services.get("prometheus")
    if configured is not None and _knows_training(configured):
        notify(f"metrics come from Prometheus at {configured.url}")
        token = configured.token.get_secret_value() if configured.token else ""
        return {"PROMETHEUS_URL": configured.url, "PROMETHEUS_API_TOKEN": token}
    if configured is not None:
        notify(
            f"the Prometheus at {configured.url} does not scrape the training, so it is not used"
        )
    program = processes.find_program("prometheus")
    if program is None:
        notify("no Prometheus here: the training's /metrics is read directly")
        return {"PROMETHEUS_URL": "", "PROMETHEUS_API_TOKEN": ""}
    target = urlsplit(service).netloc
    url = stack.enter_context(
        processes.prometheus(program, target, folder / "services", SCRAPE_INTERVAL)
    )
    notify(f"metrics come from a Prometheus started at {url}")
    return {"PROMETHEUS_URL": url, "PROMETHEUS_API_TOKEN": ""}


def _influxdb(
    settings: Settings, folder: Path, stack: ExitStack, notify: Notify, to_open: list[str]
) -> dict[str, str]:
    configured = settings.environment(None).services.get("influxdb")
    if isinstance(configured, InfluxService) and configured.token is not None:
        notify(f"values are loaded into InfluxDB at {configured.url}, bucket {configured.bucket}")
        access = processes.InfluxAccess(
            configured.url, configured.token.get_secret_value(), configured.org, configured.bucket
        )
        return _variables_of(access)
    program = processes.find_program("influxd")
    if program is None:
        notify("no InfluxDB here: the lake keeps everything")
        return {}
    access = stack.enter_context(processes.influxdb(program, folder / "services"))
    notify(f"values are loaded into an InfluxDB started at {access.url}")
    login = " / ".join(processes.INFLUX_LOGIN.values())
    to_open += [f"InfluxDB: {access.url} ({login}), token {access.token}"]
    to_open += [f"its Data Explorer, with this Flux query: {FLUX.format(bucket=access.bucket)}"]
    return _variables_of(access)


def _prefect(folder: Path, stack: ExitStack, notify: Notify, to_open: list[str]) -> dict[str, str]:
    """Return the user's Prefect server, else start one to show the demo's flow runs."""
    url = os.environ.get(PREFECT_VARIABLE)
    if not url:
        url = stack.enter_context(processes.prefect_server(folder / "services"))
        stack.callback(_send_rest)
    notify(f"Prefect shows the flow runs at {url.removesuffix('/api')}/runs")
    to_open.append(f"Prefect: {url.removesuffix('/api')}/runs")
    return {PREFECT_VARIABLE: url}


def _send_rest() -> None:
    """Flush logs and events; after the server's end Prefect would retry for a minute."""
    from prefect.events.worker import EventsWorker
    from prefect.logging.handlers import APILogWorker

    for worker in (APILogWorker, EventsWorker):
        worker.drain_all(timeout=FLUSH_SECONDS)


def _variables_of(access: processes.InfluxAccess) -> dict[str, str]:
    return {
        "INFLUXDB_URL": access.url,
        "INFLUXDB_TOKEN": access.token,
        "INFLUXDB_ORG": access.org,
        "INFLUXDB_BUCKET": access.bucket,
    }


def _write_config(folder: Path) -> None:
    """Write the shipped configuration with shorter waits, and limits of a new training."""
    shutil.copytree(shipped("config"), folder / "config")
    shutil.copytree(shipped("expectations"), folder / "expectations")
    for name, checks in OF_A_GROWN_TRAINING.items():
        path = folder / "expectations" / f"{name}.json"
        suite = json.loads(path.read_text("utf-8"))
        kept = [one for one in suite["expectations"] if one["meta"]["check_id"] not in checks]
        path.write_text(json.dumps({**suite, "expectations": kept}), "utf-8")
    with _changed(folder / "config" / "metrics.yaml") as catalogue:
        for entry in catalogue["measurements"].values():
            entry.update(CLOSER)
    with _changed(folder / "config" / "health.yaml") as health:
        health["pushed"] = {LATE: JOB}
    with _changed(folder / "config" / "routes.yaml") as routes:
        # the user's own channels may be set
        routes["shadow"] = True
        routes["incidents"].update(QUIET)
    with _changed(folder / "config" / "environments.yaml") as environments:
        environments["pipeline"].update(SOONER)
        environments["default_environment"] = ENVIRONMENT
        environments["environments"] = {}


@contextmanager
def _changed(path: Path) -> Iterator[dict[str, Any]]:
    """Yield the file's content, and write it back after the block."""
    content = yaml.safe_load(path.read_text(encoding="utf-8"))
    yield content
    path.write_text(yaml.safe_dump(content, sort_keys=False), encoding="utf-8")


@contextmanager
def _variables(values: Mapping[str, str]) -> Iterator[None]:
    before = dict(os.environ)
    os.environ.update(values)
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(before)


def _round(service: str) -> str:
    status = _status(service)
    return f"round {status['current_round']} of {status['total_rounds']}"


def _status(service: str) -> dict[str, object]:
    answer = requests.get(f"{service}/api/training/status", timeout=10)
    answer.raise_for_status()
    status: dict[str, object] = answer.json()
    return status


def _knows_training(service: Service) -> bool:
    token = service.token.get_secret_value() if service.token else None
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    url = f"{service.url}/api/v1/query?query=fed_vit_autorl_training_loss"
    try:
        answer = requests.get(url, headers=headers, timeout=10)
        return bool(answer.ok and answer.json()["data"]["result"])
    except (requests.RequestException, ValueError, KeyError):
        return False
