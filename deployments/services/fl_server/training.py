"""The run in the background: paces rounds, deploys each model, keeps the history."""

import logging
import threading
import time
import uuid
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Literal

import numpy as np

from deployments.services.fl_server import model, privacy
from deployments.services.fl_server.errors import DivergedError
from deployments.services.fl_server.federation import Federation, RoundResult
from deployments.services.fl_server.metrics import ServiceMetrics
from deployments.services.fl_server.store import ModelStore
from deployments.services.fl_server.telemetry import Fleet

TrainingState = Literal["idle", "running", "finished", "failed"]

LOG = logging.getLogger(__name__)
BATCHES = 12
IDLE_TICK_SECONDS = 1.0
STOP_SECONDS = 10.0
# figures of a round that the progress shows
FIGURES = ("accuracy", "connected_clients", "data_quality", "convergence_rate", "epsilon")


@dataclass(frozen=True)
class RoundRecord:
    """A round's result, with the moment it started (UTC) and its wall time in seconds."""

    result: RoundResult
    started: datetime
    seconds: float


@dataclass(frozen=True)
class Progress:
    """The run at one moment; before the first round, with the initial model."""

    run_id: str
    state: TrainingState
    accuracy: float
    connected_clients: int
    data_quality: float
    detail: str = ""
    active_clients: int = 0
    convergence_rate: float = 0.0
    epsilon: float = 0.0
    last_round_at: datetime | None = None
    rounds: tuple[RoundRecord, ...] = ()

    @property
    def current_round(self) -> int:
        """Return the last finished round; 0 before the first."""
        return len(self.rounds)

    def after(self, record: RoundRecord) -> "Progress":
        """Return the progress with one more finished round."""
        result = record.result
        figures = {name: getattr(result, name) for name in FIGURES}
        return replace(
            self,
            active_clients=result.updates,
            last_round_at=datetime.now(UTC),
            rounds=(*self.rounds, record),
            **figures,
        )


class Trainer:
    """Runs the federation in a thread; progress is replaced whole, without a lock."""

    def __init__(
        self, federation: Federation, fleet: Fleet, store: ModelStore, metrics: ServiceMetrics
    ) -> None:
        self.federation = federation
        self._fleet, self._store, self._metrics = fleet, store, metrics
        self._serving = model.initial_weights()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="training", daemon=True)
        evaluation = federation.evaluate()
        self.progress = Progress(
            run_id=f"run-{uuid.uuid4().hex[:12]}",
            state="idle",
            accuracy=evaluation.accuracy,
            connected_clients=federation.connected_clients,
            data_quality=federation.data_quality,
        )
        metrics.training.began(federation, evaluation)
        metrics.edge.update(fleet.readings())

    @property
    def epsilon_remaining(self) -> float:
        """Return the remaining privacy budget."""
        return privacy.remaining(self.progress.epsilon, self.federation.settings.epsilon_budget)

    def start(self) -> None:
        """Begin to train."""
        self._deploy()
        self._thread.start()

    def stop(self) -> None:
        """End after the round that is running, and wait for it."""
        self._stop.set()
        self._thread.join(STOP_SECONDS)

    def _run(self) -> None:
        # any exit from the loop but its end leaves the run failed
        outcome: TrainingState = "failed"
        self.progress = replace(self.progress, state="running")
        try:
            outcome = self._train()
        except DivergedError as error:
            LOG.exception("training failed: run_id=%s", self.progress.run_id)
            self.progress = replace(self.progress, detail=str(error))
        finally:
            self.progress = replace(self.progress, state=outcome)
        while not self._stop.wait(IDLE_TICK_SECONDS):
            self._serve()

    def _train(self) -> TrainingState:
        pace = self.federation.settings.round_seconds
        while self.federation.can_go_on():
            if self._stop.is_set():
                return "running"
            started, start = datetime.now(UTC), time.monotonic()
            result = self.federation.step()
            self._deploy()
            self._serve()
            self._stop.wait(pace - (time.monotonic() - start))
            record = RoundRecord(result, started, time.monotonic() - start)
            self._metrics.training.finished(result, self.federation.settings.epsilon_budget)
            self.progress = self.progress.after(record)
        return "finished"

    def _deploy(self) -> None:
        try:
            self._store.save(self.federation.weights)
            loaded = self._store.load()
        except OSError as error:
            # training continues with the model in memory; the old one stays in service
            LOG.warning("model not saved: folder=%s reason=%s", self._store.folder, error)
            self._metrics.model.save_failed()
            return
        self._serving = loaded.weights
        self._metrics.model.deployed(loaded)

    def _serve(self) -> None:
        self._fleet.step()
        self._metrics.edge.update(self._fleet.readings())
        for batch in np.array_split(self.federation.population.test_features, BATCHES):
            start = time.perf_counter()
            model.predict(self._serving, batch)
            self._metrics.model.predicted(time.perf_counter() - start)
