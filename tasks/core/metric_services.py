"""Settings of sinks that are services for metrics, which charge for each series."""

import re
from collections.abc import Mapping
from datetime import timedelta
from functools import partial
from typing import ClassVar, Literal, Self

from pydantic import Field, model_validator

from tasks.core.documents import Duration, Strict
from tasks.core.measurement import Measurement
from tasks.core.services import Tuning
from tasks.core.window import parse_duration

# how the values of one step become one point; statistics keeps their distribution
Reduce = Literal["mean", "max", "last", "statistics"]


class Metric(Strict):
    """How one field is sent: its name and unit there, and the factor to that unit."""

    name: str = Field(default="", description="the metric's name; MEASUREMENT.FIELD by default")
    unit: str = ""
    scale: float = 1.0
    reduce: Reduce = "mean"


class MetricsTuning(Tuning):
    """What is sent to a service for metrics; by default only what users of the guide expect."""

    # what a service can do with several values of one step
    reduces: ClassVar[frozenset[str]] = frozenset({"mean", "max", "last"})

    enabled: bool = False
    send: dict[str, Metric] = Field(
        default_factory=dict, description="MEASUREMENT.FIELD, or MEASUREMENT for all its fields"
    )
    step: Duration = Field(
        default=parse_duration("60s"),
        ge=timedelta(seconds=60),
        description="distance of two points of a series",
    )
    max_series: int = Field(default=100, gt=0, description="series that may be sent, which cost")
    tags: dict[str, str] = Field(
        default_factory=lambda: {"environment": "environment"},
        description="which tags are sent, and their names there; a tag left out is averaged over",
    )
    timeout: Duration = parse_duration("10s")

    @model_validator(mode="after")
    def _can_be_reduced(self) -> Self:
        for key, metric in self.send.items():
            if metric.reduce not in self.reduces:
                raise ValueError(
                    f"send.{key}.reduce is {metric.reduce}, and not one of {', '.join(sorted(self.reduces))}"
                )
        return self

    def metrics_of(self, measurement: Measurement) -> Mapping[str, Metric]:
        """Return the fields of the measurement that are sent, each with how."""
        whole = self.send.get(measurement.name)
        found = {}
        for name, spec in measurement.fields.items():
            key = f"{measurement.name}.{name}"
            metric = self.send.get(key, whole)
            if metric is not None and spec.type != "string":
                # one name for several fields would mix them
                own = metric.name if key in self.send else ""
                found[name] = metric.model_copy(update={"name": own or key})
        return found


def _of_the_guide(separator: str) -> dict[str, Metric]:
    """Return the metrics that users of the guide expect."""
    names = {"active_clients": "active_clients", "accuracy_ratio": "training_accuracy"}
    return {
        f"fl_progress.{field}": Metric(name=f"fed_vit_autorl{separator}{name}")
        for field, name in names.items()
    }


class DatadogTuning(MetricsTuning):
    """What is sent to Datadog."""

    send: dict[str, Metric] = Field(default_factory=partial(_of_the_guide, "."))

    @model_validator(mode="after")
    def _names_can_be_metrics(self) -> Self:
        for key, metric in self.send.items():
            # Datadog would change others, or cut them
            if not re.fullmatch(r"[A-Za-z][A-Za-z0-9_.]{0,199}", metric.name or key):
                rule = "at most 200 letters, digits, _ and ., and begins with a letter"
                raise ValueError(f"send.{key}.name is {metric.name!r}: a metric's name has {rule}")
        return self


_SIZES = [
    f"{prefix}{unit}" for prefix in ("kilo", "mega", "giga", "tera") for unit in ("bytes", "bits")
]
_AMOUNTS = ["Count", "Bytes", "Bits", *(size.capitalize() for size in _SIZES)]
# all that CloudWatch knows
UNITS = frozenset(
    ["Seconds", "Milliseconds", "Microseconds", "Percent", "None", *_AMOUNTS]
    + [f"{amount}/Second" for amount in _AMOUNTS]
)


class CloudWatchTuning(MetricsTuning):
    """What is sent to CloudWatch."""

    reduces = frozenset({"mean", "max", "last", "statistics"})

    namespace: str = Field(
        default="FedViTAutoRL", pattern=r"^[\x21-\x39\x3b-\x7e][\x21-\x7e]{0,254}$"
    )
    send: dict[str, Metric] = Field(
        default_factory=lambda: {
            "fl_progress.active_clients": Metric(
                name="ActiveClients", unit="Count", reduce="statistics"
            ),
            "fl_progress.accuracy_ratio": Metric(
                name="TrainingAccuracy", unit="Percent", scale=100, reduce="statistics"
            ),
            "inference.latency_p95_seconds": Metric(
                name="InferenceLatency", unit="Milliseconds", scale=1000, reduce="statistics"
            ),
        }
    )

    @model_validator(mode="after")
    def _is_taken(self) -> Self:
        if self.namespace.startswith("AWS/"):
            raise ValueError(f"namespace is {self.namespace}, and AWS/ is for those of AWS itself")
        for key, metric in self.send.items():
            if metric.unit and metric.unit not in UNITS:
                raise ValueError(
                    f"send.{key}.unit is {metric.unit}, and not one of {', '.join(sorted(UNITS))}"
                )
        return self


class GcpTuning(MetricsTuning):
    """What is sent to Google Cloud Monitoring."""

    prefix: str = Field(default="custom.googleapis.com/", description="of the metrics' types")
    send: dict[str, Metric] = Field(default_factory=partial(_of_the_guide, "/"))


class OtlpTuning(MetricsTuning):
    """What is sent to a service that takes OTLP."""

    max_age: Duration = Field(
        default=parse_duration("1h"), description="the oldest time that the service takes"
    )
    send: dict[str, Metric] = Field(default_factory=partial(_of_the_guide, "."))
