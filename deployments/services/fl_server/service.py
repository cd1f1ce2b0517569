"""The service's state, and the bodies built from it, without HTTP."""

import shutil
import time
from dataclasses import dataclass, field
from typing import TypeVar

from deployments.services.fl_server import bodies
from deployments.services.fl_server.faults import FaultBoard
from deployments.services.fl_server.metrics import ServiceMetrics
from deployments.services.fl_server.middleware import RequestTally
from deployments.services.fl_server.settings import VERSION, ServerSettings
from deployments.services.fl_server.store import ModelStore
from deployments.services.fl_server.tls import Certificate
from deployments.services.fl_server.training import Trainer

LEAST_FREE_SHARE = 0.05
LEAST_CERTIFICATE_DAYS = 7.0
WORST_FIRST: tuple[bodies.Condition, ...] = ("failed", "degraded")
BodyType = TypeVar("BodyType", bound=bodies.Body)


@dataclass(frozen=True)
class Service:
    """The parts of one running service."""

    settings: ServerSettings
    trainer: Trainer
    metrics: ServiceMetrics
    store: ModelStore
    certificate: Certificate | None
    tally: RequestTally = field(default_factory=RequestTally)
    faults: FaultBoard = field(default_factory=FaultBoard)
    started: float = field(default_factory=time.monotonic)

    @property
    def uptime_seconds(self) -> float:
        """Return seconds since the service was made."""
        return time.monotonic() - self.started

    def health(self) -> bodies.Health:
        """Return the body of /health."""
        return bodies.Health()

    def detailed_health(self) -> bodies.DetailedHealth:
        """Return the body of /health/detailed."""
        checks = self._checks()
        return _body(
            bodies.DetailedHealth, self, status=_worst(checks), version=VERSION, checks=checks
        )

    def status(self) -> bodies.Status:
        """Return the body of /api/status."""
        disk = shutil.disk_usage(self.store.folder)
        return _body(
            bodies.Status,
            self,
            self.settings,
            status=_worst(self._checks()),
            version=VERSION,
            training=_body(bodies.TrainingSummary, self.trainer.progress),
            requests=_body(bodies.RequestSummary, self.tally),
            storage=bodies.StorageSummary(used_bytes=disk.used, total_bytes=disk.total),
        )

    def client_count(self) -> bodies.ClientCount:
        """Return the body of /api/clients/count."""
        progress, total = self.trainer.progress, self.settings.federation.clients
        return bodies.ClientCount(
            total=total, connected=progress.connected_clients, active=progress.active_clients
        )

    def participation(self) -> bodies.Participation:
        """Return the body of /api/clients/participation."""
        progress, total = self.trainer.progress, self.settings.federation.clients
        return bodies.Participation(
            total_clients=total,
            active_clients=progress.active_clients,
            participation_rate=progress.active_clients / total,
            avg_data_quality=progress.data_quality,
        )

    def training_status(self) -> bodies.TrainingStatus:
        """Return the body of /api/training/status."""
        rounds = self.settings.federation.rounds
        return _body(bodies.TrainingStatus, self.trainer.progress, total_rounds=rounds)

    def training_progress(self) -> bodies.TrainingProgress:
        """Return the body of /api/training/progress."""
        progress, rounds = self.trainer.progress, self.settings.federation.rounds
        return _body(
            bodies.TrainingProgress,
            progress,
            total_rounds=rounds,
            global_accuracy=progress.accuracy,
        )

    def privacy_status(self) -> bodies.PrivacyStatus:
        """Return the body of /api/privacy/status."""
        federation, spent = self.settings.federation, self.trainer.progress.epsilon
        used = {"privacy_budget_utilization": spent / federation.epsilon_budget}
        used["delta_used"] = federation.delta
        return _body(bodies.PrivacyStatus, self.trainer, federation, **used)

    def history(self, since: int) -> bodies.TrainingHistory:
        """Return the body of /api/training/history: the rounds with a number above since."""
        progress = self.trainer.progress
        # a record's own seconds are wall time, its result's are simulated
        rounds = [_body(bodies.HistoryRound, one, one.result) for one in progress.rounds[since:]]
        return _body(bodies.TrainingHistory, progress, self.settings.federation, rounds=rounds)

    def _checks(self) -> dict[str, bodies.Check]:
        progress, disk = self.trainer.progress, shutil.disk_usage(self.store.folder)
        free, left = disk.free / disk.total, self.trainer.epsilon_remaining
        is_cut_short = progress.current_round < self.settings.federation.rounds
        detail = progress.detail or f"{progress.state}, round {progress.current_round}"
        spent = progress.state == "finished" and is_cut_short
        checks = {
            "training": _check(progress.state == "failed", detail, "failed"),
            "storage": _check(free < LEAST_FREE_SHARE, f"{free:.0%} free"),
            "privacy": _check(spent, f"epsilon {left:.3f} left"),
        }
        if self.certificate is not None:
            days = self.certificate.days_left()
            checks["certificate"] = _check(days < LEAST_CERTIFICATE_DAYS, f"{days:.1f} days left")
        return checks


def _body(model: type[BodyType], *sources: object, **given: object) -> BodyType:
    """Fill a body from given values, else from the first source with the attribute."""
    found = {
        name: next(getattr(source, name) for source in sources if hasattr(source, name))
        for name in model.model_fields
        if name not in given
    }
    return model.model_validate({**found, **given})


def _check(bad: bool, detail: str, condition: bodies.Condition = "degraded") -> bodies.Check:
    return bodies.Check(status=condition if bad else "ok", detail=detail)


def _worst(checks: dict[str, bodies.Check]) -> bodies.Condition:
    found = {check.status for check in checks.values()}
    return next((condition for condition in WORST_FIRST if condition in found), "ok")
