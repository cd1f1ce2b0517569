"""All Prometheus metrics of the service, in a registry of their own."""

from collections.abc import Callable

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

from deployments.services.fl_server import host, model, privacy
from deployments.services.fl_server.federation import Evaluation, Federation, RoundResult
from deployments.services.fl_server.store import LoadedModel
from deployments.services.fl_server.telemetry import EdgeReading

PREFIX = "fed_vit_autorl_"
REQUEST_BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30)
BRIEF_BUCKETS = (1e-5, 2.5e-5, 5e-5, 1e-4, 2.5e-4, 5e-4, 1e-3, 2.5e-3, 5e-3, 1e-2, 0.1, 1)
# by the attribute with the value: the gauge's name and text
OF_DEVICE = {
    "battery_percent": ("edge_battery_level", "Battery in percent"),
    "temperature_celsius": ("edge_temperature", "Degrees Celsius"),
    "cpu_percent": ("edge_cpu_usage_percent", "CPU in percent"),
    "memory_bytes": ("edge_memory_usage_bytes", "Memory in use"),
    "packet_loss_ratio": ("packet_loss_rate", "Share of packets lost"),
}
OF_ROUND = {
    "loss": ("training_loss", "Mean cross-entropy over all clients"),
    "accuracy": ("model_accuracy", "Accuracy on held-out data"),
    "convergence_rate": ("convergence_rate", "Mean relative fall of loss a round"),
    "updates": ("active_clients", "Clients whose update was used"),
    "connected_clients": ("connected_clients", "Clients that can be reached"),
    "data_quality": ("data_quality_score", "Mean share of usable examples"),
    "data_drift": ("data_drift_score", "Distance of the round's labels"),
}


class ServiceMetrics:
    """The metrics by group; each group records its events."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self.requests = RequestMetrics(self.registry)
        self.model = ModelMetrics(self.registry)
        self.host = HostMetrics(self.registry)
        self.edge = EdgeMetrics(self.registry)
        self.training = TrainingMetrics(self.registry)
        self.security = SecurityMetrics(self.registry)

    def page(self) -> bytes:
        """Return the page of /metrics in the Prometheus text format."""
        return generate_latest(self.registry)


class RequestMetrics:
    """HTTP requests, as the outermost middleware measures them."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._total = _counter(registry, "requests", "HTTP requests answered", "method", "status")
        self._seconds = Histogram(
            f"{PREFIX}request_duration_seconds",
            "Time until the whole answer was sent",
            ["method"],
            registry=registry,
            buckets=REQUEST_BUCKETS,
        )

    def observe(self, method: str, status: int, seconds: float) -> None:
        """Record one answered request."""
        self._total.labels(method, str(status)).inc()
        self._seconds.labels(method).observe(seconds)


class ModelMetrics:
    """The model in service: its file, its predictions."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._requests = _counter(registry, "inference_requests", "Batches predicted", "model")
        text = "Time to predict one batch"
        self._seconds = _brief(registry, "inference_duration_seconds", text, "model")
        self._size = _gauge(registry, "model_size_bytes", "Size of the saved model", "model")
        self._load = _gauge(
            registry, "model_load_time_seconds", "Time of the last load from disk", "model"
        )
        self._failures = _counter(registry, "model_save_failures", "Saves that failed")
        self._deployments = _counter(registry, "deployments", "Models put into service")

    def predicted(self, seconds: float) -> None:
        """Record one predicted batch."""
        self._requests.labels(model.NAME).inc()
        self._seconds.labels(model.NAME).observe(seconds)

    def deployed(self, loaded: LoadedModel) -> None:
        """Record one model put into service."""
        self._size.labels(model.NAME).set(loaded.size_bytes)
        self._load.labels(model.NAME).set(loaded.load_seconds)
        self._deployments.inc()

    def save_failed(self) -> None:
        """Record one failed save."""
        self._failures.inc()


class HostMetrics:
    """Resource use of the process; read at each scrape."""

    def __init__(self, registry: CollectorRegistry) -> None:
        cpu = _gauge(registry, "cpu_usage_percent", "CPU of this process, in percent of all cores")
        cpu.set_function(host.CpuMeter().percent)
        memory = _gauge(registry, "memory_usage_bytes", "Resident memory of this process")
        memory.set_function(host.memory_bytes)
        # the service uses no GPU: the name is offered, without a series
        _gauge(registry, "gpu_utilization_percent", "GPU utilization in percent", "gpu")


class EdgeMetrics:
    """The clients' devices."""

    def __init__(self, registry: CollectorRegistry) -> None:
        text = "1, with the kind of device"
        self._info = _gauge(registry, "edge_device_info", text, "client", "device")
        self._gauges = {
            part: _gauge(registry, name, text, "client") for part, (name, text) in OF_DEVICE.items()
        }

    def update(self, readings: tuple[EdgeReading, ...]) -> None:
        """Record the present reading of each device."""
        for reading in readings:
            self._info.labels(reading.client, reading.device).set(1)
            for part, gauge in self._gauges.items():
                gauge.labels(reading.client).set(getattr(reading, part))


class TrainingMetrics:
    """Rounds, clients, data and privacy."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._rounds = _counter(registry, "training_rounds", "Rounds finished")
        self._updates = _counter(registry, "client_updates", "Updates that went into the model")
        self._dropped = _counter(registry, "client_dropped", "Drawn clients, lost or too late")
        self._of_round = {
            part: _gauge(registry, name, text) for part, (name, text) in OF_ROUND.items()
        }
        text = "Time to clip, add noise and average"
        self._aggregation = _brief(registry, "aggregation_duration_seconds", text)
        self._total = _gauge(registry, "total_clients", "Clients known")
        self._epsilon = _gauge(registry, "privacy_epsilon_remaining", "Epsilon left")
        self._delta = _gauge(registry, "privacy_delta_used", "Delta that epsilon is counted at")
        self._noise = _gauge(registry, "noise_scale", "Standard deviation of noise on a weight")

    def began(self, federation: Federation, evaluation: Evaluation) -> None:
        """Record the state before the first round."""
        settings = federation.settings
        for source in (evaluation, federation):
            self._show(source)
        self._total.set(settings.clients)
        self._epsilon.set(settings.epsilon_budget)
        self._delta.set(settings.delta)
        self._noise.set(settings.noise_scale)

    def finished(self, result: RoundResult, epsilon_budget: float) -> None:
        """Record one finished round."""
        self._rounds.inc()
        self._updates.inc(result.updates)
        self._dropped.inc(result.dropped)
        self._show(result)
        self._aggregation.observe(result.aggregation_seconds)
        self._epsilon.set(privacy.remaining(result.epsilon, epsilon_budget))

    def _show(self, source: object) -> None:
        for part, gauge in self._of_round.items():
            if hasattr(source, part):
                gauge.set(getattr(source, part))


class SecurityMetrics:
    """Refused callers, failed handshakes, the certificate."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._registry = registry
        self._unauthorized = _counter(registry, "unauthorized_requests", "Answers of status 401")
        self._failures = _counter(registry, "encryption_failures", "TLS handshakes that failed")

    def unauthorized(self) -> None:
        """Record one caller without a valid token."""
        self._unauthorized.inc()

    def handshake_failed(self) -> None:
        """Record one failed handshake."""
        self._failures.inc()

    def watch_certificate(self, days_left: Callable[[], float]) -> None:
        """Offer the days that the certificate is still valid, read at each scrape."""
        gauge = _gauge(self._registry, "certificate_expiry_days", "Days until the end of validity")
        gauge.set_function(days_left)


def _counter(registry: CollectorRegistry, name: str, text: str, *labels: str) -> Counter:
    return Counter(f"{PREFIX}{name}_total", text, labels, registry=registry)


def _gauge(registry: CollectorRegistry, name: str, text: str, *labels: str) -> Gauge:
    return Gauge(f"{PREFIX}{name}", text, labels, registry=registry)


def _brief(registry: CollectorRegistry, name: str, text: str, *labels: str) -> Histogram:
    return Histogram(f"{PREFIX}{name}", text, labels, registry=registry, buckets=BRIEF_BUCKETS)
