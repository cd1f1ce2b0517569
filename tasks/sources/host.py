"""Figures of the machine that a service runs on: of this machine, or from the node exporter."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime
from statistics import fmean
from typing import Any

from tasks.core.errors import FedvitalsError
from tasks.core.health import HostSample
from tasks.core.services import Service
from tasks.http import Limits
from tasks.sources.http import PROMETHEUS, Client
from tasks.sources.json_body import json_of

ROOT = "/"
LIMITS = Limits(connect=5.0, silence=10.0, total=10.0, largest=1 << 20)
_DISKS = '{fstype!~"tmpfs|ramfs|squashfs|iso9660"}'
# what is reserved for root counts as neither used nor free, as in df and psutil
_USED = f"node_filesystem_size_bytes{_DISKS} - node_filesystem_free_bytes{_DISKS}"
# of the machine that is worst; shares are means of 10 minutes
_QUERIES = {
    "cpu_ratio": """max(clamp_max(sum by (instance) (rate(node_cpu_seconds_total{mode!="idle"}[10m]))
        / sum by (instance) (rate(node_cpu_seconds_total[10m])), 1))""",
    "memory_ratio": """max(1 - sum by (instance) (avg_over_time(node_memory_MemAvailable_bytes[10m]))
        / sum by (instance) (avg_over_time(node_memory_MemTotal_bytes[10m])))""",
    "disk_ratio": f"max(({_USED}) / ({_USED} + node_filesystem_avail_bytes{_DISKS} > 0))",
    "load_1m": "max(node_load1)",
    "load_5m": "max(node_load5)",
    "load_15m": "max(node_load15)",
}
_QUERY = " or ".join(
    f'label_replace({query}, "figure", "{name}", "", "")' for name, query in _QUERIES.items()
)


def local_host(environment: str, seconds: float | None = 1.0) -> HostSample:
    """Return this machine's figures, of CPU over so many seconds, or since the last call."""
    import psutil

    cpu = psutil.cpu_percent(seconds)
    return HostSample(
        environment,
        datetime.now(UTC),
        cpu / 100,
        psutil.virtual_memory().percent / 100,
        psutil.disk_usage(ROOT).percent / 100,
        *psutil.getloadavg(),
    )


def node_exporter(environment: str, prometheus: Service) -> HostSample | None:
    """Return the figures that Prometheus has of the environment's machines; None without them."""
    now = datetime.now(UTC)
    try:
        with Client(prometheus, PROMETHEUS, LIMITS) as client:
            request = client.request("query of the node exporter")
            answer = client.ask("/api/v1/query", request.what, form={"query": _QUERY})
            found = json_of(answer, request)["data"]["result"]
        figures = {one["metric"]["figure"]: float(one["value"][1]) for one in found}
        return HostSample(environment, now, **figures)
    # without the node exporter some figure is missing
    except (FedvitalsError, KeyError, TypeError, ValueError, IndexError):
        return None


def mean_host(samples: Sequence[HostSample]) -> HostSample:
    """Return the mean of several figures of one machine, dated as the last one."""
    shares = ("cpu_ratio", "memory_ratio", "disk_ratio")
    means: dict[str, Any] = {name: fmean(getattr(one, name) for one in samples) for name in shares}
    return replace(samples[-1], **means)
