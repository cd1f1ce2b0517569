"""All Prometheus metrics of the service, in a registry of their own."""

from collections.abc import Callable

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

from deployments.services.fl_server import host, model, privacy
from deployments.services.fl_server.federation import Federation, RoundResult, Standing
from deployments.services.fl_server.store import LoadedModel
from deployments.services.fl_server.telemetry import EdgeReading

PREFIX = "fed_vit_autorl_"
REQUEST_BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30)
BRIEF_BUCKETS = (1e-5, 2.5e-5, 5e-5, 1e-4, 2.5e-4, 5e-4, 1e-3, 2.5e-3, 5e-3, 1e-2, 0.1, 1)


class ServiceMetrics:
    """The metrics by group; each group knows how to take what happened."""

    def __init__(self) -> None:
        """Register every metric once, in a new registry."""
        self.registry = CollectorRegistry()
        self.requests = RequestMetrics(self.registry)
        self.model = ModelMetrics(self.registry)
        self.host = HostMetrics(self.registry)
        self.edge = EdgeMetrics(self.registry)
        self.training = TrainingMetrics(self.registry)
        self.security = SecurityMetrics(self.registry)

    def page(self) -> bytes:
        """The page of /metrics in the Prometheus text format."""
        return generate_latest(self.registry)


class RequestMetrics:
    """HTTP requests, as the outermost middleware measures them."""

    def __init__(self, registry: CollectorRegistry) -> None:
        """Register the metrics of requests."""
        self._total = _counter(registry, "requests", "HTTP requests answered", "method", "status")
        self._seconds = Histogram(
            f"{PREFIX}request_duration_seconds",
            "Time until the whole answer was sent",
            ["method"],
            registry=registry,
            buckets=REQUEST_BUCKETS,
        )

    def observe(self, method: str, status: int, seconds: float) -> None:
        """Take one answered request."""
        self._total.labels(method, str(status)).inc()
        self._seconds.labels(method).observe(seconds)


class ModelMetrics:
    """The model in service: its file, its predictions."""

    def __init__(self, registry: CollectorRegistry) -> None:
        """Register the metrics of the model."""
        self._requests = _counter(registry, "inference_requests", "Batches predicted", "model")
        self._seconds = Histogram(
            f"{PREFIX}inference_duration_seconds",
            "Time to predict one batch",
            ["model"],
            registry=registry,
            buckets=BRIEF_BUCKETS,
        )
        self._size = _gauge(registry, "model_size_bytes", "Size of the saved model", "model")
        self._load = _gauge(
            registry, "model_load_time_seconds", "Time of the last load from disk", "model"
        )
        self._failures = _counter(registry, "model_save_failures", "Saves that failed")
        self._deployments = _counter(registry, "deployments", "Models put into service")

    def predicted(self, seconds: float) -> None:
        """Take one predicted batch."""
        self._requests.labels(model.NAME).inc()
        self._seconds.labels(model.NAME).observe(seconds)

    def deployed(self, loaded: LoadedModel) -> None:
        """Take one model put into service."""
        self._size.labels(model.NAME).set(loaded.size_bytes)
        self._load.labels(model.NAME).set(loaded.load_seconds)
        self._deployments.inc()

    def save_failed(self) -> None:
        """Take one save that failed."""
        self._failures.inc()


class HostMetrics:
    """What the process takes; read at each scrape."""

    def __init__(self, registry: CollectorRegistry) -> None:
        """Register the metrics of the process."""
        cpu = _gauge(registry, "cpu_usage_percent", "CPU of this process, in percent of all cores")
        cpu.set_function(host.CpuMeter().percent)
        memory = _gauge(registry, "memory_usage_bytes", "Resident memory of this process")
        memory.set_function(host.memory_bytes)
        # the service uses no GPU: the name is offered, without a series
        _gauge(registry, "gpu_utilization_percent", "GPU utilization in percent", "gpu")


class EdgeMetrics:
    """The clients' devices."""

    def __init__(self, registry: CollectorRegistry) -> None:
        """Register the metrics of the devices."""
        self._info = _gauge(
            registry, "edge_device_info", "1, with the kind of device", "client", "device"
        )
        self._battery = _gauge(registry, "edge_battery_level", "Battery in percent", "client")
        self._degrees = _gauge(registry, "edge_temperature", "Degrees Celsius", "client")
        self._cpu = _gauge(registry, "edge_cpu_usage_percent", "CPU in percent", "client")
        self._memory = _gauge(registry, "edge_memory_usage_bytes", "Memory in use", "client")
        self._loss = _gauge(registry, "packet_loss_rate", "Share of packets lost", "client")

    def update(self, readings: tuple[EdgeReading, ...]) -> None:
        """Take the present reading of each device."""
        for reading in readings:
            self._info.labels(reading.client, reading.device).set(1)
            self._battery.labels(reading.client).set(reading.battery_percent)
            self._degrees.labels(reading.client).set(reading.temperature_celsius)
            self._cpu.labels(reading.client).set(reading.cpu_percent)
            self._memory.labels(reading.client).set(reading.memory_bytes)
            self._loss.labels(reading.client).set(reading.packet_loss_ratio)


class TrainingMetrics:
    """Rounds, clients, data and privacy."""

    def __init__(self, registry: CollectorRegistry) -> None:
        """Register the metrics of training."""
        self._rounds = _counter(registry, "training_rounds", "Rounds finished")
        self._updates = _counter(registry, "client_updates", "Updates that went into the model")
        self._dropped = _counter(registry, "client_dropped", "Drawn clients, lost or too late")
        self._loss = _gauge(registry, "training_loss", "Mean cross-entropy over all clients")
        self._accuracy = _gauge(registry, "model_accuracy", "Accuracy on held-out data")
        self._rate = _gauge(registry, "convergence_rate", "Mean relative fall of loss a round")
        self._aggregation = Histogram(
            f"{PREFIX}aggregation_duration_seconds",
            "Time to clip, add noise and average",
            registry=registry,
            buckets=BRIEF_BUCKETS,
        )
        self._active = _gauge(registry, "active_clients", "Clients whose update was used")
        self._connected = _gauge(registry, "connected_clients", "Clients that can be reached")
        self._total = _gauge(registry, "total_clients", "Clients known")
        self._quality = _gauge(registry, "data_quality_score", "Mean share of usable examples")
        self._drift = _gauge(registry, "data_drift_score", "Distance of the round's labels")
        self._epsilon = _gauge(registry, "privacy_epsilon_remaining", "Epsilon left")
        self._delta = _gauge(registry, "privacy_delta_used", "Delta that epsilon is counted at")
        self._noise = _gauge(registry, "noise_scale", "Standard deviation of noise on a weight")

    def began(self, federation: Federation, standing: Standing) -> None:
        """Take the state before the first round."""
        settings = federation.settings
        self._loss.set(standing.loss)
        self._accuracy.set(standing.accuracy)
        self._connected.set(federation.connected_clients)
        self._total.set(settings.clients)
        self._quality.set(federation.data_quality)
        self._epsilon.set(settings.epsilon_budget)
        self._delta.set(settings.delta)
        self._noise.set(settings.noise_scale)

    def finished(self, result: RoundResult, epsilon_budget: float) -> None:
        """Take one finished round."""
        self._rounds.inc()
        self._updates.inc(result.updates)
        self._dropped.inc(result.dropped)
        self._loss.set(result.loss)
        self._accuracy.set(result.accuracy)
        self._rate.set(result.convergence_rate)
        self._aggregation.observe(result.aggregation_seconds)
        self._active.set(result.updates)
        self._connected.set(result.connected_clients)
        self._quality.set(result.data_quality)
        self._drift.set(result.data_drift)
        self._epsilon.set(privacy.remaining(result.epsilon, epsilon_budget))


class SecurityMetrics:
    """Refused callers, failed handshakes, the certificate."""

    def __init__(self, registry: CollectorRegistry) -> None:
        """Register the metrics of security; the certificate's only once there is one."""
        self._registry = registry
        self._unauthorized = _counter(registry, "unauthorized_requests", "Answers of status 401")
        self._failures = _counter(registry, "encryption_failures", "TLS handshakes that failed")

    def unauthorized(self) -> None:
        """Take one caller without a valid token."""
        self._unauthorized.inc()

    def handshake_failed(self) -> None:
        """Take one failed handshake."""
        self._failures.inc()

    def watch_certificate(self, days_left: Callable[[], float]) -> None:
        """Offer the days that the certificate is still valid, read at each scrape."""
        gauge = _gauge(self._registry, "certificate_expiry_days", "Days until the end of validity")
        gauge.set_function(days_left)


def _counter(registry: CollectorRegistry, name: str, text: str, *labels: str) -> Counter:
    return Counter(f"{PREFIX}{name}_total", text, labels, registry=registry)


def _gauge(registry: CollectorRegistry, name: str, text: str, *labels: str) -> Gauge:
    return Gauge(f"{PREFIX}{name}", text, labels, registry=registry)
