"""Hours of a whole FL service as a Prometheus would have them, and what it answers for them."""

from datetime import UTC, datetime
from typing import Any

import numpy as np
import requests

from tasks.core.measurement import Measurement
from tasks.core.window import Window, format_duration
from tests.support.history import history, selector
from tests.support.servers import InfluxServer, PrometheusServer, quoted

PREFIX = "fed_vit_autorl_"
FIRST = datetime(2026, 3, 1, 0, 0, tzinfo=UTC)
STEP = 15
SAMPLES = 5 * 3600 // STEP
# measurement, field, tags without environment, seconds
Key = tuple[str, str, tuple[tuple[str, str], ...], float]

# what any store can hold, and what none can
GOOD_TAGS = [
    "plain",
    "two words",
    "a,b",
    "a=b",
    'say "hi"',
    "in\\side",
    "😀 emoji",
    "",
    "#1",
    "日本",
]
BAD_TAGS = ["ends\\", "new\nline"]


def service_history(first: datetime = FIRST, samples: int = SAMPLES) -> str:
    """Five hours (unless `samples` are more) from there on: counters, histograms, gauges; and `odd`, a gauge of odd labels."""
    rng = np.random.default_rng(11)
    series: dict[str, np.ndarray[Any, Any]] = {}

    def put(name: str, values: np.ndarray[Any, Any], **labels: str) -> None:
        where = {"job": "fed-server", "instance": "fl:8000"}
        series[selector(PREFIX + name, {**where, **labels})] = values

    for method, status in (("GET", "200"), ("GET", "404"), ("POST", "201")):
        put("requests_total", grown(rng.poisson(5, samples)), method=method, status=status)
    buckets = [rng.poisson(3, samples), rng.poisson(2, samples), rng.poisson(1, samples)]
    for bound, counts in zip(("0.1", "1.0", "+Inf"), np.cumsum(buckets, axis=0), strict=True):
        put("request_duration_seconds_bucket", grown(counts), method="GET", le=bound)
        # nothing happens in the second half, so that the quantiles are NaN
        halved = np.where(np.arange(samples) < samples // 2, counts, 0)
        put("inference_duration_seconds_bucket", grown(halved), model="vit", le=bound)
    put("inference_requests_total", grown(rng.poisson(4, samples)), model="vit")
    for model in ("vit", "vit small"):
        put("model_size_bytes", np.full(samples, 3.4e8), model=model)
    put("training_loss", 2 * np.exp(-np.arange(samples) / 400) + rng.random(samples) / 100)
    put("model_accuracy", 1 - np.exp(-np.arange(samples) / 400))
    put("memory_usage_bytes", 1e9 + rng.integers(0, 1000, samples).astype("float64"))
    put("cpu_usage_percent", rng.random(samples) * 100)
    for number, tag in enumerate([*GOOD_TAGS, *BAD_TAGS]):
        labels = {"model": tag} if tag else {"other": "x"}
        series[selector("odd", labels)] = number + rng.random(samples)
    return history(series, int(first.timestamp()), STEP)


def grown(steps: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """A counter that grows by these steps."""
    return np.cumsum(steps).astype("float64")


def answered(
    server: PrometheusServer, entries: list[Measurement], window: Window
) -> dict[Key, float]:
    """Every number that Prometheus has for the queries at the steps of [start, stop)."""
    found: dict[Key, float] = {}
    for entry in entries:
        for field, spec in entry.fields.items():
            form: dict[str, str | float] = {
                "query": spec.query or "",
                "start": window.start.timestamp(),
                "end": (window.stop - entry.step).timestamp(),
                "step": format_duration(entry.step),
            }
            answer = requests.get(f"{server.url}/api/v1/query_range", params=form, timeout=60)
            answer.raise_for_status()
            for series in answer.json()["data"]["result"]:
                tags = tuple(sorted((k, v) for k, v in series["metric"].items() if v))
                for moment, text in series["values"]:
                    if np.isfinite(float(text)):
                        found[entry.name, field, tags, moment] = float(text)
    return found


def stored(server: InfluxServer, bucket: str) -> dict[Key, float]:
    """Every value of the service in the bucket. All have the tag environment=production."""
    rows = server.flux(f"""
        from(bucket: {quoted(bucket)})
          |> range(start: 1970-01-01T00:00:00Z, stop: 2200-01-01T00:00:00Z)
          |> filter(fn: (r) => r._measurement != "fedvitals_pipeline")
    """)
    found: dict[Key, float] = {}
    for row in rows:
        assert row["environment"] == "production"
        tags = {k: v for k, v in row.items() if not k.startswith("_") and v is not None}
        named = sorted(
            (k, v) for k, v in tags.items() if k not in ("result", "table", "environment")
        )
        key = (row["_measurement"], row["_field"], tuple(named), row["_time"].timestamp())
        assert key not in found
        found[key] = row["_value"]
    return found


def requests_to(server: InfluxServer | PrometheusServer, path: str) -> int:
    """How often the server says that it was asked for this path."""
    page = requests.get(f"{server.url}/metrics", timeout=10).text
    counters = ("http_api_requests_total{", "prometheus_http_requests_total{")
    lines = [
        line for line in page.splitlines() if line.startswith(counters) and f'"{path}"' in line
    ]
    return sum(int(float(line.rpartition(" ")[2])) for line in lines)
