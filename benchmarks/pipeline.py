"""Speed and size of the main job, against packages used plainly and two ceilings.

`python -m benchmarks.pipeline [--json]`: starts a real Prometheus and a real InfluxDB, and prints
medians of five in one run. The parts run in child processes, so that memory is each part's own.
"""

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from benchmarks.setting import TEN, Where, describe, openmetrics, write_config
from tests.support.servers import InfluxServer, PrometheusServer

REPETITIONS = 5
PARTS = ("ours", "plain", "ceiling", "telegraf", "one_day", "ten_days")
PEAKS = ("memory_one_day", "memory_ten_days", "imports")
# ten times the work needs fewer repetitions to stand out from noise
FEWER = 3


def main() -> None:
    """Measure everything and print it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", action="store_true", help="one JSON document on standard output")
    parser.add_argument("--repetitions", type=int, default=REPETITIONS)
    options = parser.parse_args()
    figures = measure(options.repetitions)
    if options.json:
        print(json.dumps(figures, indent=2))
    else:
        _print(figures)


def measure(repetitions: int) -> dict[str, Any]:
    """Return all figures: seconds are medians, ratios are of medians of the same run."""
    with tempfile.TemporaryDirectory() as folder:
        home = Path(folder)
        text = home / "history.om"
        text.write_text(openmetrics(TEN))
        for name in ("prometheus", "influxdb"):
            (home / name).mkdir()
        config = write_config(home / "setting")
        with (
            PrometheusServer(home / "prometheus", text) as prometheus,
            InfluxServer(home / "influxdb") as influxdb,
        ):
            where = Where(prometheus.url, influxdb.url, influxdb.token, influxdb.org, str(config))
            parts = {part: _child(part, where, _times(part, repetitions)) for part in PARTS}
            memory = {part: _peaks(part, where) for part in PEAKS}
    return _figures(parts, memory)


def _peaks(part: str, where: Where) -> float:
    """Return megabytes, the median of fresh processes."""
    return statistics.median(float(_child(part, where, 1)["peak_mb"]) for _ in range(FEWER))


def _times(part: str, repetitions: int) -> int:
    return min(repetitions, FEWER) if part in ("one_day", "ten_days", "telegraf") else repetitions


def _growth(parts: dict[str, dict[str, Any]], key: str) -> float:
    """Return ten days' figure over one day's, of medians."""
    ten, one = (parts[name][key] for name in ("ten_days", "one_day"))
    return round(float(statistics.median(ten) / statistics.median(one)), 2)


def _figures(parts: dict[str, dict[str, Any]], memory: dict[str, float]) -> dict[str, Any]:
    ours = statistics.median(parts["ours"]["seconds"])
    plain = statistics.median(parts["plain"]["seconds"])
    one, two = (statistics.median(parts["ceiling"][key]) for key in ("one_post", "two_posts"))
    telegraf = parts["telegraf"]["seconds"]
    stages = parts["ours"]["stages"]
    total = sum(stages.values())
    return {
        "ratio_plain": round(plain / ours, 2),
        "ratio_telegraf": round(statistics.median(telegraf) / ours, 2) if telegraf else None,
        "ratio_ceiling": round(one / ours, 3),
        "ratio_ceiling_two_posts": round(two / ours, 3),
        "peak_mb": round(memory["memory_one_day"]),
        "imports_mb": round(memory["imports"]),
        "ratio_memory_10x": round(memory["memory_ten_days"] / memory["memory_one_day"], 3),
        "ratio_cpu_10x": _growth(parts, "cpu_seconds"),
        "ratio_wall_10x": _growth(parts, "seconds"),
        "stages": {name: round(took / total, 3) for name, took in stages.items()},
        "seconds": {
            "ours": round(ours, 3),
            "plain": round(plain, 3),
            "one_post": round(one, 3),
            "two_posts": round(two, 3),
            "telegraf": round(statistics.median(telegraf), 3) if telegraf else None,
        },
        "values": parts["ours"]["values"],
    }


def _child(part: str, where: Where, repetitions: int) -> dict[str, Any]:
    command = [
        sys.executable,
        "-m",
        "benchmarks.pipeline_parts",
        part,
        str(repetitions),
        json.dumps(where.__dict__),
    ]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
    answer: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return answer


def _print(figures: dict[str, Any]) -> None:
    seconds = figures["seconds"]
    print(describe())
    print(f"fedvitals                      {seconds['ours']:>8.2f} s")
    print(
        f"packages used plainly          {seconds['plain']:>8.2f} s   {figures['ratio_plain']:.1f} times ours"
    )
    print(
        f"ceiling, one post              {seconds['one_post']:>8.2f} s   our rate is {figures['ratio_ceiling']:.0%} of it"
    )
    print(
        f"ceiling, two posts at a time   {seconds['two_posts']:>8.2f} s   our rate is {figures['ratio_ceiling_two_posts']:.0%} of it"
    )
    print(
        f"peak memory                    {figures['peak_mb']:>8} MB  of which imports alone {figures['imports_mb']} MB"
    )
    if figures["ratio_telegraf"] is None:
        print("Telegraf                       not measured: it is built with Go, which is not here")
    else:
        print(
            f"Telegraf                       {seconds['telegraf']:>8.2f} s   {figures['ratio_telegraf']:.1f} times ours"
        )
    print(
        f"ten days against one: processor {figures['ratio_cpu_10x']} times, wall "
        f"{figures['ratio_wall_10x']} times, peak memory {figures['ratio_memory_10x']} times"
    )
    for name, share in figures["stages"].items():
        print(f"  stage {name:<12} {share:>6.1%}")


if __name__ == "__main__":
    main()
