"""Cost of the shipped catalogue's hourly run, and of the command around it.

`python -m benchmarks.hourly [--json]`: starts a real Prometheus with history, the demo service for
its API and certificate, and a real InfluxDB, and prints medians of one run. A command is measured
from its start to its exit, beside a process that only imports what the command imported.
"""

import argparse
import json
import os
import shutil
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
from tests.support.process import environment
from tests.support.running_server import started
from tests.support.servers import InfluxServer, PrometheusServer
from tests.support.service_history import service_history

REPETITIONS = 5
HOUR = timedelta(hours=1)
# the newest of the five hours of history is still under way
BEGAN = floor(datetime.now(UTC), HOUR) - 4 * HOUR
PAST = [iso(BEGAN + 2 * HOUR), iso(BEGAN + 4 * HOUR)]
# runs the command in this process, then prints the modules that it imported
MODULES = """
import json, sys
from flows.cli import main
sys.argv = ["fedvitals", *{arguments}]
try:
    main()
except SystemExit:
    pass
print(json.dumps(sorted(sys.modules)), file=sys.stderr)
"""
# only imports those modules
IMPORTS = """
import importlib, json, sys
for name in json.load(open(sys.argv[1])):
    try:
        importlib.import_module(name)
    except ImportError:
        pass
"""
HEAVY = ("prefect", "matplotlib", "great_expectations", "pandas")


def main() -> None:
    """Measure everything and print it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", action="store_true", help="one JSON document on standard output")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        figures = _measure(Path(folder))
    print(json.dumps(figures, indent=2) if options.json else _table(figures))


def _measure(folder: Path) -> dict[str, Any]:
    for name in ("prometheus", "influxdb"):
        (folder / name).mkdir()
    tls = ("--https-port", "0", "--tls-dir", str(folder))
    with (
        PrometheusServer(folder / "prometheus", service_history(BEGAN)) as prometheus,
        started(*tls) as service,
        InfluxServer(folder / "influxdb") as influxdb,
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
            "commands": _commands(folder, variables),
            "help_seconds": _help(variables),
        }


def _warm(folder: Path, variables: Mapping[str, str]) -> dict[str, float]:
    """Collect due data and report it in one process, each time into a fresh home."""
    from tasks.core.settings import load_settings
    from tasks.runs.base.collecting import collect_by_source
    from tasks.runs.base.plan import Request, covered_window, make_plan
    from tasks.runs.base.report import report_run
    from tasks.runs.base.run import Run

    # requests looks for it in the environment alone
    os.environ["REQUESTS_CA_BUNDLE"] = variables["REQUESTS_CA_BUNDLE"]

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
    """Measure commands without Prefect: one measurement, the catalogue, an idle run."""
    homes = iter(range(100))

    def fresh() -> dict[str, str]:
        return {**variables, "FEDVITALS_HOME": str(folder / f"command-{next(homes)}")}

    def lived_in() -> dict[str, str]:
        """A copy of a home that has run before, as that of every hour but the first."""
        copy = folder / f"command-{next(homes)}"
        shutil.copytree(again["FEDVITALS_HOME"], copy)
        return {**variables, "FEDVITALS_HOME": str(copy)}

    past = ["collect", "--start", PAST[0], "--stop", PAST[1]]
    again = fresh()
    _timed([*_FEDVITALS, *past], again)
    return {
        "one_measurement": _command(folder, ["collect", "--measurement", "http_latency"], fresh),
        "hourly_catalogue": _command(folder, ["collect"], lived_in),
        "first_run": _command(folder, ["collect"], fresh),
        "nothing_to_do": _command(folder, past, lambda: again),
    }


def _command(
    folder: Path, arguments: list[str], variables: Callable[[], Mapping[str, str]]
) -> dict[str, Any]:
    """Return seconds of the command, of its imports alone, and its heavy imports."""
    code = MODULES.format(arguments=arguments)
    ran = subprocess.run(
        [sys.executable, "-c", code], env=variables(), capture_output=True, text=True, check=False
    )
    modules = json.loads(ran.stderr.strip().splitlines()[-1])
    names = folder / "modules.json"
    names.write_text(json.dumps(modules))
    imports = [sys.executable, "-c", IMPORTS, str(names)]
    whole = _median(lambda: _timed([*_FEDVITALS, *arguments], variables()))
    imported = _median(lambda: _timed(imports, variables()))
    return {
        "seconds": whole,
        "imports_seconds": imported,
        "beyond_imports": whole - imported,
        "imports": [name for name in HEAVY if name in modules],
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
    # 1: it ran, but the demo service is not in good health
    if done.returncode not in (0, 1):
        raise RuntimeError(done.stderr.decode()[-2000:])
    return time.perf_counter() - started


def _table(figures: Mapping[str, Any]) -> str:
    warm, helps = figures["warm_seconds"], figures["help_seconds"]
    lines = [
        _line("hourly run, warm", warm["all"]),
        _line("  collect", warm["collect"]),
        _line("  report", warm["report"]),
    ]
    for name, command in figures["commands"].items():
        lines.append(_line(f"{name.replace('_', ' ')}, command to exit", command["seconds"]))
        lines.append(
            _line(f"  imports ({', '.join(command['imports'])})", command["imports_seconds"])
        )
        lines.append(_line("  beyond the imports", command["beyond_imports"]))
    lines.append(_line("--help", helps["help"]))
    lines.append(_line("  beyond importing typer", helps["help"] - helps["import_typer"]))
    return "\n".join(lines)


def _line(name: str, seconds: float) -> str:
    return f"{name:<56} {seconds:>7.2f} s"


if __name__ == "__main__":
    main()
