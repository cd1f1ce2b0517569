"""Back-test of 20 rules over 30 days, as `fedvitals rules backtest` does it.

`python -m benchmarks.backtest [--json]`: a real Prometheus with ten instances scraped each 15 s,
whose rules, each of ten series, are evaluated each minute. No rule ran there.
"""

import argparse
import json
import os
import shutil
import tempfile
import time
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from tasks.core.settings import load_settings, shipped
from tasks.core.window import Window, floor
from tasks.runs.rules.backtest import Past
from tests.support.history import history, selector
from tests.support.servers import PrometheusServer

DAYS, RULES, INSTANCES, STEP = 30, 20, 10, 15
GOAL_SECONDS = 60.0
RATE = "sum by (instance) (rate(bench_requests_total[5m]))"
LEVEL = "avg_over_time(bench_level[10m])"


def openmetrics(start: datetime) -> str:
    """Return a counter with a daily rhythm and a wandering gauge for each instance."""
    random = np.random.default_rng(18)
    steps = DAYS * 86_400 // STEP
    daily = 10 + 9 * np.sin(np.arange(steps) * 2 * np.pi * STEP / 86_400)
    series = {}
    for number in range(INSTANCES):
        labels = {"instance": f"10.0.0.{number}:8000"}
        name = selector("bench_requests_total", labels)
        series[name] = np.cumsum(random.poisson(daily * STEP)).astype(float)
        walk = np.cumsum(random.normal(0, 0.01, steps))
        series[selector("bench_level", labels)] = 0.5 + 0.3 * np.sin(walk)
    return history(series, int(start.timestamp()), STEP)


def thresholds() -> dict[str, Any]:
    """Return rules of which each fires now and then."""
    return {
        f"rule_{number}": {
            "expr": RATE if number % 2 else LEVEL,
            "comparison": ">",
            "value": 15 + number / 10 if number % 2 else 0.6 + number / 200,
            "for": f"{1 + number}m",
            "severity": "warning",
            "tags": ["instance"],
            "summary": "it is high",
            **({"keep_firing_for": "10m"} if number % 4 == 0 else {}),
            **({"when": "sum(rate(bench_requests_total[5m])) > 1"} if number % 4 == 1 else {}),
        }
        for number in range(RULES)
    }


def measure(folder: Path) -> dict[str, Any]:
    """Return the seconds that the back-test takes, and what it found."""
    stop = floor(datetime.now(UTC), timedelta(hours=1))
    window = Window(stop - timedelta(days=DAYS), stop)
    config = folder / "config"
    shutil.copytree(shipped("config"), config)
    (config / "alert-thresholds.yaml").write_text(yaml.safe_dump({"thresholds": thresholds()}))
    with PrometheusServer(folder, openmetrics(window.start)) as server:
        variables = {
            "FEDVITALS_HOME": str(folder / "home"),
            "FEDVITALS_CONFIG": str(config),
            "PROMETHEUS_URL": server.url,
        }
        settings = load_settings(variables)
        began, used = time.perf_counter(), _processor(server)
        with closing(Past(settings, settings.environment(None))) as past:
            tests = [one for rule in past.chosen(()) for one in past.tests(rule, window)]
        seconds, used = time.perf_counter() - began, _processor(server) - used
    return {
        "seconds": round(seconds, 1),
        "processor_seconds": round(used, 1),
        "goal_seconds": GOAL_SECONDS,
        "days": DAYS,
        "rules": len(tests),
        "firings": sum(len(one.firings) for one in tests),
        "problems": [one.problem for one in tests if one.problem],
    }


def _processor(server: PrometheusServer) -> float:
    """Return the processor time of this process and the server, which other work does not slow."""
    fields = Path(f"/proc/{server.pid}/stat").read_text().rpartition(")")[2].split()
    return time.process_time() + sum(map(int, fields[11:13])) / os.sysconf("SC_CLK_TCK")


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", action="store_true")
    as_json = parser.parse_args().json
    with tempfile.TemporaryDirectory() as folder:
        found = measure(Path(folder))
    if as_json:
        print(json.dumps(found, indent=2))
        return
    for name, value in found.items():
        print(f"{name:<20}{value}")


if __name__ == "__main__":
    main()
