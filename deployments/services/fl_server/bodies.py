"""Bodies of the REST API. Shares are 0 to 1, times in seconds, moments UTC."""

from datetime import datetime
from typing import Literal

from pydantic import BaseModel, ConfigDict

from deployments.services.fl_server.federation import ClientState
from deployments.services.fl_server.training import TrainingState

Condition = Literal["ok", "degraded", "failed"]


class Body(BaseModel):
    """Root of all bodies: only declared fields are allowed."""

    model_config = ConfigDict(extra="forbid", frozen=True, from_attributes=True)


class Health(Body):
    """GET /health: the process answers."""

    status: Literal["ok"] = "ok"


class Check(Body):
    """One check of /health/detailed."""

    status: Condition
    detail: str


class DetailedHealth(Body):
    """GET /health/detailed; status is the worst of the checks."""

    status: Condition
    uptime_seconds: float
    version: str
    checks: dict[str, Check]


class TrainingSummary(Body):
    """The run, in /api/status."""

    run_id: str
    state: TrainingState


class RequestSummary(Body):
    """Requests answered since the start; failed are those of status 500 or more."""

    total: int
    failed: int


class StorageSummary(Body):
    """The file system that holds the model."""

    used_bytes: int
    total_bytes: int


class Status(Body):
    """GET /api/status."""

    status: Condition
    environment: str
    version: str
    uptime_seconds: float
    training: TrainingSummary
    requests: RequestSummary
    storage: StorageSummary


class ClientCount(Body):
    """GET /api/clients/count; active are those whose update the last round used."""

    total: int
    connected: int
    active: int


class TrainingStatus(TrainingSummary):
    """GET /api/training/status; current_round is the last finished one, or 0."""

    current_round: int
    total_rounds: int
    last_round_at: datetime | None


class TrainingProgress(Body):
    """GET /api/training/progress."""

    run_id: str
    current_round: int
    total_rounds: int
    active_clients: int
    global_accuracy: float
    convergence_rate: float


class Participation(Body):
    """GET /api/clients/participation; the rate is active / total."""

    total_clients: int
    active_clients: int
    participation_rate: float
    avg_data_quality: float


class PrivacyStatus(Body):
    """GET /api/privacy/status; utilization is the used share of the budget."""

    epsilon_remaining: float
    delta_used: float
    privacy_budget_utilization: float
    epsilon_budget: float
    noise_multiplier: float
    sampling_rate: float


class HistoryClient(Body):
    """One drawn client of a round; accuracy and seconds are null when it was dropped."""

    id: str
    examples: int
    accuracy: float | None
    seconds: float | None
    state: ClientState
    data_quality: float


class HistoryRound(Body):
    """One finished round; epsilon is the total spent up to its end."""

    round: int
    started: datetime
    seconds: float
    loss: float
    accuracy: float
    epsilon: float
    clients: list[HistoryClient]


class TrainingHistory(Body):
    """GET /api/training/history: the rounds after `since`, oldest first."""

    run_id: str
    delta: float
    sampling_rate: float
    noise_multiplier: float
    epsilon_budget: float
    rounds: list[HistoryRound]


class FaultCount(Body):
    """DELETE /testing/faults: how many faults were removed."""

    cleared: int
