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
        return f"{self.slo}: {self.shown}: {good}, {self.budget_left:.1%} of the budget left"


class SloReport(BaseModel):
    """All SLOs of an environment."""

    model_config = ConfigDict(frozen=True)

    slos: tuple[SloLine, ...] = ()

    @property
    def sentence(self) -> str:
        """Return how many are in which state, the worst ones by name."""
        if not self.slos:
            return "no SLOs"
        wrong = [each for each in self.slos if each.state not in ("ok", "partial")]
        parts = [f"{each.slo} {each.shown}" for each in wrong]
        good = len(self.slos) - len(wrong)
        return "; ".join([*parts, *([f"{good} of {len(self.slos)} SLOs kept"] if good else [])])
