"""A conclusion of a check or an analysis: sentence, evidence, estimate."""

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from tasks.core.outside import shortened
from tasks.core.severity import Severity
from tasks.core.verdict import Breach, CheckResult
from tasks.core.window import iso

# failed checks of suites are findings too; analyses have kinds of their own
CHECK = "check"
# the newest value of a run that is up to date is at most about a cell and a step old
_RECENT = timedelta(hours=2)
LONGEST_SENTENCE = 1000


# what a sentence says at its end while it holds
STILL = ", still failing"


@dataclass(frozen=True)
class Finding:
    """One conclusion.

    `subject` names a measurement, a cell or a run; `hint` is the advice. `estimate` is the number
    behind the sentence, `low` and `high` its interval at `level` (0 to 1), and `n` the number of
    observations; None where there is no such number.
    """

    kind: str
    severity: Severity
    sentence: str
    evidence: Mapping[str, Any]
    estimate: float | None = None
    low: float | None = None
    high: float | None = None
    level: float | None = None
    n: int | None = None
    subject: str = ""
    hint: str = ""

    def __post_init__(self) -> None:
        object.__setattr__(self, "sentence", shortened(self.sentence, LONGEST_SENTENCE))

    @property
    def fingerprint(self) -> str:
        """Return 16 hex digits of kind and subject, equal in every run."""
        return fingerprint_of(self.kind, self.subject)


def fingerprint_of(kind: str, subject: str) -> str:
    """Return the fingerprint of a finding of this kind and subject."""
    return hashlib.blake2b(f"{kind}\0{subject}".encode(), digest_size=8).hexdigest()


Earlier = Callable[[Finding], Finding | None]


def no_earlier(_: Finding) -> Finding | None:
    """Return no finding: nothing is known of earlier runs."""
    return None


def finding_of(
    measurement: str, check: CheckResult, at: datetime, earlier: Earlier = no_earlier
) -> Finding:
    """Return a failed check as a finding, in the words of the time and zone of `at`.

    When the check has failed since its data's start, its time begins in the earlier finding.
    """
    breach, subject = check.breach, f"{measurement}: {check.check_id}"
    evidence: dict[str, Any] = {
        "measurement": measurement,
        "check": check.check_id,
        "field": check.column,
        "observed": breach.observed if breach else check.observed,
        "limit": breach.limit if breach else check.limit,
        "offending": check.offending,
        "others": breach.others if breach else 0,
        **dict.fromkeys(("series", "first", "last", "holds")),
    }
    what = f"{check.check_id}: observed {check.observed}, limit {check.limit}"
    if check.problem:
        what = f"{check.check_id} could not run: {check.problem}"
    if breach is None:
        return Finding(CHECK, check.severity, f"{measurement}: {what}", evidence, subject=subject)
    evidence |= {"series": breach.series, "last": iso(breach.last), "holds": breach.holds}
    first, now = breach.first, Finding(CHECK, check.severity, "", evidence, subject=subject)
    before = earlier(now) if breach.from_start else None
    if before is not None and _goes_on(before.evidence, breach):
        first = min(first, datetime.fromisoformat(before.evidence["first"]))
    evidence["first"] = iso(first)
    what = breach.what if _is_current(breach, at) else breach.was
    sentence = f"{measurement}: {what}, {_times(first, breach, at)}"
    return Finding(CHECK, check.severity, sentence, evidence, subject=subject)


def _goes_on(before: Mapping[str, Any], breach: Breach) -> bool:
    """Return whether the series failed up to the data of the breach."""
    return bool(
        before.get("holds")
        and before["series"] == breach.series
        and datetime.fromisoformat(before["last"]) <= breach.last
    )


def _is_current(breach: Breach, at: datetime) -> bool:
    # data of the future come from a clock that is wrong
    return breach.holds and timedelta() <= at - breach.last <= _RECENT


def _times(first: datetime, breach: Breach, at: datetime) -> str:
    begin, end = (clock_of(moment, at) for moment in (first, breach.last))
    if _is_current(breach, at):
        return f"since {begin}{STILL}"
    span = f"at {begin}" if begin == end else f"{begin} to {end}"
    return f"{span}, where its data end" if breach.holds else f"{span}, no longer failing"


def clock_of(moment: datetime, at: datetime) -> str:
    """Return a time as sentences have it, in the zone of `at`; with its day if not the same."""
    moment = moment.astimezone(at.tzinfo)
    is_today = moment.date() == at.date()
    return f"{moment:%H:%M}" if is_today else f"{moment.day} {moment:%b %H:%M}"
