"""The bodies as read from a service's state: conditions and figures."""

import time
from dataclasses import replace
from pathlib import Path

import pytest

from deployments.services.fl_server.server import build_service
from deployments.services.fl_server.service import Service
from deployments.services.fl_server.settings import FederationSettings, ServerSettings

FEDERATION = FederationSettings(clients=20, rounds=4, round_seconds=0, seed=5)


def service_of(folder: Path, **values: object) -> Service:
    return build_service(
        ServerSettings.model_validate({"federation": FEDERATION, **values}), folder
    )


def finish(service: Service) -> None:
    service.trainer.start()
    deadline = time.monotonic() + 10
    while service.trainer.progress.state == "running" or not service.trainer.progress.rounds:
        assert time.monotonic() < deadline
        time.sleep(0.01)
    service.trainer.stop()


def test_before_the_first_round_nothing_is_made_up(tmp_path: Path) -> None:
    service = service_of(tmp_path)
    assert service.training_status().last_round_at is None
    assert service.training_progress().current_round == 0
    assert service.client_count().active == 0
    assert service.privacy_status().privacy_budget_utilization == 0.0
    assert service.history(0).rounds == []
    assert service.detailed_health().status == "ok"


def test_history_since_gives_the_rounds_after_it(tmp_path: Path) -> None:
    service = service_of(tmp_path)
    finish(service)
    assert [entry.round for entry in service.history(0).rounds] == [1, 2, 3, 4]
    assert [entry.round for entry in service.history(3).rounds] == [4]
    assert service.history(4).rounds == service.history(99).rounds == []


def test_the_budget_is_shared_out_between_used_and_left(tmp_path: Path) -> None:
    service = service_of(tmp_path)
    finish(service)
    privacy = service.privacy_status()
    used = privacy.privacy_budget_utilization * privacy.epsilon_budget
    assert used + privacy.epsilon_remaining == pytest.approx(privacy.epsilon_budget)
    assert used > 0


def test_a_budget_that_ended_the_run_degrades_the_service(tmp_path: Path) -> None:
    poor = FEDERATION.model_copy(update={"epsilon_budget": 1.3})
    service = service_of(tmp_path, federation=poor)
    finish(service)
    health = service.detailed_health()
    assert (health.status, health.checks["privacy"].status) == ("degraded", "degraded")


def test_a_failed_run_fails_the_service(tmp_path: Path) -> None:
    service = service_of(tmp_path)
    failed = replace(service.trainer.progress, state="failed", detail="training diverged")
    service.trainer.progress = failed
    assert service.status().status == "failed"
    assert service.detailed_health().checks["training"].detail == "training diverged"


@pytest.mark.parametrize(("days", "condition"), [(30, "ok"), (3, "degraded")])
def test_a_certificate_near_its_end_degrades_the_service(
    tmp_path: Path, days: float, condition: str
) -> None:
    service = service_of(tmp_path, https_port=0, certificate_days=days)
    assert service.detailed_health().checks["certificate"].status == condition
    assert "certificate" not in service_of(tmp_path).detailed_health().checks
