"""The service's state, and the bodies that are read from it. No HTTP here."""

import shutil
import time
from dataclasses import asdict, dataclass, field

from deployments.services.fl_server import bodies
from deployments.services.fl_server.faults import FaultBoard
from deployments.services.fl_server.metrics import ServiceMetrics
from deployments.services.fl_server.middleware import RequestTally
from deployments.services.fl_server.settings import VERSION, ServerSettings
from deployments.services.fl_server.store import ModelStore
from deployments.services.fl_server.tls import Certificate
from deployments.services.fl_server.training import RoundRecord, Trainer

LEAST_FREE_SHARE = 0.05
LEAST_CERTIFICATE_DAYS = 7.0
WORST_FIRST: tuple[bodies.Condition, ...] = ("failed", "degraded")


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
        """Seconds since the service was made."""
        return time.monotonic() - self.started

    def detailed_health(self) -> bodies.DetailedHealth:
        """Body of /health/detailed."""
        checks = self._checks()
        return bodies.DetailedHealth(
            status=_worst(checks),
            uptime_seconds=self.uptime_seconds,
            version=VERSION,
            checks=checks,
        )

    def status(self) -> bodies.Status:
        """Body of /api/status."""
        progress, disk = self.trainer.progress, shutil.disk_usage(self.store.folder)
        return bodies.Status(
            status=_worst(self._checks()),
            environment=self.settings.environment,
            version=VERSION,
            uptime_seconds=self.uptime_seconds,
            training=bodies.TrainingSummary(run_id=progress.run_id, state=progress.state),
            requests=bodies.RequestSummary(total=self.tally.total, failed=self.tally.failed),
            storage=bodies.StorageSummary(used_bytes=disk.used, total_bytes=disk.total),
        )

    def client_count(self) -> bodies.ClientCount:
        """Body of /api/clients/count."""
        progress = self.trainer.progress
        return bodies.ClientCount(
            total=self.settings.federation.clients,
            connected=progress.connected_clients,
            active=progress.active_clients,
        )

    def participation(self) -> bodies.Participation:
        """Body of /api/clients/participation."""
        progress, total = self.trainer.progress, self.settings.federation.clients
        return bodies.Participation(
            total_clients=total,
            active_clients=progress.active_clients,
            participation_rate=progress.active_clients / total,
            avg_data_quality=progress.data_quality,
        )

    def training_status(self) -> bodies.TrainingStatus:
        """Body of /api/training/status."""
        progress = self.trainer.progress
        return bodies.TrainingStatus(
            run_id=progress.run_id,
            state=progress.state,
            current_round=progress.current_round,
            total_rounds=self.settings.federation.rounds,
            last_round_at=progress.last_round_at,
        )

    def training_progress(self) -> bodies.TrainingProgress:
        """Body of /api/training/progress."""
        progress = self.trainer.progress
        return bodies.TrainingProgress(
            run_id=progress.run_id,
            current_round=progress.current_round,
            total_rounds=self.settings.federation.rounds,
            active_clients=progress.active_clients,
            global_accuracy=progress.accuracy,
            convergence_rate=progress.convergence_rate,
        )

    def privacy_status(self) -> bodies.PrivacyStatus:
        """Body of /api/privacy/status."""
        federation = self.settings.federation
        return bodies.PrivacyStatus(
            epsilon_remaining=self.trainer.epsilon_remaining,
            delta_used=federation.delta,
            privacy_budget_utilization=self.trainer.progress.epsilon / federation.epsilon_budget,
            epsilon_budget=federation.epsilon_budget,
            noise_multiplier=federation.noise_multiplier,
            sampling_rate=federation.sampling_rate,
        )

    def history(self, since: int) -> bodies.TrainingHistory:
        """Body of /api/training/history: the rounds with a number above since."""
        progress, federation = self.trainer.progress, self.settings.federation
        return bodies.TrainingHistory(
            run_id=progress.run_id,
            delta=federation.delta,
            sampling_rate=federation.sampling_rate,
            noise_multiplier=federation.noise_multiplier,
            epsilon_budget=federation.epsilon_budget,
            rounds=[_history_round(record) for record in progress.rounds[since:]],
        )

    def _checks(self) -> dict[str, bodies.Check]:
        checks = {
            "training": self._training_check(),
            "storage": self._storage_check(),
            "privacy": self._privacy_check(),
        }
        if self.certificate is not None:
            checks["certificate"] = _certificate_check(self.certificate)
        return checks

    def _training_check(self) -> bodies.Check:
        progress = self.trainer.progress
        return bodies.Check(
            status="failed" if progress.state == "failed" else "ok",
            detail=progress.detail or f"{progress.state}, round {progress.current_round}",
        )

    def _storage_check(self) -> bodies.Check:
        disk = shutil.disk_usage(self.store.folder)
        free_share = disk.free / disk.total
        return bodies.Check(
            status="degraded" if free_share < LEAST_FREE_SHARE else "ok",
            detail=f"{free_share:.0%} free",
        )

    def _privacy_check(self) -> bodies.Check:
        left = self.trainer.epsilon_remaining
        spent = self.trainer.progress.state == "finished" and not self._rounds_are_done()
        return bodies.Check(status="degraded" if spent else "ok", detail=f"epsilon {left:.3f} left")

    def _rounds_are_done(self) -> bool:
        return self.trainer.progress.current_round >= self.settings.federation.rounds


def _certificate_check(certificate: Certificate) -> bodies.Check:
    days = certificate.days_left()
    return bodies.Check(
        status="degraded" if days < LEAST_CERTIFICATE_DAYS else "ok", detail=f"{days:.1f} days left"
    )


def _worst(checks: dict[str, bodies.Check]) -> bodies.Condition:
    found = {check.status for check in checks.values()}
    return next((condition for condition in WORST_FIRST if condition in found), "ok")


def _history_round(record: RoundRecord) -> bodies.HistoryRound:
    result = record.result
    return bodies.HistoryRound(
        round=result.round,
        started=record.started,
        seconds=record.seconds,
        loss=result.loss,
        accuracy=result.accuracy,
        epsilon=result.epsilon,
        clients=[bodies.HistoryClient(**asdict(client)) for client in result.clients],
    )
