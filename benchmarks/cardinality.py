"""Memory of the largest cell: one hour of 10,000 series at 15 s, 2.4 million rows.

`python -m benchmarks.cardinality [--json] [--series N]`: starts a real Prometheus and a real
InfluxDB, collects the hour in a fresh process (extract, digest, suite, lake, InfluxDB) and prints
that process's peak memory, beside that of one that only imports everything.
"""

import argparse
import json
import subprocess
import sys
import tempfile
from dataclasses import asdict
from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from benchmarks.setting import (
    MEASUREMENT,
    QUERY,
    START,
    STEP_SECONDS,
    Where,
    labels_of,
    peak_mb,
    write_config,
)
from tasks.core.window import iso
from tests.support.history import history, selector
from tests.support.servers import InfluxServer, PrometheusServer

SERIES = 10_000
HOUR_SECONDS = 3_600


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", action="store_true", help="one JSON document on standard output")
    parser.add_argument("--series", type=int, default=SERIES)
    parser.add_argument("--work", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.work:
        print(json.dumps(_collect(**json.loads(options.work))))
        return
    figures = _measure(options.series)
    print(json.dumps(figures, indent=2) if options.json else _table(figures))


def _measure(series: int) -> dict[str, Any]:
    with tempfile.TemporaryDirectory() as folder:
        home = Path(folder)
        for name in ("prometheus", "influxdb"):
            (home / name).mkdir()
        text = home / "history.om"
        text.write_text(_openmetrics(series))
        config = write_config(home / "setting")
        _admit(config, series)
        with (
            PrometheusServer(home / "prometheus", text) as prometheus,
            InfluxServer(home / "influxdb") as influxdb,
        ):
            where = Where(prometheus.url, influxdb.url, influxdb.token, influxdb.org, str(config))
            work = {"where": asdict(where), "home": str(home), "bucket": influxdb.make_bucket()}
            return {"series": series, **_child(work)}


def _openmetrics(series: int) -> str:
    random = np.random.default_rng(7)
    steps = HOUR_SECONDS // STEP_SECONDS
    walks = np.abs(np.cumsum(random.normal(0, 0.01, (series, steps)), axis=1)) + 0.05
    lines = {selector(QUERY, labels_of(n)): walks[n] for n in range(series)}
    return history(lines, int(START.timestamp()), STEP_SECONDS)


def _admit(config: Path, series: int) -> None:
    """Raise the catalogue's limit, as a user with so many series has to."""
    path = config / "metrics.yaml"
    catalogue = yaml.safe_load(path.read_text())
    catalogue["measurements"][MEASUREMENT]["max_series"] = series
    path.write_text(yaml.safe_dump(catalogue))


def _child(work: dict[str, Any]) -> dict[str, Any]:
    command = [sys.executable, "-m", "benchmarks.cardinality", "--work", json.dumps(work)]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
    answer: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return answer


def _collect(where: dict[str, str], home: str, bucket: str) -> dict[str, Any]:
    """Collect the hour in this process; peaks are megabytes of resident memory."""
    from benchmarks.pipeline_parts import imports
    from tasks.core.settings import load_settings
    from tasks.runs.base.collecting import collect_by_source
    from tasks.runs.base.plan import Request, covered_window, make_plan
    from tasks.runs.base.run import Run

    place = Where(**where)
    imports(place, 1)
    imports_mb = peak_mb()
    settings = load_settings(place.variables(Path(home) / "home", bucket))
    span = iso(START), iso(START + timedelta(seconds=HOUR_SECONDS))
    with Run("collect", settings) as run:
        plan = make_plan(run, Request("performance", None, *span))
        collect_by_source(run, plan)
        receipt = run.account(covered_window(plan, run.outcomes))
    if receipt.status != "ok" or receipt.sinks["influxdb"].loaded != receipt.values.extracted:
        raise RuntimeError(f"the hour did not load whole: {receipt}")
    return {
        "values": receipt.values.landed,
        "imports_mb": round(imports_mb),
        "peak_mb": round(peak_mb()),
        "seconds": receipt.seconds,
    }


def _table(figures: dict[str, Any]) -> str:
    lines = [
        f"one hour of {figures['series']} series at {STEP_SECONDS} s: {figures['values']} values",
        f"peak memory   {figures['peak_mb']:>8} MB, of which imports alone {figures['imports_mb']} MB",
    ]
    lines += [f"  {name:<12}{took:>8.2f} s" for name, took in figures["seconds"].items()]
    return "\n".join(lines)


if __name__ == "__main__":
    main()
