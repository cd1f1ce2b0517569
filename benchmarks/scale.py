"""Cost of Dask, and gain of more machines: threads and a local cluster.

`python -m benchmarks.scale [--json]`: starts a real Prometheus, InfluxDB and Prefect server, fills
one day back in chunks of two lengths with each runner, and measures what the two services can do by
themselves. The table of machines is computed from these costs, not measured.
"""

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from datetime import timedelta
from pathlib import Path
from typing import Any

import requests

from benchmarks.setting import (  # fmt: skip
    QUERY,
    START,
    STEP_SECONDS,
    VALUES,
    Where,
    describe,
    openmetrics,
    window,
    write_config,
)
from tasks.core.settings import Pipeline
from tasks.core.window import iso
from tests.support.process import environment
from tests.support.servers import InfluxServer, PrefectServer, PrometheusServer

COMMAND = Path(sys.executable).with_name("fedvitals")
CHUNKS = {"6h": 4, "1h": 24}
WORKERS = 2
MACHINES = (1, 2, 4, 8, 16)
LINES, BODIES, POSTS_AT_ONCE = 50_000, 8, 2


def main() -> None:
    """Measure everything and print it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", action="store_true", help="one JSON document on standard output")
    options = parser.parse_args()
    figures = measure()
    print(json.dumps(figures, indent=2) if options.json else _text(figures))


def measure() -> dict[str, Any]:
    """Return seconds of one run each; a first one warms the disk and is left out."""
    with tempfile.TemporaryDirectory() as folder:
        home = Path(folder)
        for name in ("prometheus", "influxdb", "prefect"):
            (home / name).mkdir()
        text = home / "history.om"
        text.write_text(openmetrics())
        config = write_config(home / "setting")
        with (
            PrometheusServer(home / "prometheus", text) as prometheus,
            InfluxServer(home / "influxdb") as influxdb,
            PrefectServer(home / "prefect") as prefect,
        ):
            where = Where(prometheus.url, influxdb.url, influxdb.token, influxdb.org, str(config))

            def run(runner: str, chunk: str) -> dict[str, Any]:
                bucket = influxdb.make_bucket()
                place = Path(tempfile.mkdtemp(dir=home))
                variables = where.variables(place, bucket) | prefect.client_env()
                return _filled(runner, chunk, variables)

            run("threads", "6h")
            runs = {
                runner: {chunk: run(runner, chunk) for chunk in CHUNKS}
                for runner in ("threads", "dask")
            }
            limits = {"source": _source(prometheus), "influxdb": _sink(influxdb)}
    return _figures(runs, limits)


def _filled(runner: str, chunk: str, variables: dict[str, str]) -> dict[str, Any]:
    span = window()
    command = [str(COMMAND), "backfill", "--start", iso(span.start), "--stop", iso(span.stop)]
    command += ["--chunk", chunk, "--runner", runner, "--workers", str(WORKERS), "--json"]
    began = time.perf_counter()
    done = subprocess.run(
        command, env=environment(variables), check=False, stdout=subprocess.PIPE, text=True
    )
    wall = time.perf_counter() - began
    receipt = _receipt(done.stdout)
    if done.returncode or receipt.get("values", {}).get("landed") != VALUES:
        raise SystemExit(_unexpected(runner, chunk, done, receipt))
    return receipt | {"wall": wall}


def _receipt(printed: str) -> dict[str, Any]:
    """Parse the receipt that a backfill printed; empty without one."""
    with suppress(ValueError):
        return dict(json.loads(printed))
    return {}


def _unexpected(
    runner: str, chunk: str, done: "subprocess.CompletedProcess[str]", receipt: dict[str, Any]
) -> str:
    """Describe how the backfill ended, with its receipt and output."""
    landed = receipt.get("values", {}).get("landed")
    lines = [
        f"backfill --runner {runner} --chunk {chunk} ended with {done.returncode}, "
        f"{receipt.get('status', 'without a receipt')}: {landed} of {VALUES} values were landed"
    ]
    for line in receipt.get("measurements", ()):
        lines += [
            f"{line['name']}: {problem}" for problem in (*line["problems"], *line["warnings"])
        ]
    return "\n".join([*lines, *receipt.get("notes", ()), "It printed:", done.stdout or "nothing"])


def _at_once(jobs: Sequence[Callable[[], None]], workers: int) -> float:
    began = time.perf_counter()
    with ThreadPoolExecutor(workers) as pool:
        for future in [pool.submit(job) for job in jobs]:
            future.result()
    return time.perf_counter() - began


def _source(prometheus: PrometheusServer) -> float:
    """Return Prometheus's values a second, with as many queries as a run may have."""

    def ask(hour: int) -> None:
        first = START + timedelta(hours=hour)
        last = first + timedelta(hours=1, seconds=-STEP_SECONDS)
        form = {"query": QUERY, "start": iso(first), "end": iso(last), "step": f"{STEP_SECONDS}s"}
        answer = requests.post(f"{prometheus.url}/api/v1/query_range", data=form, timeout=60)
        answer.raise_for_status()

    jobs = [lambda hour=hour: ask(hour) for hour in range(24)]
    return VALUES / _at_once(jobs, Pipeline().queries_at_once)


def _sink(influxdb: InfluxServer) -> float:
    """Return InfluxDB's values a second, with as many posts at once as a run has."""
    bucket = influxdb.make_bucket()
    first = int(START.timestamp()) * 1_000_000_000
    bodies = [
        "\n".join(
            f"bench,environment=production,series={n} latency_seconds=0.{n}{i} {first + i * 10**9}"
            for i in range(LINES)
        ).encode()
        for n in range(BODIES)
    ]
    jobs = [lambda body=body: influxdb.write(bucket, body) for body in bodies]
    return LINES * BODIES / _at_once(jobs, POSTS_AT_ONCE)


def _figures(runs: dict[str, Any], limits: dict[str, float]) -> dict[str, Any]:
    seconds = {
        runner: {chunk: receipt["seconds"]["collect"] for chunk, receipt in of.items()}
        for runner, of in runs.items()
    }
    more = CHUNKS["1h"] - CHUNKS["6h"]
    a_chunk = {runner: (of["1h"] - of["6h"]) / more for runner, of in seconds.items()}
    one = VALUES / seconds["dask"]["6h"]
    return {
        "seconds": seconds,
        "chunk_seconds": {runner: round(took, 4) for runner, took in a_chunk.items()},
        "dask_overhead_a_chunk": round(a_chunk["dask"] - a_chunk["threads"], 4),
        "dask_start": round(runs["dask"]["6h"]["wall"] - runs["threads"]["6h"]["wall"], 2),
        "values_per_second": {"one_machine": round(one)} | {k: round(v) for k, v in limits.items()},
        "machines": [_machines(count, one, limits) for count in MACHINES],
    }


def _machines(count: int, one: float, limits: dict[str, float]) -> dict[str, Any]:
    rates = {"machines": count * one, **limits}
    name = min(rates, key=lambda each: rates[each])
    return {"machines": count, "values_per_second": round(rates[name]), "limit": name}


def _text(figures: dict[str, Any]) -> str:
    lines = [f"{describe()}, {WORKERS} workers"]
    for runner, of in figures["seconds"].items():
        took = ", ".join(f"{CHUNKS[chunk]} chunks {value:.1f} s" for chunk, value in of.items())
        lines.append(f"{runner:<8} {took}; one more chunk {figures['chunk_seconds'][runner]:.3f} s")
    lines.append(f"Dask's overhead a chunk  {figures['dask_overhead_a_chunk']:.3f} s")
    lines.append(f"its cluster, once a run  {figures['dask_start']:.1f} s")
    lines.append("machines  values a second  limited by")
    lines += [
        f"{row['machines']:>8}  {row['values_per_second']:>15,}  {row['limit']}"
        for row in figures["machines"]
    ]
    return "\n".join(lines)


if __name__ == "__main__":
    main()
