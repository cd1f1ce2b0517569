"""Validation results of a batch: checks, and where one failed."""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from tasks.core.severity import Severity


@dataclass(frozen=True)
class Breach:
    """The series in which a check fails worst, and when.

    `what` says it in words: `latency p95 of GET is 812 ms (limit 500)`, or `was as high as` when
    its newest value is better; `was` once it is over. `observed` and `limit` are its two values.
    `first` and `last` are the times of its first and last offending row; `holds` says whether its
    newest row offends, `from_start` whether its oldest does, `others` how many series fail beside it.
    """

    what: str
    was: str
    series: str
    observed: str
    limit: str
    first: datetime
    last: datetime
    holds: bool
    from_start: bool
    others: int = 0


@dataclass(frozen=True)
class CheckResult:
    """Result of one expectation of a suite."""

    check_id: str
    expectation: str
    success: bool
    severity: Severity
    column: str | None
    observed: str
    limit: str
    origin: str
    offending: int = 0
    problem: str = ""
    breach: Breach | None = None


@dataclass(frozen=True)
class Verdict:
    """Validation result of a batch by one suite."""

    suite: str
    checks: tuple[CheckResult, ...] = ()

    @property
    def failed(self) -> tuple[CheckResult, ...]:
        """Return the checks that failed, worst first."""
        return tuple(
            sorted((c for c in self.checks if not c.success), key=lambda c: c.severity.rank)
        )

    def short(self) -> dict[str, Any]:
        """Return {passed, failed, worst}."""
        return {
            "passed": len(self.checks) - len(self.failed),
            "failed": len(self.failed),
            "worst": self.failed[0].severity.value if self.failed else None,
        }


def joined_verdicts(verdicts: Iterable[Verdict]) -> tuple[Verdict, ...]:
    """Merge verdicts by suite, given in the order of their data's time."""
    suites: dict[str, dict[str, CheckResult]] = {}
    for verdict in verdicts:
        checks = suites.setdefault(verdict.suite, {})
        for check in verdict.checks:
            known = checks.get(check.check_id)
            checks[check.check_id] = check if known is None else _later(known, check)
    return tuple(Verdict(suite, tuple(checks.values())) for suite, checks in suites.items())


def _later(known: CheckResult, check: CheckResult) -> CheckResult:
    """Return the result with most offenders, and where the check failed last."""
    kept = max(known, check, key=lambda each: (not each.success, each.offending))
    if check.success and known.breach is not None:
        return replace(kept, breach=replace(known.breach, holds=False))
    return replace(kept, breach=_grown(known.breach, check.breach))


def _grown(known: Breach | None, breach: Breach | None) -> Breach | None:
    if known is None or breach is None:
        return breach or known
    if breach.from_start and known.holds and known.series == breach.series:
        return replace(breach, first=known.first, from_start=known.from_start)
    return breach
