"""What a check or an analysis concludes: a sentence, its evidence, and a number with its interval."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from tasks.core.severity import Severity

# failed checks of suites are findings too; what an analysis finds has kinds of its own
CHECK = "check"


@dataclass(frozen=True)
class Finding:
    """One conclusion.

    `subject` is what it is about (a measurement, a cell, a run), `hint` what to do about it.
    `estimate` is the number that it rests on, `low` and `high` its interval at `level` (0 to 1), and
    `n` how many observations there are; None where there is no such number.
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

    @property
    def fingerprint(self) -> str:
        """Sixteen hexadecimal digits of kind and subject: the same finding in another run has the same."""
        text = f"{self.kind}\0{self.subject}"
        return hashlib.blake2b(text.encode(), digest_size=8).hexdigest()
