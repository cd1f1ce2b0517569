"""One severity for checks, alerts and findings, and what the outside world calls it."""

from enum import StrEnum
from typing import NamedTuple


class Severity(StrEnum):
    """How bad a failed check, an alert or a finding is."""

    CRITICAL = "critical"
    HIGH = "high"
    WARNING = "warning"
    INFO = "info"

    @property
    def rank(self) -> int:
        """0 for critical, growing as it matters less."""
        return list(Severity).index(self)

    @property
    def is_grave(self) -> bool:
        """Whether a run that finds it ends with exit code 1."""
        return self.rank <= Severity.HIGH.rank


class Names(NamedTuple):
    """What one severity is called elsewhere."""

    great_expectations: str
    alertmanager: str
    pagerduty: str
    github_label: str


NAMES: dict[Severity, Names] = {
    Severity.CRITICAL: Names("critical", "critical", "critical", "severity-critical"),
    Severity.HIGH: Names("warning", "high", "error", "severity-high"),
    Severity.WARNING: Names("warning", "warning", "warning", "severity-warning"),
    Severity.INFO: Names("info", "info", "info", "severity-info"),
}


def worst(severities: list[Severity]) -> Severity | None:
    """The most severe of them, None when there is none."""
    return min(severities, key=lambda severity: severity.rank, default=None)
