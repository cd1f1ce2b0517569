"""One round of health checks: samples of all endpoints, and the states that follow."""

from collections.abc import Iterable, Iterator
from datetime import UTC, datetime

from tasks.analysis.health.controls import excuse
from tasks.analysis.health.states import Rules, advance_all
from tasks.core.documents import closest
from tasks.core.errors import NothingConfigured, UsageInvalid
from tasks.core.health import FILE, Health, Key, Push, Sample, Track
from tasks.core.maintenance_windows import Maintenance, maintenance_at
from tasks.core.services import Environment
from tasks.core.window import iso
from tasks.ledger import health as kept
from tasks.ledger.ledger import Ledger
from tasks.sources.probe import probe_all


def require_checks(health: Health, environment: Environment) -> None:
    """Raise NothingConfigured when the environment has nothing to check."""
    if not health.targets(environment) and not health.pushed_in(environment.name):
        raise NothingConfigured(
            where=f"environment {environment.name}",
            problem="there is no address to check",
            fix=f"Set {environment.setting('api_url')}, or give an endpoint a url in {FILE}",
        )


def take_samples(
    health: Health,
    environments: Iterable[Environment],
    only: frozenset[Key] | None = None,
    *,
    certificates: bool = False,
) -> list[Sample]:
    """Ask endpoints, or only some, and the controls, side by side; needs no ledger.

    Samples of controls belong to no environment.
    """
    named = {one.name: one for one in environments}
    targets = [target for one in named.values() for target in health.targets(one)]
    if only is not None:
        targets = [target for target in targets if Key(target.environment, target.check) in only]
    services = {n: one.services["api"] for n, one in named.items() if "api" in one.services}
    samples, controls = probe_all(
        targets, services, health.controls, health.timeout, certificates=certificates
    )
    return [*excuse(samples, controls), *controls]


def record_samples(
    ledger: Ledger, health: Health, samples: Iterable[Sample], environments: Iterable[str]
) -> list[Sample]:
    """Record samples and the states that follow; return them with those of pushed checks."""
    now, known = datetime.now(UTC), kept.pushes(ledger)
    taken = [*samples, *_pushed(ledger, health, environments, known, now)]
    rules = Rules(health.failures, health.successes, health.gap)
    # a round may have waited for the ledger
    oldest = min((one.at for one in taken), default=now)
    planned = [one for at in (oldest, now) for one in planned_at(ledger, health, at)]
    kept.record_samples(ledger, taken, lambda tracks: advance_all(tracks, taken, rules, planned))
    return taken


def planned_at(ledger: Ledger, health: Health, at: datetime) -> list[Maintenance]:
    """Return the maintenance of a moment, of the configuration and started by hand."""
    return maintenance_at(health.maintenance, kept.started_maintenance(ledger, at), at)


def is_undecided(track: Track, sample: Sample) -> bool:
    """Return whether more samples would decide on a state, and soon."""
    return track.streak is not None and not sample.is_late


def _pushed(
    ledger: Ledger,
    health: Health,
    environments: Iterable[str],
    known: dict[Key, Push],
    now: datetime,
) -> Iterator[Sample]:
    """Judge pushed checks by their last report; the first is due from when it is first expected."""
    for environment in environments:
        for name, check in health.pushed_in(environment).items():
            push = known.get(Key(environment, name))
            if push is None:
                push = Push(environment, name, None, now + check.every + check.grace)
                kept.expect_push(ledger, push)
            yield _sample_of(push, now)


def _sample_of(push: Push, now: datetime) -> Sample:
    key = push.environment, push.check
    if now > push.deadline:
        last = f"the last one came at {iso(push.at)}" if push.at else "none came yet"
        error = f"no report by {iso(push.deadline)}; {last}"
        return Sample(*key, now, "error", error=error)
    if push.failed:
        return Sample(*key, now, "unhealthy", error="the job reported a failure")
    # before the first report nothing is known
    return Sample(*key, now, "healthy", excused=push.at is None)


def push_report(
    ledger: Ledger, health: Health, environment: str, name: str, *, failed: bool = False
) -> Push:
    """Keep the report of a pushed check; its next one is due `every` and `grace` later.

    Raises:
        UsageInvalid: the environment has no pushed check of this name.
    """
    checks = health.pushed_in(environment)
    if name not in checks:
        raise _unknown(name, environment, checks)
    now, check = datetime.now(UTC), checks[name]
    push = Push(environment, name, now, now + check.every + check.grace, failed)
    kept.keep_push(ledger, push)
    return push


def _unknown(name: str, environment: str, known: Iterable[str]) -> UsageInvalid:
    close = closest(name, known)
    question = f"Did you mean {close}? " if close else ""
    return UsageInvalid(
        argument="NAME",
        problem=f"{name!r} is no pushed check of {environment}",
        fix=f"{question}Pushed checks are listed in {FILE}: pushed",
    )
