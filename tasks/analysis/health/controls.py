"""Whether the checker itself can see."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime, timedelta

from tasks.core.health import Sample
from tasks.core.severity import Severity

_HIGH, _CRITICAL = timedelta(minutes=5), timedelta(minutes=15)


def excuse(samples: Sequence[Sample], controls: Sequence[Sample]) -> list[Sample]:
    """Mark the samples of a round that are no evidence, since no control was reached either.

    An answer that arrived is evidence about its target, whatever the controls say.
    """
    is_blind = bool(controls) and not any(control.answered for control in controls)
    return [replace(one, excused=True) if is_blind and not one.answered else one for one in samples]


def severity_of_blindness(since: datetime, now: datetime) -> Severity:
    """Return how severe it is that the checker has not seen since then."""
    if now - since >= _CRITICAL:
        return Severity.CRITICAL
    return Severity.HIGH if now - since >= _HIGH else Severity.WARNING
