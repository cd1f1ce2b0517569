"""Resource use of this process, from the standard library alone."""

import os
import resource
import sys
import time
from pathlib import Path

STATM = Path("/proc/self/statm")
KIBIBYTE = 1024
LEAST_INTERVAL_SECONDS = 0.5


def memory_bytes() -> float:
    """Return this process's resident memory; without /proc, its peak."""
    try:
        resident_pages = int(STATM.read_text().split()[1])
    except OSError:
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        # kibibytes everywhere but on macOS
        return float(peak if sys.platform == "darwin" else peak * KIBIBYTE)
    return float(resident_pages * os.sysconf("SC_PAGE_SIZE"))


class CpuMeter:
    """CPU time of this process since the last reading, in percent of all cores."""

    def __init__(self) -> None:
        self._wall, self._cpu = time.monotonic(), time.process_time()
        self._cores = os.cpu_count() or 1
        self._percent = 0.0

    def percent(self) -> float:
        """Return 0 to 100; readings within LEAST_INTERVAL_SECONDS get the same answer."""
        wall, cpu = time.monotonic(), time.process_time()
        elapsed = wall - self._wall
        if elapsed >= LEAST_INTERVAL_SECONDS:
            share = (cpu - self._cpu) / (elapsed * self._cores)
            self._percent = min(100.0, max(0.0, 100.0 * share))
            self._wall, self._cpu = wall, cpu
        return self._percent
