"""The run `health`: probe, judge, report, and collect what was recorded."""

import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

from tasks.core.addresses import check_output
from tasks.core.artifact import Artifact, artifact_key
from tasks.core.errors import ReportNotWritten
from tasks.core.health import Health, HostSample, Key, Sample, Track, read_health
from tasks.core.health_measurements import health_measurements
from tasks.core.health_report import FederatedLearning, HealthReport
from tasks.core.receipt import Receipt
from tasks.core.whole_file import make_private, replace_file
from tasks.core.window import Window, iso
from tasks.ledger import health as kept
from tasks.reports.health.build import DAYS, StatusPage, build
from tasks.reports.health.page import write
from tasks.runs.base.collecting import collect_by_source
from tasks.runs.base.deliver import deliver
from tasks.runs.base.plan import covered_window, make_own_plan
from tasks.runs.base.run import Run
from tasks.runs.base.self_metrics import land_self_metrics
from tasks.runs.base.step import Step, plain
from tasks.runs.health.judge import Seen, judge
from tasks.runs.health.round import (
    is_undecided,
    planned_at,
    record_samples,
    require_checks,
    take_samples,
)
from tasks.sources.host import local_host, mean_host, node_exporter
from tasks.sources.training_state import training_state

FILE = "health-report.json"
# to ask again where one sample does not decide
PAUSE_SECONDS, CONFIRM_SECONDS = 0.5, 3.0
HOST_MEAN = timedelta(minutes=10)


@dataclass(frozen=True)
class HealthRequest:
    """Options of a health run: the folder of health-report.json."""

    output: str | None = None


def health(
    run: Run,
    request: HealthRequest,
    step: Step = plain,
    samples: Sequence[Sample] | None = None,
) -> Receipt:
    """Judge the environment's health, and collect what was recorded of it.

    `samples` are those of this moment, where the caller took them.
    """
    config = read_health(run.settings)
    check_output(Path(request.output) if request.output else None)
    require_checks(config, run.environment)
    seen = step("probe", look)(run, config, samples)
    report = step("judge", judge)(run, config, seen)
    step("report", write_report)(run, request, config, report)
    plan = step("plan", make_own_plan)(run, health_measurements(), request.output)
    collect_by_source(run, plan, step)
    window = covered_window(plan, run.outcomes)
    receipt = step("account", run.account)(window, details=report)
    step("self metrics", land_self_metrics)(run, receipt)
    return step("deliver", deliver)(run, receipt)


def look(run: Run, config: Health, samples: Sequence[Sample] | None = None) -> Seen:
    """Take and record samples of all checks, of the machine and of the training."""
    with ThreadPoolExecutor(2) as pool:
        host = pool.submit(_host, run)
        training = pool.submit(_training, run, config)
        taken = samples or take_samples(config, [run.environment], certificates=True)
        newest, tracks = _decided(run, config, taken)
    figures = host.result()
    return Seen(
        newest, tracks, figures, _mean(run, figures), _since(run, config, training.result())
    )


def _decided(
    run: Run, config: Health, samples: Sequence[Sample]
) -> tuple[dict[Key, Sample], Mapping[Key, Track]]:
    """Record samples, and take more, for seconds, of checks whose state they do not decide."""
    environment = run.environment
    taken = list(samples)
    newest: dict[Key, Sample] = {}
    end = time.monotonic() + CONFIRM_SECONDS
    while True:
        for one in record_samples(run.ledger, config, taken, [environment.name]):
            before = newest.get(one.key)
            days = before.certificate_days if before else one.certificate_days
            newest[one.key] = replace(one, certificate_days=days)
        tracks = kept.tracks(run.ledger)
        open_ = {key for key, one in newest.items() if is_undecided(tracks[key], one)}
        if not open_ or time.monotonic() > end:
            return newest, tracks
        time.sleep(PAUSE_SECONDS)
        taken = take_samples(config, [environment], frozenset(open_))


def _host(run: Run) -> HostSample | None:
    """Return the figures of the machine; None where none are measured."""
    environment = run.environment
    if environment.is_local:
        return local_host(environment.name)
    prometheus = environment.services.get("prometheus")
    return node_exporter(environment.name, prometheus) if prometheus else None


def _mean(run: Run, now: HostSample | None) -> HostSample | None:
    """Return the mean of 10 minutes; None when the loop measured less than half of them."""
    if now is None or not run.environment.is_local:
        return now
    kept.keep_host(run.ledger, now)
    window = Window(now.at - HOST_MEAN, now.at + timedelta(microseconds=1))
    measured = kept.host_samples(run.ledger, run.environment.name, window)
    return mean_host(measured) if now.at - measured[0].at >= HOST_MEAN / 2 else None


def _training(run: Run, config: Health) -> FederatedLearning | None:
    service = run.environment.services.get("api")
    if config.training is None or service is None:
        return None
    return training_state(service, config.training, config.timeout)


def _since(run: Run, config: Health, training: FederatedLearning | None) -> FederatedLearning:
    """Return the training with the time since when it is in its round, and whether it stalls."""
    check, now = config.training, datetime.now(UTC)
    if training is None or check is None or training.round is None:
        return training or FederatedLearning()
    name = f"{training.state} {training.round}"
    known = kept.last_round(run.ledger, run.environment.name)
    since = known[1] if known is not None and known[0] == name else now
    kept.keep_round(run.ledger, run.environment.name, name, since)
    is_stalled = training.state == check.running and now - since >= check.stalled_after
    return training.model_copy(update={"since": iso(since), "stalled": is_stalled})


def folder_of(run: Run, output: str | None = None) -> Path:
    """Return the folder of the environment's newest report, which each run writes anew."""
    return Path(output) if output else run.settings.reports / "health" / run.environment.name


def write_report(run: Run, request: HealthRequest, config: Health, report: HealthReport) -> None:
    """Write health-report.json and the status page; a failure is a failed delivery."""
    folder = folder_of(run, request.output)
    with run.delivery("report"):
        try:
            make_private(folder)
            write(_status(run, config, report), folder)
            text = report.model_dump_json(indent=2)
            run.report = str(replace_file(folder / FILE, f"{text}\n".encode()).absolute())
        except OSError as error:
            raise ReportNotWritten(folder=folder, problem=error.strerror) from error
    key = artifact_key("health", run.environment.name)
    checks = {**report.api_health, **report.pushed_checks}
    rows = [{"check": name, **one.model_dump(mode="json")} for name, one in checks.items()]
    run.artifacts += [
        Artifact("markdown", f"{key}-summary", f"{report.sentence}\n"),
        Artifact("table", f"{key}-checks", rows),
    ]


def _status(run: Run, config: Health, report: HealthReport) -> StatusPage:
    now, name = datetime.now(UTC), run.environment.name
    return build(
        name,
        now.astimezone(run.settings.timezone),
        (*report.api_health, *report.pushed_checks),
        kept.intervals(run.ledger, name, Window(now - timedelta(days=DAYS), now)),
        kept.response_times(run.ledger, name, Window(now - timedelta(days=1), now)),
        run.findings,
        [one for one in planned_at(run.ledger, config, now) if one.environment in ("", name)],
    )
