"""What an analysis concludes: a sentence, its evidence, and a number with its interval."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from tasks.core.severity import Severity


@dataclass(frozen=True)
class Finding:
    """One conclusion.

    `estimate` is the number that it is about, `low` and `high` its interval at `level` (0 to 1), and
    `n` how many observations it rests on; None where there is no such number.
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
