"""History for a Prometheus under test: OpenMetrics text, and the blocks promtool makes of it."""

import subprocess
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import numpy.typing as npt

from tests.support.process import program

PROMETHEUS = "apt install prometheus"
# promtool reads the whole text once a block, so that few long blocks are several times faster.
BLOCK = "54h"


def selector(name: str, labels: Mapping[str, str] | None = None) -> str:
    """One series as OpenMetrics spells it: `name{label="value",...}`, labels in order."""
    if not labels:
        return name
    pairs = ",".join(f'{key}="{_escape(value)}"' for key, value in sorted(labels.items()))
    return f"{name}{{{pairs}}}"


def _escape(value: str) -> str:
    return value.replace("\\", r"\\").replace('"', r"\"").replace("\n", r"\n")


def history(
    series: Mapping[str, npt.ArrayLike], start: int, step: int, *, skip_nan: bool = True
) -> str:
    """OpenMetrics text of evenly spaced samples: value i of a series is at `start + i * step`.

    Keys are what `selector` returns. Times are whole Unix seconds. A NaN is a gap; with
    `skip_nan=False` it is a sample. Keep all samples in the past: a Prometheus refuses to
    scrape anything older than the end of its blocks.
    """
    parts = [
        line
        for name, values in series.items()
        for line in _lines(name, np.asarray(values), start, step, skip_nan)
    ]
    # promtool refuses a text without its end mark.
    return "".join([*parts, "# EOF\n"])


def _lines(
    name: str, values: npt.NDArray[np.generic], start: int, step: int, skip_nan: bool
) -> list[str]:
    times = range(start, start + step * len(values), step)
    pairs = zip(values.tolist(), times, strict=True)
    return [f"{name} {value!r} {time}\n" for value, time in pairs if not skip_nan or value == value]


def create_blocks(text: str | Path, data: Path) -> None:
    """Make Prometheus blocks in the folder `data` from OpenMetrics text or a file of it.

    All history of one server has to go in at once or not overlap: samples of one series in two
    overlapping texts become overlapping blocks, and samples out of order are refused.
    """
    promtool = program("promtool", PROMETHEUS)
    if isinstance(text, str):
        path = data.parent / f"{data.name}.openmetrics"
        path.write_text(text, encoding="utf-8")
    else:
        path = text
    command = [promtool, "tsdb", "create-blocks-from", f"--max-block-duration={BLOCK}"]
    command += ["openmetrics", "--quiet", str(path), str(data)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if isinstance(text, str):
        path.unlink()
    if done.returncode:
        raise RuntimeError(f"promtool refused the history: {done.stdout}{done.stderr}")
