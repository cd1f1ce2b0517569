"""A convergence report with everything in it."""

from datetime import UTC, datetime

from tasks.analysis.client_columns import DROPPED, LATE, REPORTED
from tasks.analysis.interval import Interval
from tasks.core.finding import Finding
from tasks.core.severity import Severity
from tasks.reports.convergence.records import (
    NOT_DRAWN,
    BurnChart,
    ClientLine,
    ComparisonLine,
    ConvergenceReport,
    CurveChart,
    HeatChart,
    Number,
    Part,
    RunSection,
)

ROUNDS = tuple(range(1, 31))
AHEAD = tuple(range(31, 61))
NASTY = "<b>site & co</b>"


def section(name: str = "fl-7") -> RunSection:
    values = tuple(0.9 * (1 - 0.9**n) for n in ROUNDS)
    fan = tuple(
        tuple(0.85 + 0.001 * n + step for n in range(30)) for step in (-0.04, -0.02, 0, 0.02, 0.04)
    )
    burn = tuple(tuple(3 - 0.1 * n + step for n in range(30)) for step in (-0.4, -0.2, 0, 0.2, 0.4))
    kinds = (REPORTED, REPORTED, LATE, NOT_DRAWN, DROPPED)
    states = tuple(tuple(kinds[(row + n) % 5] for n in range(30)) for row in range(3))
    return RunSection(
        name=name,
        source="fl-progress.json",
        verdict="improving",
        sentence="Improving by 0.0028 a round (0.0018 to 0.0036); now at 0.861.",
        metric="accuracy",
        rounds_seen=30,
        curve=CurveChart(ROUNDS, values, True, "accuracy", AHEAD, fan, 0.88, (7,), None),
        numbers=(
            Number("accuracy now", "86.1 %", "85.2 to 87.0 % (80%)"),
            Number("rounds to the target", None, None, "no target is set"),
        ),
        advice="Go on: there is more to gain.",
        advice_further="30 further rounds are expected to gain 0.02.",
        forecast_note="The forecast rests on the 30 rounds of this run alone.",
        time=Part("Time", "A round takes 10.8 s.", (Number("one round", "10.8 s", "9.6 to 13 s"),), ("x is not known",)),
        privacy=Part("Privacy", "Epsilon 3 of 6 is spent.", (Number("budget", "6"),), ("nothing is recomputed",)),
        burn=BurnChart(
            ROUNDS, tuple(6 - 0.1 * n for n in ROUNDS), 6.0, AHEAD, burn,
            Interval(52, 45, 58, 0.8), Interval(40, 36, 47, 0.8),
        ),
        participation=Part("Participation and fairness", "3 clients a round.", (Number("drop-outs", "20 %"),)),
        heat=HeatChart((NASTY, "a", "b"), ROUNDS, states),
        clients=(ClientLine(NASTY, 30, "6 of 30", None, "71 %", "1,200", "9 s"),),
        findings=(Finding("rounds_missing", Severity.INFO, "2 rounds are missing.", {}),),
        notes=("something was left out",),
    )  # fmt: skip


def single() -> ConvergenceReport:
    return ConvergenceReport(
        (section(),),
        datetime(2025, 3, 1, 10, tzinfo=UTC),
        {"runs": [], "comparison": None},
        "staging",
    )


def several() -> ConvergenceReport:
    line = ComparisonLine(
        "a", "b", "a", 30, "+0.1", None, "a is better: at round 30 a is 0.1 ahead of b.", ()
    )
    return ConvergenceReport(
        (section("a"), section("b")), datetime(2025, 3, 1, 10, tzinfo=UTC), {"runs": [], "comparison": []},
        comparison=(line,), notes=("the lake's runs were skipped",),
    )  # fmt: skip
