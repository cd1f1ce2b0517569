"""Parts of the pipeline benchmark, each in a process of its own."""

import importlib
import json
import logging
import os
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import requests

from benchmarks.setting import MEASUREMENT, QUERY, STEP_SECONDS, TEN, VALUES, Where, peak_mb, window
from benchmarks.telegraf import binary
from benchmarks.telegraf import seconds as telegraf_seconds
from tasks.core.window import iso

REST_SECONDS = 2.0
# imports of a flow's run when everything is in use
EVERYTHING = (
    "prefect", "pandas", "influxdb_client", "prometheus_api_client", "requests", "matplotlib.figure",
    "great_expectations", "deltalake", "duckdb", "sqlalchemy", "flows.collect",
)  # fmt: skip


def ours(where: Where, repetitions: int) -> dict[str, Any]:
    """Run our own plain functions, warm: extract to load, with lake and ledger."""
    _collect(where)
    runs = [_collect(where) for _ in range(repetitions)]
    middle = sorted(runs, key=lambda run: float(run["seconds"]))[len(runs) // 2]
    return {
        "seconds": [run["seconds"] for run in runs],
        "stages": middle["stages"],
        "values": middle["values"],
    }


def _collect(where: Where, days: int = 1) -> dict[str, Any]:
    from tasks.core.settings import load_settings
    from tasks.runs.base.collecting import collect_by_source
    from tasks.runs.base.plan import Request, make_plan
    from tasks.runs.base.run import Run

    span, bucket = window(days), _new_bucket(where)
    with tempfile.TemporaryDirectory() as home:
        settings = load_settings(where.variables(Path(home), bucket))
        asked = Request("performance", None, iso(span.start), iso(span.stop))
        with Run("collect", settings) as run:
            plan = make_plan(run, asked)
            started, busy = time.perf_counter(), time.process_time()
            collect_by_source(run, plan)
            seconds, busy = time.perf_counter() - started, time.process_time() - busy
            receipt = run.account(span)
    if receipt.status != "ok" or receipt.sinks["influxdb"].loaded != days * VALUES:
        raise RuntimeError(f"this repetition did not load everything: {receipt}")
    stages = {name: took for name, took in receipt.seconds.items() if name != "work"}
    return {
        "seconds": seconds,
        "cpu_seconds": busy,
        "stages": stages,
        "values": receipt.values.landed,
    }


def plain(where: Where, repetitions: int) -> dict[str, Any]:
    """Run the card's packages as in their documentation, with all defaults."""
    return {"seconds": [_plain(where) for _ in range(repetitions)]}


def _plain(where: Where) -> float:
    from influxdb_client import InfluxDBClient
    from influxdb_client.client.write_api import SYNCHRONOUS
    from prometheus_api_client import MetricRangeDataFrame, PrometheusConnect

    span, bucket = window(), _new_bucket(where)
    source = PrometheusConnect(url=where.prometheus)
    with InfluxDBClient(
        url=where.influxdb, token=where.token, org=where.org, timeout=600_000
    ) as client:
        started = time.perf_counter()
        answer = source.custom_query_range(QUERY, span.start, _last(), f"{STEP_SECONDS}s")
        frame = MetricRangeDataFrame(answer)
        client.write_api(write_options=SYNCHRONOUS).write(
            bucket,
            record=frame,
            data_frame_measurement_name=MEASUREMENT,
            data_frame_tag_columns=[name for name in frame.columns if name != "value"],
        )
        return time.perf_counter() - started


def _last() -> Any:
    from datetime import timedelta

    return window().stop - timedelta(seconds=STEP_SECONDS)


def ceiling(where: Where, repetitions: int) -> dict[str, Any]:
    """Run the least possible: curl fetches the answer, curl posts ready lines."""
    with tempfile.TemporaryDirectory() as folder:
        bodies = _ready_lines(where, Path(folder))
        one = [_curl(where, bodies[:1], 1) for _ in range(repetitions)]
        two = [_curl(where, bodies[1:], 2) for _ in range(repetitions)]
    return {"one_post": one, "two_posts": two}


def _ready_lines(where: Where, folder: Path) -> list[Path]:
    """Write all lines into one file, then the same into eight."""
    from tasks.core.settings import load_settings
    from tasks.lake.tables import Lake
    from tasks.runs.base.collecting import collect_by_source
    from tasks.runs.base.plan import Request, make_plan
    from tasks.runs.base.run import Run
    from tasks.sinks.line_protocol import to_lines

    span = window()
    settings = load_settings({**where.variables(folder / "home", "none"), "INFLUXDB_URL": ""})
    with Run("collect", settings) as run:
        plan = make_plan(run, Request("performance", None, iso(span.start), iso(span.stop)))
        collect_by_source(run, plan)
    frame = Lake(settings.lake_url).read(plan.measurements[0], plan.environment.name, span)
    files = []
    for name, rows in [
        ("all", frame),
        *((f"part-{n}", frame.iloc[n::8].reset_index(drop=True)) for n in range(8)),
    ]:
        files.append(folder / name)
        files[-1].write_bytes(bytes(to_lines(rows, plan.measurements[0]).buffer))
    return files


def _curl(where: Where, bodies: list[Path], at_once: int) -> float:
    bucket, span = _new_bucket(where), window()
    query = [
        "--data-urlencode",
        f"query={QUERY}",
        "-d",
        f"start={iso(span.start)}",
        "-d",
        f"end={iso(_last())}",
    ]
    fetch = [
        "curl",
        "-sf",
        "-o",
        os.devnull,
        f"{where.prometheus}/api/v1/query_range",
        *query,
        "-d",
        f"step={STEP_SECONDS}",
    ]
    target = f"{where.influxdb}/api/v2/write?org={where.org}&bucket={bucket}&precision=s"
    started = time.perf_counter()
    subprocess.run(fetch, check=True)
    with ThreadPoolExecutor(at_once) as pool:
        list(pool.map(lambda body: _post(target, where.token, body), bodies))
    return time.perf_counter() - started


def _post(target: str, token: str, body: Path) -> None:
    header = f"Authorization: Token {token}"
    subprocess.run(["curl", "-sf", "-H", header, "--data-binary", f"@{body}", target], check=True)


def telegraf(where: Where, repetitions: int) -> dict[str, Any]:
    """Run the same job in Telegraf; no seconds where it cannot be built."""
    program = binary()
    if program is None:
        return {"seconds": []}
    with tempfile.TemporaryDirectory() as folder:
        return {
            "seconds": [
                telegraf_seconds(program, where, window(), _new_bucket(where), Path(folder))
                for _ in range(repetitions)
            ]
        }


def one_day(where: Where, repetitions: int) -> dict[str, Any]:
    """Run one day in a fresh process: processor seconds and wall after a first run."""
    return _days(where, 1, repetitions)


def ten_days(where: Where, repetitions: int) -> dict[str, Any]:
    """Run ten days in a fresh process: processor seconds and wall after a first run."""
    return _days(where, TEN, repetitions)


def _days(where: Where, days: int, repetitions: int) -> dict[str, Any]:
    imports(where, 1)
    _collect(where)
    runs = [_collect(where, days) for _ in range(repetitions)]
    return {
        "seconds": [run["seconds"] for run in runs],
        "cpu_seconds": [run["cpu_seconds"] for run in runs],
    }


def memory_one_day(where: Where, _repetitions: int) -> dict[str, Any]:
    """Return the peak of a fresh process that imports everything and does one day."""
    return _memory(where, 1)


def memory_ten_days(where: Where, _repetitions: int) -> dict[str, Any]:
    """Return the peak of a fresh process that imports everything and does ten days."""
    return _memory(where, TEN)


def _memory(where: Where, days: int) -> dict[str, Any]:
    imports(where, 1)
    _collect(where, days)
    return {"peak_mb": peak_mb()}


def imports(_where: Where, _repetitions: int) -> dict[str, Any]:
    """Return the peak of a fresh process that only imports everything."""
    for name in EVERYTHING:
        importlib.import_module(name)
    return {"peak_mb": peak_mb()}


def _new_bucket(where: Where) -> str:
    """Create a bucket, after a rest in which the server flushes earlier writes."""
    time.sleep(REST_SECONDS)
    name = f"bench-{uuid.uuid4().hex[:8]}"
    headers = {"Authorization": f"Token {where.token}"}
    orgs = requests.get(
        f"{where.influxdb}/api/v2/orgs", headers=headers, params={"org": where.org}, timeout=30
    )
    body = {"name": name, "orgID": orgs.json()["orgs"][0]["id"], "retentionRules": []}
    requests.post(
        f"{where.influxdb}/api/v2/buckets", headers=headers, json=body, timeout=30
    ).raise_for_status()
    return name


if __name__ == "__main__":
    logging.disable(logging.WARNING)
    part: Callable[[Where, int], dict[str, Any]] = globals()[sys.argv[1]]
    print(json.dumps(part(Where(**json.loads(sys.argv[3])), int(sys.argv[2]))))
