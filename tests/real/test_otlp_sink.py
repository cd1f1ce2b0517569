"""OTLP to the real Prometheus 3 and the real VictoriaMetrics, counted back by query."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from tasks.core.metric_services import OtlpTuning
from tasks.core.ports import CellToLoad
from tasks.core.receipt import SinkValues
from tasks.core.services import OtlpService
from tasks.core.window import Cell, floor
from tasks.sinks.otlp import OtlpSink, check
from tests.support.servers import PrometheusServer, VictoriaServer
from tests.support.sink_samples import HOUR, make_frame, make_measurement

MEASUREMENT = make_measurement(("room",), x="float")
SENT = {"latency.x": {"name": "x.there"}}
MINUTE = timedelta(minutes=1)


def service_at(url: str) -> OtlpService:
    return OtlpService(url=url, origin="OTLP_URL")


def load(service: OtlpService, cell: Cell, rooms: int, **tuning: Any) -> SinkValues:
    """Load a value each 15 s of each room, four to a point."""
    start, seconds = cell.start.timestamp(), int((cell.stop - cell.start).total_seconds())
    rows = [
        {"time": start + at, "room": f"r{n}", "x": float(at)}
        for n in range(rooms)
        for at in range(0, seconds, 15)
    ]
    settings = {"enabled": True, "send": SENT, "tags": {"room": "room"}, **tuning}
    sink = OtlpSink(service, OtlpTuning.model_validate(settings), 5.0)
    answers = sink.load(
        MEASUREMENT, "production", [CellToLoad(cell, make_frame(MEASUREMENT, rows))]
    )
    values = sum((answer.values for answer in answers if answer.is_whole), SinkValues())
    sink.close()
    return values


@pytest.mark.promise(
    "Loading: VictoriaMetrics and Prometheus 3 hold each point sent by OTLP once, at its own time"
)
def test_victoriametrics_holds_a_day(victoria: VictoriaServer) -> None:
    service = service_at(f"{victoria.url}/opentelemetry/v1/metrics")
    assert [each.ok for each in check(service)] == [True]
    stop = floor(datetime.now(UTC), HOUR)
    values = load(service, Cell(stop - 24 * HOUR, stop), 3, max_age="26h")
    assert values == SinkValues(owed=3 * 5760, loaded=3 * 5760)
    found = victoria.stored('{__name__="x.there"}')
    assert len(found) == 3
    start = (stop - 24 * HOUR).timestamp()
    mean = [(start + 60 * n, 60 * n + 22.5) for n in range(1440)]
    assert all(samples == mean for samples in found.values())


def test_prometheus_holds_what_is_young_and_refuses_what_is_out_of_order(
    make_prometheus: Callable[..., PrometheusServer],
) -> None:
    server = make_prometheus(version="3", otlp=True)
    service = service_at(f"{server.url}/api/v1/otlp/v1/metrics")
    assert [each.ok for each in check(service)] == [True]
    now = floor(datetime.now(UTC), MINUTE)
    late, early = Cell(now - 20 * MINUTE, now), Cell(now - 40 * MINUTE, now - 20 * MINUTE)
    assert load(service, late, 2) == SinkValues(owed=160, loaded=160)
    # of the two rooms that went on, nothing older is taken; the third begins with it
    assert load(service, early, 3) == SinkValues(owed=240, loaded=80, refused=160)
    found = server.query("count_over_time(x_there[2h])")
    counts = {each["metric"]["room"]: each["value"][1] for each in found}
    assert counts == {"r0": "20", "r1": "20", "r2": "20"}
    (last,) = server.query('x_there{room="r0"}')
    assert float(last["value"][1]) == 19 * 60 + 22.5


def test_prometheus_without_the_receiver_refuses_no_point(
    make_prometheus: Callable[..., PrometheusServer],
) -> None:
    server = make_prometheus(version="3")
    service = service_at(f"{server.url}/api/v1/otlp/v1/metrics")
    now = floor(datetime.now(UTC), MINUTE)
    (bad,) = check(service)
    assert (bad.ok, "--web.enable-otlp-receiver" in bad.detail) == (False, True)
    assert load(service, Cell(now - 2 * MINUTE, now), 1) == SinkValues(owed=8, pending=8)


def test_an_address_of_victoriametrics_that_is_none_refuses_no_point(
    victoria: VictoriaServer,
) -> None:
    now = floor(datetime.now(UTC), MINUTE)
    values = load(service_at(f"{victoria.url}/v1/metrics"), Cell(now - 2 * MINUTE, now), 1)
    assert values == SinkValues(owed=8, pending=8)
