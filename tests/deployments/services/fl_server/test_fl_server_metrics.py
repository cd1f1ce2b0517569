"""The metrics: one registry a service, exact names, and what each event does to them."""

from deployments.services.fl_server.federation import Federation
from deployments.services.fl_server.metrics import PREFIX, ServiceMetrics
from deployments.services.fl_server.settings import FederationSettings


def value(metrics: ServiceMetrics, name: str, **labels: str) -> float | None:
    return metrics.registry.get_sample_value(PREFIX + name, labels)


def test_two_services_share_nothing() -> None:
    first, second = ServiceMetrics(), ServiceMetrics()
    first.requests.observe("GET", 200, 0.01)
    assert value(first, "requests_total", method="GET", status="200") == 1
    assert value(second, "requests_total", method="GET", status="200") is None


def test_a_round_is_counted_whole() -> None:
    metrics, federation = ServiceMetrics(), Federation(FederationSettings(clients=20, seed=1))
    metrics.training.began(federation, federation.evaluate())
    assert value(metrics, "privacy_epsilon_remaining") == 10
    assert value(metrics, "active_clients") == 0
    result = federation.step()
    metrics.training.finished(result, epsilon_budget=10)
    assert value(metrics, "training_rounds_total") == 1
    assert value(metrics, "client_updates_total") == result.updates
    assert value(metrics, "client_dropped_total") == result.dropped
    assert value(metrics, "training_loss") == result.loss
    assert value(metrics, "model_accuracy") == result.accuracy
    assert value(metrics, "aggregation_duration_seconds_count") == 1
    assert value(metrics, "privacy_epsilon_remaining") == 10 - result.epsilon


def test_the_certificate_is_offered_only_when_there_is_one() -> None:
    metrics = ServiceMetrics()
    assert value(metrics, "certificate_expiry_days") is None
    metrics.security.watch_certificate(lambda: 12.5)
    assert value(metrics, "certificate_expiry_days") == 12.5


def test_the_gpu_has_a_name_and_no_series() -> None:
    page = ServiceMetrics().page().decode()
    assert f"# TYPE {PREFIX}gpu_utilization_percent gauge" in page
    assert f"\n{PREFIX}gpu_utilization_percent" not in page
