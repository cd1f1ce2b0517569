"""Data of the pipeline benchmark: one day of one measurement in Prometheus."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import yaml

from tasks.core.settings import shipped
from tasks.core.window import Window, iso
from tests.support.history import history, selector

SERIES = 100
STEP_SECONDS = 15
DAY_SECONDS = 86_400
# factor of days where growth is measured
TEN = 10
VALUES = SERIES * DAY_SECONDS // STEP_SECONDS
# a whole hour well inside the retention of the test server
START = datetime(2026, 1, 5, tzinfo=UTC)
TAGS = ("instance", "job", "method", "status")
QUERY = "bench_value"
MEASUREMENT = "bench"


@dataclass(frozen=True)
class Where:
    """The servers of one run and the folder with the configuration."""

    prometheus: str
    influxdb: str
    token: str
    org: str
    config: str

    def variables(self, home: Path, bucket: str) -> dict[str, str]:
        """Return the variables of one repetition: a fresh home and bucket."""
        return {
            "FEDVITALS_HOME": str(home),
            "FEDVITALS_CONFIG": self.config,
            "PROMETHEUS_URL": self.prometheus,
            "INFLUXDB_URL": self.influxdb,
            "INFLUXDB_TOKEN": self.token,
            "INFLUXDB_ORG": self.org,
            "INFLUXDB_BUCKET": bucket,
        }


def window(days: int = 1) -> Window:
    """Return the days to collect."""
    return Window(START, START + timedelta(days=days))


def labels_of(number: int) -> Mapping[str, str]:
    """Return the labels of one series."""
    return {
        "instance": f"10.0.0.{number}:8000",
        "job": "fed-server",
        "method": ("GET", "POST", "PUT", "DELETE")[number % 4],
        "status": ("200", "404", "500")[number % 3],
    }


def openmetrics(days: int = 1) -> str:
    """Return random walks in full precision, like a latency, for Prometheus to import."""
    random = np.random.default_rng(7)
    steps = days * DAY_SECONDS // STEP_SECONDS
    walks = np.abs(np.cumsum(random.normal(0, 0.01, (SERIES, steps)), axis=1)) + 0.05
    series = {selector("bench_value", labels_of(n)): walks[n] for n in range(SERIES)}
    return history(series, int(START.timestamp()), STEP_SECONDS)


def write_config(folder: Path) -> Path:
    """Write a catalogue of one measurement and its suite; return the config folder."""
    config, expectations = folder / "config", folder / "expectations"
    config.mkdir(parents=True)
    expectations.mkdir()
    entry = {
        "type": "performance",
        "tags": list(TAGS),
        "fields": {"latency_seconds": {"query": QUERY, "unit": "seconds", "required": True}},
    }
    (config / "metrics.yaml").write_text(yaml.safe_dump({"measurements": {MEASUREMENT: entry}}))
    for name in ("environments.yaml", "sinks.yaml"):
        (config / name).write_text((shipped("config") / name).read_text())
    (expectations / f"{MEASUREMENT}.json").write_text(
        json.dumps(_suite(), indent=2, sort_keys=True) + "\n"
    )
    return config


def _suite() -> dict[str, object]:
    key = ["environment", *TAGS, "time"]
    between = "expect_column_values_to_be_between"
    checks = [
        ("row_count", "expect_table_row_count_to_be_between", {"min_value": 1}, "critical"),
        ("key_unique", "expect_compound_columns_to_be_unique", {"column_list": key}, "critical"),
        ("time_set", "expect_column_values_to_not_be_null", {"column": "time"}, "critical"),
        (
            "latency_set",
            "expect_column_values_to_not_be_null",
            {"column": "latency_seconds"},
            "warning",
        ),
        ("latency_possible", between, {"column": "latency_seconds", "min_value": 0.0}, "critical"),
        ("latency_usual", between, {"column": "latency_seconds", "max_value": 5.0}, "warning"),
    ]
    return {
        "name": MEASUREMENT,
        "meta": {},
        "notes": None,
        "expectations": [
            {
                "type": kind,
                "kwargs": kwargs,
                "severity": severity,
                "meta": {
                    "check_id": check,
                    "reason": "benchmark",
                    "origin": "physical",
                    "severity": severity,
                },
            }
            for check, kind, kwargs, severity in checks
        ],
    }


def describe() -> str:
    """Describe the data in one line."""
    span = window()
    return f"{VALUES} values, {SERIES} series, {iso(span.start)} to {iso(span.stop)}"


def peak_mb() -> float:
    """Return this program's peak memory; getrusage would include its parent's."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM")) / 1024
