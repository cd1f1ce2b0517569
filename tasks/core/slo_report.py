"""Results of the run `slo`: each SLO's state, budget and burn rates."""

from pydantic import BaseModel, ConfigDict


class SloLine(BaseModel):
    """One SLO; `covered_seconds` of its window have data, None stands for no events."""

    model_config = ConfigDict(frozen=True)

    slo: str
    state: str
    mode: str
    objective: float
    good_ratio: float | None
    budget_left: float | None
    bad_events: float
    total_events: float
    covered_seconds: float
    window_seconds: float
    burn_rates: dict[str, float | None]
    burning: tuple[str, ...]
    at: str
    definition: str
    problem: str = ""
    good_without_maintenance: float | None = None
    maintenance_minutes: float = 0.0
    spent_within: dict[str, float] = {}
    spent_after_days: float | None = None
    spent_after_low: float | None = None
    spent_after_high: float | None = None
    too_little_data: str = ""
    traffic_change: float | None = None
    bad_before: float | None = None
    bad_now: float | None = None
    is_changed: bool = False

    @property
    def shown(self) -> str:
        """Return the state in words."""
        if self.state != "partial":
            return " ".join((self.state, *self.burning))
        have, of = (f"{s / 86_400:.3g}" for s in (self.covered_seconds, self.window_seconds))
        return f"partial ({have} of {of} d)"

    @property
    def sentence(self) -> str:
        """Return the line in words."""
        if self.problem:
            return f"{self.slo}: failed: {self.problem}"
        if self.good_ratio is None or self.budget_left is None:
            return f"{self.slo}: {self.shown}"
        good = f"{self.good_ratio:.4%} good (objective {self.objective:g})"
        left = f"{self.budget_left:.1%} of the budget left"
        return f"{self.slo}: {self.shown}: {good}, {left}{self.outlook and f'; {self.outlook}'}"

    @property
    def outlook(self) -> str:
        """Return in words when the budget is spent."""
        if self.too_little_data:
            return f"forecast: too_little_data ({self.too_little_data})"
        if not self.spent_within:
            return ""
        when = days_text(self.spent_after_low, self.spent_after_days, self.spent_after_high)
        chances = ", ".join(f"{share:.0%} in {n}" for n, share in self.spent_within.items())
        return f"budget spent: {when}; chance {chances}"


class RunsOut(BaseModel):
    """A disk, or epsilon: days until nothing is left; None: not within 90 days."""

    model_config = ConfigDict(frozen=True)

    what: str
    low: float | None = None
    day: float | None = None
    high: float | None = None
    needs: str = ""

    @property
    def sentence(self) -> str:
        """Return the line in words."""
        if self.needs:
            return f"{self.what}: too_little_data ({self.needs})"
        return f"{self.what}: runs out {days_text(self.low, self.day, self.high, '90 d')}"


def days_text(
    low: float | None, day: float | None, high: float | None, within: str = "the window"
) -> str:
    """Return a day with its 80 % interval in words."""
    if low is None:
        return f"not within {within}"
    if high == 0:
        return "already"
    middle = f"not within {within}" if day is None else f"in {day:.1f} d"
    most = f"not within {within}" if high is None else f"{high:.1f} d"
    return f"{middle} (80 %: {low:.1f} d to {most})"


class SloReport(BaseModel):
    """All SLOs of an environment, and the day on which disks and epsilon run out."""

    model_config = ConfigDict(frozen=True)

    slos: tuple[SloLine, ...] = ()
    runs_out: tuple[RunsOut, ...] = ()

    @property
    def sentence(self) -> str:
        """Return how many are in which state, the worst ones by name."""
        if not self.slos:
            return "no SLOs"
        wrong = [each for each in self.slos if each.state not in ("ok", "partial")]
        parts = [f"{each.slo} {each.shown}" for each in wrong]
        good = len(self.slos) - len(wrong)
        return "; ".join([*parts, *([f"{good} of {len(self.slos)} SLOs kept"] if good else [])])
