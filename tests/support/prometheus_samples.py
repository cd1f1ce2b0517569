"""A measurement m of queries q_<field>, and one minute of it, asked of a fake Prometheus."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta

from pydantic import SecretStr

from tasks.core.batch import Batch
from tasks.core.measurement import FieldSpec, FieldType, Measurement
from tasks.core.services import Service
from tasks.core.window import Window
from tasks.sources.prometheus import PrometheusSource
from tests.support.fakes.prometheus import FakePrometheus

START = datetime(2026, 3, 1, 10, tzinfo=UTC)
T0 = int(START.timestamp())
WINDOW = Window(START, START + timedelta(minutes=1))
TOKEN = "s3cr3t-token"


def measurement(*tags: str, max_series: int = 10, **fields: FieldType) -> Measurement:
    return Measurement(
        name="m",
        type="performance",
        tags=tags,
        fields={name: FieldSpec(query=f"q_{name}", type=kind) for name, kind in fields.items()},
        step=timedelta(seconds=15),
        every=timedelta(seconds=60),
        max_series=max_series,
    )


def at(**values: str) -> Callable[[int], str | None]:
    """Values by second of the window, such as at(s15="1.5")."""
    by_second = {int(name[1:]): value for name, value in values.items()}
    return lambda time: by_second.get(time // 1000 - T0)


def extract(
    prometheus: FakePrometheus,
    entry: Measurement,
    window: Window = WINDOW,
    token: str | None = None,
) -> Batch:
    service = Service(
        url=prometheus.url, token=SecretStr(token) if token else None, origin="PROMETHEUS_URL"
    )
    source = PrometheusSource(service)
    try:
        return source.extract(entry, "production", window)
    finally:
        source.close()
