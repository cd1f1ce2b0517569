"""The document health-report.json; docs/schemas has its schema."""

from typing import Any, Literal

from pydantic import Field

from tasks.core.documents import Strict
from tasks.core.health import SampleStatus, State
from tasks.core.units import counted

Overall = Literal["healthy", "unhealthy"]
# from bad to good, for the state of an environment
WORST_FIRST: tuple[State, ...] = ("down", "degraded", "no_data", "maintenance", "up")


class CheckHealth(Strict):
    """One check: its newest sample, and its state over several; times in ISO 8601."""

    status: SampleStatus
    response_time: float | None = Field(description="seconds; null without an answer")
    status_code: int | None = None
    error: str | None = None
    state: State
    since: str = Field(description="since when the state lasts")
    certificate_days: float | None = Field(default=None, description="days left; null without TLS")


class SystemResources(Strict):
    """The machine of an environment; the verdict is on `mean_10m` where there is one."""

    source: Literal["local", "node exporter", "not measured"] = "not measured"
    cpu_percent: float | None = Field(default=None, description="of one second, if local")
    memory_percent: float | None = None
    disk_percent: float | None = None
    load_average: tuple[float, float, float] | None = Field(
        default=None, description="of 1, 5 and 15 minutes"
    )
    mean_10m: dict[str, float] = Field(
        default_factory=dict, description="means of 10 minutes of the three percentages"
    )


class FederatedLearning(Strict):
    """The training, as its service reports it."""

    state: str | None = None
    round: int | None = None
    total_rounds: int | None = None
    stalled: bool = Field(default=False, description="it runs, and its rounds do not move")
    since: str | None = Field(default=None, description="since when it is in this round")
    error: str | None = None


class HealthReport(Strict):
    """The health of an environment; `state` is the worst of its checks."""

    timestamp: float = Field(description="seconds since 1970 (UTC)")
    time: str = Field(description="the same in ISO 8601")
    environment: str
    state: State
    overall_status: Overall
    api_health: dict[str, CheckHealth]
    pushed_checks: dict[str, CheckHealth] = Field(default_factory=dict)
    system_resources: SystemResources
    federated_learning: FederatedLearning
    findings: tuple[str, ...] = Field(default=(), description="sentences, worst first")
    environments: "dict[str, HealthReport]" = Field(
        default_factory=dict, description="the other environments that the command checked"
    )

    @property
    def is_healthy(self) -> bool:
        """Return whether this environment, and all others here, are healthy."""
        every = (self, *self.environments.values())
        return all(one.overall_status == "healthy" for one in every)

    @property
    def sentence(self) -> str:
        """Return the worst finding, and how many checks are well."""
        checks = (*self.api_health.values(), *self.pushed_checks.values())
        well = sum(check.status == "healthy" for check in checks)
        planned = sum(check.state == "maintenance" for check in checks)
        counts = f"{self.overall_status}: {well} of {len(checks)} checks are well"
        counts += f", {planned} in maintenance" if planned else ""
        more = len(self.findings) - 1
        others = [counted(more, "more problem")] if more > 0 else []
        return "; ".join((*self.findings[:1], *others, counts))


def schema() -> dict[str, Any]:
    """Return the JSON schema of the document."""
    return HealthReport.model_json_schema(mode="serialization")
