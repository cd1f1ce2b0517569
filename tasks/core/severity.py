"""The severity of checks, alerts and findings, and its names in other systems."""

from enum import StrEnum
from typing import NamedTuple


class Severity(StrEnum):
    """Severity of a failed check, an alert or a finding."""

    CRITICAL = "critical"
    HIGH = "high"
    WARNING = "warning"
    INFO = "info"

    @property
    def rank(self) -> int:
        """Return 0 for critical, growing as it matters less."""
        return list(Severity).index(self)

    @property
    def is_grave(self) -> bool:
        """Return whether a run that finds it ends with exit code 1."""
        return self.rank <= Severity.HIGH.rank


class Names(NamedTuple):
    """Names of one severity in other systems."""

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
    """Return the most severe of them, None when there is none."""
    return min(severities, key=lambda severity: severity.rank, default=None)
