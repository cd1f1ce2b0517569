"""A conclusion of a check or an analysis: sentence, evidence, estimate."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from tasks.core.outside import shortened
from tasks.core.severity import Severity

# failed checks of suites are findings too; analyses have kinds of their own
CHECK = "check"
LONGEST_SENTENCE = 1000


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
        text = f"{self.kind}\0{self.subject}"
        return hashlib.blake2b(text.encode(), digest_size=8).hexdigest()
