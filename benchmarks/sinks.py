"""Cost of the services for metrics: an hour of many series into each.

`python -m benchmarks.sinks [--json]`: each sink, in a process of its own, sends the hour of 2,400
series at 15 s to a test server on this machine: 528,000 values, more than a hundred times what the
shipped catalogue reads of the benchmarks' service (3,480 an hour). Printed are wall and processor time, the requests with
their fill, and the memory above the imports. Real are moto's CloudWatch and the gRPC of Google's
library; every server stores what it takes and refuses what the real one refuses.
"""

import argparse
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import pandas as pd
from pytest_httpserver import HTTPServer

from benchmarks.setting import peak_mb
from tasks.core import plugins
from tasks.core.batch import build_frame
from tasks.core.measurement import FieldSpec, Measurement
from tasks.core.ports import CellToLoad, Opening
from tasks.core.settings import load_settings
from tasks.core.window import Cell, floor

SERIES, STEP_SECONDS = 2_400, 15
HOUR, MINUTE = timedelta(hours=1), timedelta(minutes=1)
STEPS = HOUR // timedelta(seconds=STEP_SECONDS)
NAMES = ("datadog", "cloudwatch", "gcp", "otlp")


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", action="store_true", help="one JSON document on standard output")
    parser.add_argument("--work", choices=NAMES, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.work:
        print(json.dumps(_send(options.work)))
        return
    figures = {name: _measure(name) for name in NAMES}
    print(json.dumps(figures, indent=2) if options.json else _table(figures))


def _measure(name: str) -> dict[str, Any]:
    with _server(name) as variables:
        command = [sys.executable, "-m", "benchmarks.sinks", "--work", name]
        env = {**os.environ, **variables}
        done = subprocess.run(command, env=env, check=True, stdout=subprocess.PIPE, text=True)
    answer: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return answer


@contextmanager
def _server(name: str) -> Iterator[Mapping[str, str]]:
    """Start the service's stand-in; yield the variables that lead to it."""
    if name == "cloudwatch":
        from tests.support.fakes.cloudwatch import fake_cloudwatch

        with fake_cloudwatch() as cloudwatch:
            keys = dict.fromkeys(("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"), "benchmark")
            yield {"CLOUDWATCH_URL": cloudwatch.url, "AWS_REGION": "us-west-2", **keys}
    elif name == "gcp":
        from tests.support.fakes.gcp import fake_monitoring

        with fake_monitoring() as google:
            yield {"GCP_MONITORING_URL": google.url, "GCP_PROJECT": google.project}
    else:
        from tests.support.fakes.datadog import API_KEY, FakeDatadog
        from tests.support.fakes.otlp import TOKEN, FakeOtlp

        with HTTPServer("127.0.0.1") as server:
            if name == "datadog":
                yield {"DATADOG_URL": FakeDatadog(server).url, "DATADOG_API_KEY": API_KEY}
            else:
                yield {"OTLP_URL": FakeOtlp(server).url, "OTLP_TOKEN": TOKEN}


def _send(name: str) -> dict[str, Any]:
    """Send the hour from this process; memory is resident megabytes."""
    from tasks.runs.base.registry import find

    kind = find(plugins.SINKS, name)
    section = {"send": {"hour.x": {"name": "fl.x"}}, "tags": {"series": "series"}}
    tuning = kind.tuning.model_validate({"enabled": True, "max_series": SERIES, **section})
    service = load_settings().environment(None).services[name]
    cell, measurement = _hour(), _measurement()
    sink = kind.open(Opening(service, MINUTE, tuning))
    # what is sent is there before, in a run too: it was landed
    before, began, busy = peak_mb(), time.perf_counter(), time.process_time()
    answers = list(sink.load(measurement, "production", [cell]))
    took, worked = time.perf_counter() - began, time.process_time() - busy
    sink.close()
    (values,) = (answer.values for answer in answers if answer.is_whole)
    # the hour begins up to a step before what the youngest services take
    if values.pending or values.refused or values.loaded < 0.95 * values.owed:
        raise RuntimeError(f"{name} did not take the hour: {values}")
    return {
        "values": values.loaded,
        "points": values.loaded * STEP_SECONDS // 60,
        "requests": len(answers),
        "seconds": round(took, 1),
        "cpu_seconds_per_10000_points": round(
            worked / (values.loaded * STEP_SECONDS / 60) * 10_000, 2
        ),
        "memory_mb": round(peak_mb() - before),
    }


def _measurement() -> Measurement:
    return Measurement(
        name="hour",
        type="performance",
        tags=("series",),
        fields={"x": FieldSpec(query="q")},
        step=f"{STEP_SECONDS}s",
        every="60s",
        max_series=SERIES,
    )


def _hour() -> CellToLoad:
    """The newest hour, less the minutes that the youngest services would call too old meanwhile."""
    stop = floor(datetime.now(UTC), MINUTE)
    start = stop - HOUR + 5 * MINUTE
    steps = (stop - start) // timedelta(seconds=STEP_SECONDS)
    times = np.arange(steps) * STEP_SECONDS * 1_000_000 + int(start.timestamp() * 1e6)
    values = np.random.default_rng(5).random(steps * SERIES)
    columns = {
        "time": pd.to_datetime(np.tile(times, SERIES), unit="us", utc=True),
        "environment": ["production"] * (steps * SERIES),
        "series": np.repeat([f"s{n}" for n in range(SERIES)], steps),
        "x": values,
    }
    return CellToLoad(Cell(start, stop), build_frame(_measurement(), columns))


def _table(figures: Mapping[str, Mapping[str, Any]]) -> str:
    heads = ("values", "points", "requests", "seconds", "cpu_seconds_per_10000_points", "memory_mb")
    lines = ["sink       " + "".join(f"{head.split('_per')[0]:>14}" for head in heads)]
    for name, row in figures.items():
        lines.append(f"{name:<11}" + "".join(f"{row[head]:>14}" for head in heads))
    return "\n".join(lines)


if __name__ == "__main__":
    main()
