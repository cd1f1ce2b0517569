"""SLOs as the page shows them: one that burns and changed, a good one, a new one, and a failed one."""

from datetime import UTC, datetime, timedelta
from functools import cache

import numpy as np

from tasks.analysis.slo.counting import Events
from tasks.analysis.slo.status import Status, judge
from tasks.core.maintenance_windows import Maintenance
from tasks.core.slo_report import RunsOut, SloReport
from tasks.core.slos import Slo
from tasks.reports.slo.page import Recorded, SloView

AT = datetime(2026, 11, 30, 7, tzinfo=UTC)
MINUTE, HOUR = timedelta(minutes=1), timedelta(hours=1)
PLANNED = Maintenance(AT - 50 * HOUR, AT - 48 * HOUR)


def slo(name: str, mode: str = "alert") -> Slo:
    ratio = {"total": "t", "bad": "b"}
    return Slo.model_validate(
        {"id": name, "objective": 0.99, "mode": mode, "ratio": ratio, "summary": "requests <fail>"}
    )


def events(share: float, days: int, last: float | None = None) -> Events:
    """Three events a minute; of the last two hours another share is bad."""
    rng = np.random.default_rng(3)
    total = rng.poisson(3, days * 1440)
    shares = np.full(len(total), share)
    shares[-120:] = share if last is None else last
    bad = rng.binomial(total, shares).astype(float)
    ends = np.arange(len(total))[::-1] * MINUTE
    planned = np.array([PLANNED.start < AT - end <= PLANNED.until for end in ends])
    counts = total.astype(float)
    return Events(AT, MINUTE, counts, bad, total >= 0, counts * planned, bad * planned)


@cache
def views() -> tuple[SloView, ...]:
    found = [
        judge(slo("availability"), "production", events(0.004, 30, 0.4), MINUTE, [PLANNED]),
        judge(
            slo("a_name_that_is_long_enough_to_wrap", "observe"),
            "production",
            events(0.002, 30),
            MINUTE,
        ),
        judge(slo("new"), "production", events(0.02, 2), MINUTE),
        Status(slo("broken"), "failed", AT, problem="Prometheus does not answer"),
    ]
    old = [Recorded(AT - (720 - 6 * at) * HOUR, 0.9 - at / 60, "old") for at in range(40)]
    return tuple(SloView(each, each.line(), old if each is found[0] else []) for each in found)


def report() -> SloReport:
    runs_out = (
        RunsOut(what="disk node-1 /data", low=3.2, day=8.1),
        RunsOut(what="epsilon", needs="2 of 3 hours"),
    )
    return SloReport(slos=tuple(each.line for each in views()), runs_out=runs_out)
