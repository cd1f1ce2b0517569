"""The process's own CPU and memory."""

import time
from pathlib import Path

import pytest

from deployments.services.fl_server import host

GIBIBYTE = 2**30


def test_memory_is_that_of_a_python_process() -> None:
    assert 10e6 < host.memory_bytes() < 8 * GIBIBYTE


def test_memory_without_proc_is_the_largest_so_far(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    present = host.memory_bytes()
    monkeypatch.setattr(host, "STATM", tmp_path / "missing")
    assert 0.5 * present < host.memory_bytes() < 8 * GIBIBYTE


def test_cpu_is_seen_when_busy_and_not_when_asleep() -> None:
    meter = host.CpuMeter()
    until = time.monotonic() + host.LEAST_INTERVAL_SECONDS + 0.05
    while time.monotonic() < until:
        pass
    busy = meter.percent()
    assert 0 < busy <= 100
    assert meter.percent() == busy
    time.sleep(host.LEAST_INTERVAL_SECONDS + 0.05)
    assert meter.percent() < busy
