"""The verdict on an environment's health: findings, and the document of the run."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from urllib.parse import urlsplit

from tasks.analysis.health.controls import severity_of_blindness
from tasks.analysis.health.states import bad_since
from tasks.core.finding import STILL, Finding, clock_of
from tasks.core.health import Health, HostSample, Interval, Key, Sample, Target, Track
from tasks.core.health_report import (
    WORST_FIRST,
    CheckHealth,
    FederatedLearning,
    HealthReport,
    Overall,
    SystemResources,
)
from tasks.core.maintenance_windows import Maintenance, covering
from tasks.core.severity import Severity
from tasks.core.thresholds import FILE, Threshold, read_thresholds
from tasks.core.window import Window, iso
from tasks.ledger import health as kept
from tasks.runs.base.run import Run
from tasks.runs.health.round import planned_at

HEALTH, BLIND, STALLED = "health", "cannot_see", "training_stalled"
CERTIFICATE, HOST, PUSHED = "certificate", "host", "pushed_check"
# a state of weeks is said to begin here at the latest
_LOOK_BACK = timedelta(days=30)
_LIMITS = {"host_cpu": "cpu_ratio", "host_memory": "memory_ratio", "host_disk": "disk_ratio"}


@dataclass(frozen=True)
class Seen:
    """What a run saw: the newest samples, states, the machine now and on the mean, the training.

    `mean` is None where there are no figures for most of 10 minutes.
    """

    samples: Mapping[Key, Sample]
    tracks: Mapping[Key, Track]
    host: HostSample | None
    mean: HostSample | None
    training: FederatedLearning


@dataclass(frozen=True)
class Case:
    """What findings are made from."""

    environment: str
    is_local: bool
    config: Health
    seen: Seen
    targets: Mapping[str, Target]
    history: list[Interval]
    no_data: Severity
    limits: tuple[Threshold, ...]
    at: datetime

    def finding(
        self, kind: str, about: str, severity: Severity, text: str, since: datetime
    ) -> Finding:
        """Return a finding on one check."""
        sentence = f"{self.environment}: {text}"
        evidence = {"environment": self.environment, "check": about, "since": iso(since)}
        return Finding(kind, severity, sentence, evidence, subject=f"{self.environment} {about}")


def judge(run: Run, config: Health, seen: Seen) -> HealthReport:
    """Add the run's findings, and return its document.

    What is in maintenance is no finding, of whatever kind.
    """
    now, name = datetime.now(UTC), run.environment.name
    planned = planned_at(run.ledger, config, now)
    targets = {target.check: target for target in config.targets(run.environment)}
    case = Case(
        environment=name,
        is_local=run.environment.is_local,
        config=config,
        seen=seen,
        targets=targets,
        history=kept.intervals(run.ledger, name, Window(now - _LOOK_BACK, now)),
        no_data=config.severity_of_no_data(name, run.settings.default_environment),
        limits=read_thresholds(run.settings.config_file(FILE)),
        at=now.astimezone(run.settings.timezone),
    )
    every = (*_findings(case), *_of_thresholds(run))
    found = sorted(every, key=lambda one: one.severity.rank)
    run.findings += (one for one in found if covering(planned, name, _about(one), now) is None)
    return _document(case, run.findings, planned, now)


def _findings(case: Case) -> Iterator[Finding]:
    for key, sample in case.seen.samples.items():
        if key.environment == case.environment:
            yield from _of_check(case, sample, case.seen.tracks[key])
    yield from _of_certificates(case)
    yield from _of_controls(case)
    yield from _of_training(case)
    yield from _of_host(case)


def _of_check(case: Case, sample: Sample, track: Track) -> Iterator[Finding]:
    check, current = sample.check, track.interval
    pushed = case.config.pushed.get(check)
    kind = HEALTH if pushed is None else PUSHED
    severity = pushed.severity if pushed else case.targets[check].endpoint.severity
    if sample.excused:
        if case.at - current.start >= case.config.no_data_after and current.state == "no_data":
            text = f"{check} has no data since {clock_of(current.start, case.at)}"
            yield case.finding(HEALTH, check, case.no_data, text, current.start)
    elif sample.state == current.state and sample.state != "up":
        since = bad_since(case.history, track)
        severity = severity if current.state == "down" else Severity.WARNING
        what = f"is {current.state} since {clock_of(since, case.at)}"
        text = f"{check} {what} ({sample.error}){STILL}"
        yield case.finding(kind, check, severity, text, since)
    elif sample.state != "up":
        # one failure amid a good state is not yet an outage
        is_first = current.state == "up" or sample.degraded
        severity = Severity.WARNING if is_first else severity
        text = (
            f"{check} fails now ({sample.error}); it is down after {case.config.failures} in a row"
        )
        yield case.finding(kind, check, severity, text, sample.at)


def _of_certificates(case: Case) -> Iterator[Finding]:
    limit, hosts = case.config.certificate_days, set()
    for check, target in case.targets.items():
        sample = case.seen.samples.get(Key(case.environment, check))
        host = urlsplit(target.url).netloc.rpartition("@")[2]
        days = sample.certificate_days if sample else None
        if days is None or days >= limit or host in hosts:
            continue
        hosts.add(host)
        ends = f"expires in {days:.1f} days" if days > 0 else f"expired {-days:.1f} days ago"
        text = f"the certificate of {host} {ends} (limit {limit:g} days)"
        severity = Severity.WARNING if days > 0 else Severity.HIGH
        yield case.finding(CERTIFICATE, check, severity, text, case.at)


def _of_controls(case: Case) -> Iterator[Finding]:
    keys = [Key("", url) for url in case.config.controls]
    samples = [case.seen.samples[key] for key in keys]
    if not samples or any(one.answered for one in samples):
        return
    tracks = (case.seen.tracks[key].interval for key in keys)
    since = max(one.start if one.state == "down" else case.at for one in tracks)
    text = f"the checker cannot see since {clock_of(since, case.at)}: no control answers ({samples[0].error})"
    yield case.finding(BLIND, "controls", severity_of_blindness(since, case.at), text, since)


def _of_training(case: Case) -> Iterator[Finding]:
    training, check = case.seen.training, case.config.training
    if check is None or not training.stalled or training.since is None:
        return
    since = datetime.fromisoformat(training.since)
    text = f"the training runs, and is in round {training.round} since {clock_of(since, case.at)}"
    yield case.finding(STALLED, "training", check.severity, text, since)


def _of_host(case: Case) -> Iterator[Finding]:
    for limit in case.limits:
        figure = _LIMITS.get(limit.id)
        # one second says nothing of a CPU
        measured = case.seen.mean or (None if figure == "cpu_ratio" else case.seen.host)
        if figure is None or measured is None or not limit.applies_in(case.environment):
            continue
        value = getattr(measured, figure)
        if limit.breaks(value):
            text = f"{limit.summary}: {value:.0%} (limit {limit.value:.0%})"
            yield case.finding(HOST, limit.id, limit.severity, text, case.at)


def _of_thresholds(run: Run) -> Iterator[Finding]:
    """Yield what fires of all thresholds but the machine's, in mode alert."""
    from tasks.runs.base.thresholds import NO_PROMETHEUS, evaluate

    problems: dict[str, None] = {}
    for one in evaluate(run.settings, run.environment, run.lake, run.now):
        if one.threshold.id in _LIMITS:
            continue
        if one.state == "failed" and one.problem != NO_PROMETHEUS:
            problems[one.problem] = None
        elif one.is_finding and one.is_bad:
            yield one.finding()
    run.notes += (f"thresholds are not judged: {problem}" for problem in problems)


def _about(finding: Finding) -> str:
    """Return the check, or the threshold, that a finding is about."""
    return str(finding.evidence.get("check") or finding.evidence["rule"])


def _document(
    case: Case, findings: list[Finding], planned: list[Maintenance], now: datetime
) -> HealthReport:
    def shown(names: Iterable[str]) -> dict[str, CheckHealth]:
        keys = ((name, Key(case.environment, name)) for name in names)
        seen = case.seen
        return {n: _shown(seen.samples[k], seen.tracks[k]) for n, k in keys if k in seen.samples}

    endpoints, pushed = shown(case.targets), shown(case.config.pushed_in(case.environment))
    counted = {
        name: one
        for name, one in {**endpoints, **pushed}.items()
        if covering(planned, case.environment, name, now) is None
    }
    is_bad = any(one.status != "healthy" for one in counted.values())
    is_found = any(one.kind in (HOST, STALLED) or one.severity.is_grave for one in findings)
    states = {one.state for one in (*endpoints.values(), *pushed.values())}
    overall: Overall = "unhealthy" if is_bad or is_found else "healthy"
    return HealthReport(
        timestamp=now.timestamp(),
        time=iso(now),
        environment=case.environment,
        state=next((state for state in WORST_FIRST if state in states), "no_data"),
        overall_status=overall,
        api_health=endpoints,
        pushed_checks=pushed,
        system_resources=_resources(case),
        federated_learning=case.seen.training,
        findings=tuple(one.sentence for one in findings),
    )


def _shown(sample: Sample, track: Track) -> CheckHealth:
    return CheckHealth(
        status=sample.status,
        response_time=sample.seconds,
        status_code=sample.status_code,
        error=sample.error or None,
        state=track.interval.shown,
        since=iso(track.interval.start),
        certificate_days=sample.certificate_days,
    )


def _resources(case: Case) -> SystemResources:
    def percent(figures: HostSample) -> dict[str, float]:
        names = ("cpu", "memory", "disk")
        return {f"{n}_percent": round(100 * getattr(figures, f"{n}_ratio"), 1) for n in names}

    now, mean = case.seen.host, case.seen.mean
    if now is None:
        return SystemResources()
    loads = (now.load_1m, now.load_5m, now.load_15m)
    return SystemResources(
        source="local" if case.is_local else "node exporter",
        load_average=loads if None not in loads else None,
        mean_10m=percent(mean) if mean else {},
        **percent(now),
    )
