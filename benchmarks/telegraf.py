"""Telegraf on the same query: inputs.http with xpath_json, outputs.influxdb_v2."""

import os
import shutil
import subprocess
import time
from pathlib import Path
from urllib.parse import urlencode

from benchmarks.setting import MEASUREMENT, QUERY, STEP_SECONDS, TAGS, VALUES, Where
from tasks.core.window import Window, iso

PACKAGE = "github.com/influxdata/telegraf/cmd/telegraf@v1.39.0"
# only the needed plugins, or the build takes an hour
BUILD_TAGS = "custom,inputs.http,outputs.influxdb_v2,parsers.xpath"
CONFIG = """
[agent]
  interval = "10s"
  metric_batch_size = 50000
  metric_buffer_limit = {buffer}
  omit_hostname = true
  logformat = "text"
  quiet = true
[[inputs.http]]
  urls = ["{url}"]
  timeout = "300s"
  data_format = "xpath_json"
  [[inputs.http.xpath]]
    metric_name = "'{measurement}'"
    metric_selection = "//data/result/*/values/*"
    timestamp = "*[1]"
    timestamp_format = "unix"
    [inputs.http.xpath.tags]
{tags}
    [inputs.http.xpath.fields]
      latency_seconds = "number(*[2])"
[[outputs.influxdb_v2]]
  urls = ["{influxdb}"]
  token = "{token}"
  organization = "{org}"
  bucket = "{bucket}"
  timeout = "300s"
"""


def binary() -> Path | None:
    """Return the built Telegraf, kept beside influxd; None without Go."""
    caches = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    folder = caches / "fedvitals" / "bin"
    if not (folder / "telegraf").is_file():
        if shutil.which("go") is None:
            return None
        folder.mkdir(parents=True, exist_ok=True)
        subprocess.run(
            ["go", "install", "-tags", BUILD_TAGS, PACKAGE],
            env={**os.environ, "GOBIN": str(folder)},
            check=True,
        )
    return folder / "telegraf"


def seconds(program: Path, where: Where, span: Window, bucket: str, folder: Path) -> float:
    """Return seconds of gathering the span into the bucket, without the start."""
    nothing = _once(program, where, f"{QUERY}_of_nothing", span, bucket, folder)
    return _once(program, where, QUERY, span, bucket, folder) - nothing


def _once(
    program: Path, where: Where, query: str, span: Window, bucket: str, folder: Path
) -> float:
    asked = urlencode(
        {
            "query": query,
            "start": iso(span.start),
            # a range query includes both ends
            "end": span.stop.timestamp() - STEP_SECONDS,
            "step": STEP_SECONDS,
        }
    )
    config = folder / "telegraf.conf"
    config.write_text(
        CONFIG.format(
            buffer=2 * VALUES,
            url=f"{where.prometheus}/api/v1/query_range?{asked}",
            measurement=MEASUREMENT,
            tags="\n".join(f'      {tag} = "string(../../metric/{tag})"' for tag in TAGS),
            influxdb=where.influxdb,
            token=where.token,
            org=where.org,
            bucket=bucket,
        )
    )
    started = time.perf_counter()
    subprocess.run([str(program), "--once", "--config", str(config)], check=True)
    return time.perf_counter() - started
