"""What the shipped catalogue's hourly run costs, and the command around it.

`python -m benchmarks.hourly [--json]`: starts a real Prometheus with history, the demo service for
its API and certificate, a real InfluxDB and a real Prefect server, and prints medians of one run. Seconds of one machine say little; what they
are made of says more.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from tasks.core.settings import shipped
from tasks.core.window import floor, iso
from tests.deployments.services.fl_server.running_server import started
from tests.real.process import environment
from tests.real.servers import InfluxServer, PrefectServer, PrometheusServer
from tests.real.service_history import service_history

REPETITIONS = 5
HOUR = timedelta(hours=1)
# the newest of the five hours of history is the one that is not over yet
BEGAN = floor(datetime.now(UTC), HOUR) - 4 * HOUR
PAST = [iso(BEGAN + HOUR), iso(BEGAN + 2 * HOUR)]
TRIVIAL = """
from prefect import flow, task
@task
def nothing(): pass
@flow
def trivial(): nothing()
trivial()
"""
LOADED = "import sys; from flows.cli import main; sys.argv = ['fedvitals', {arguments}]\ntry: main()\nexcept SystemExit: pass\nprint('great_expectations' in sys.modules, file=sys.stderr)"


def main() -> None:
    """Measures everything and prints it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", action="store_true", help="one JSON document on standard output")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        figures = _measure(Path(folder))
    print(json.dumps(figures, indent=2) if options.json else _table(figures))


def _measure(folder: Path) -> dict[str, Any]:
    for name in ("prometheus", "influxdb", "prefect"):
        (folder / name).mkdir()
    tls = ("--https-port", "0", "--tls-dir", str(folder))
    with (
        PrometheusServer(folder / "prometheus", service_history(BEGAN)) as prometheus,
        started(*tls) as service,
        InfluxServer(folder / "influxdb") as influxdb,
        PrefectServer(folder / "prefect") as prefect,
    ):
        variables = environment(
            {
                "FEDVITALS_CONFIG": str(shipped("config")),
                "PROMETHEUS_URL": prometheus.url,
                "FED_VIT_API_URL": str(service.https),
                "REQUESTS_CA_BUNDLE": str(service.ca_file),
                "INFLUXDB_URL": influxdb.url,
                "INFLUXDB_TOKEN": influxdb.token,
                "INFLUXDB_ORG": influxdb.org,
                "INFLUXDB_BUCKET": influxdb.make_bucket(),
            }
        )
        return {
            "warm_seconds": _warm(folder, variables),
            **_commands(folder, {**variables, **prefect.client_env()}),
            "help_seconds": _help(variables),
        }


def _warm(folder: Path, variables: Mapping[str, str]) -> dict[str, float]:
    """One process: what is due collected, and reported, each time into a fresh home."""
    from tasks.core.settings import load_settings
    from tasks.runs.base.collecting import collect_by_source
    from tasks.runs.base.plan import Request, covered_window, make_plan
    from tasks.runs.base.report import report_run
    from tasks.runs.base.run import Run

    def run(number: int) -> tuple[float, float]:
        home = folder / f"warm-{number}"
        settings = load_settings({**variables, "FEDVITALS_HOME": str(home)})
        with Run("collect", settings) as run:
            plan = make_plan(run, Request())
            started = time.perf_counter()
            collect_by_source(run, plan)
            receipt = run.account(covered_window(plan, run.outcomes))
            collected = time.perf_counter()
            report_run(run, plan, receipt)
            return collected - started, time.perf_counter() - collected

    run(0)
    runs = [run(number) for number in range(1, REPETITIONS + 1)]
    collect, report = (statistics.median(part) for part in zip(*runs, strict=True))
    return {"collect": collect, "report": report, "all": collect + report}


def _commands(folder: Path, variables: Mapping[str, str]) -> dict[str, Any]:
    """The command against a running Prefect server, and what a trivial flow takes there."""
    past = ["collect", "--start", PAST[0], "--stop", PAST[1]]
    homes = iter(range(REPETITIONS + 1))

    def fresh() -> dict[str, str]:
        return {**variables, "FEDVITALS_HOME": str(folder / f"command-{next(homes)}")}

    again = fresh()
    _timed([*_FEDVITALS, *past], again)
    code = LOADED.format(arguments=", ".join(repr(argument) for argument in past))
    checked = subprocess.run(
        [sys.executable, "-c", code], env=again, capture_output=True, text=True, check=True
    )
    return {
        "imports_seconds": _median(
            lambda: _timed(
                [sys.executable, "-c", "import flows.collect, great_expectations"], variables
            )
        ),
        "trivial_flow_seconds": _median(lambda: _timed([sys.executable, "-c", TRIVIAL], variables)),
        "command_seconds": _median(lambda: _timed([*_FEDVITALS, "collect"], fresh())),
        "nothing_to_do_seconds": _median(lambda: _timed([*_FEDVITALS, *past], again)),
        "nothing_to_do_imports_great_expectations": checked.stderr.strip().endswith("True"),
    }


def _help(variables: Mapping[str, str]) -> dict[str, float]:
    return {
        "help": _median(lambda: _timed([*_FEDVITALS, "--help"], variables)),
        "import_typer": _median(lambda: _timed([sys.executable, "-c", "import typer"], variables)),
    }


_FEDVITALS = [str(Path(sys.executable).with_name("fedvitals"))]


def _median(measure: Callable[[], float]) -> float:
    return statistics.median(measure() for _ in range(REPETITIONS))


def _timed(command: list[str], variables: Mapping[str, str]) -> float:
    started = time.perf_counter()
    done = subprocess.run(
        command, env={**os.environ, **variables}, capture_output=True, check=False
    )
    # 1: it ran, and the demo service is not in the best of health
    if done.returncode not in (0, 1):
        raise RuntimeError(done.stderr.decode()[-2000:])
    return time.perf_counter() - started


def _table(figures: Mapping[str, Any]) -> str:
    warm, helps = figures["warm_seconds"], figures["help_seconds"]
    trivial, nothing = figures["trivial_flow_seconds"], figures["nothing_to_do_seconds"]
    rows = [
        ("hourly run, warm, without Prefect", warm["all"]),
        ("  collect", warm["collect"]),
        ("  report", warm["report"]),
        ("command to exit, Prefect server running", figures["command_seconds"]),
        ("  of which imports", figures["imports_seconds"]),
        ("  a trivial flow of one task, imports included", trivial),
        ("nothing to do", nothing),
        ("  beyond the trivial flow", nothing - trivial),
        ("--help", helps["help"]),
        ("  beyond importing typer", helps["help"] - helps["import_typer"]),
    ]
    lines = [f"{name:<48} {seconds:>7.2f} s" for name, seconds in rows]
    imported = figures["nothing_to_do_imports_great_expectations"]
    return "\n".join(
        [*lines, f"nothing to do imports Great Expectations: {'yes' if imported else 'no'}"]
    )


if __name__ == "__main__":
    main()
