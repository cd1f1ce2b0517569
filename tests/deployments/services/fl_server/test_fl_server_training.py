"""The run in the background: its states, its history, a disk that refuses, a run that diverges."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from deployments.services.fl_server.federation import Federation, run
from deployments.services.fl_server.metrics import PREFIX, ServiceMetrics
from deployments.services.fl_server.settings import FederationSettings
from deployments.services.fl_server.store import ModelStore
from deployments.services.fl_server.telemetry import Fleet
from deployments.services.fl_server.training import BATCHES, Trainer

QUICK = FederationSettings(clients=20, rounds=3, round_seconds=0, seed=5)
LONGEST_WAIT_SECONDS = 10.0


def trainer_of(settings: FederationSettings, folder: Path) -> tuple[Trainer, ServiceMetrics]:
    metrics, federation = ServiceMetrics(), Federation(settings)
    fleet = Fleet(federation.ids, settings.seed)
    return Trainer(federation, fleet, ModelStore(folder), metrics), metrics


@contextmanager
def ended(trainer: Trainer) -> Iterator[None]:
    """The trainer after it was started and its run came to an end."""
    trainer.start()
    try:
        deadline = time.monotonic() + LONGEST_WAIT_SECONDS
        while trainer.progress.state in ("idle", "running"):
            assert time.monotonic() < deadline
            time.sleep(0.01)
        yield
    finally:
        trainer.stop()


def test_a_run_goes_from_idle_to_finished(tmp_path: Path) -> None:
    trainer, metrics = trainer_of(QUICK, tmp_path)
    assert (trainer.progress.state, trainer.progress.current_round) == ("idle", 0)
    with ended(trainer):
        progress = trainer.progress
    assert (progress.state, progress.current_round) == ("finished", 3)
    assert [record.result for record in progress.rounds] == list(run(QUICK))
    assert progress.last_round_at is not None
    assert progress.last_round_at > progress.rounds[-1].started
    sample = metrics.registry.get_sample_value
    # the initial model is put into service too
    assert sample(f"{PREFIX}deployments_total") == 4
    served = sample(f"{PREFIX}inference_requests_total", {"model": "digits-softmax"})
    assert served is not None
    assert served >= 3 * BATCHES


def test_a_diverging_run_ends_as_failed_with_its_reason(tmp_path: Path) -> None:
    diverging = FederationSettings(clients=20, round_seconds=0, learning_rate=1e300)
    trainer, _ = trainer_of(diverging, tmp_path)
    with ended(trainer):
        assert trainer.progress.state == "failed"
        assert "round 1" in trainer.progress.detail
        assert trainer.progress.rounds == ()


def test_a_used_up_budget_ends_the_run_early(tmp_path: Path) -> None:
    poor = FederationSettings(clients=20, round_seconds=0, epsilon_budget=1.5)
    trainer, _ = trainer_of(poor, tmp_path)
    with ended(trainer):
        assert trainer.progress.state == "finished"
        assert 0 < trainer.progress.current_round < poor.rounds
        assert trainer.progress.epsilon <= 1.5
        assert trainer.epsilon_remaining == 1.5 - trainer.progress.epsilon


def test_a_disk_that_refuses_is_counted_and_training_goes_on(tmp_path: Path) -> None:
    (tmp_path / "taken").write_text("a file")
    trainer, metrics = trainer_of(QUICK, tmp_path / "taken")
    with ended(trainer):
        assert trainer.progress.state == "finished"
    sample = metrics.registry.get_sample_value
    assert sample(f"{PREFIX}model_save_failures_total") == 4
    assert sample(f"{PREFIX}deployments_total") == 0


def test_a_paced_round_takes_its_time(tmp_path: Path) -> None:
    paced = FederationSettings(clients=20, rounds=2, round_seconds=0.2)
    trainer, _ = trainer_of(paced, tmp_path)
    with ended(trainer):
        assert min(record.seconds for record in trainer.progress.rounds) >= 0.2


def test_stop_does_not_wait_for_the_pace(tmp_path: Path) -> None:
    trainer, _ = trainer_of(FederationSettings(clients=20, round_seconds=30), tmp_path)
    trainer.start()
    start = time.monotonic()
    trainer.stop()
    assert time.monotonic() - start < 5
    assert trainer.progress.state == "running"
    assert trainer.progress.current_round <= 1
