"""InfluxDB down, killed, busy, broken or silent: once it is back, one run later nothing is missing
and nothing is there twice. Every receipt accounts for what was owed."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tasks.core.receipt import ExitCode, SinkValues
from tests.support.faults import (
    CELLS,
    DELETE,
    SPAN,
    WRITE,
    an_installation,
    assert_whole,
    changed_history,
    first_history,
    possible,
    read_again,
    run,
    sums,
    values_of,
)
from tests.support.installation import Installation
from tests.support.proxy import Fault, Proxy, a_proxy
from tests.support.servers import InfluxServer, PrefectServer, PrometheusServer
from tests.support.whole_way import hours, put_two, whole_way

pytestmark = pytest.mark.slow

# of two rooms and two fields, less the shares that are impossible
VALUES = 2 * 2 * 60 * CELLS - 2 * 2 * CELLS
NOTHING = SinkValues()
# a run asks again for that long
SHORT, LONG = "1s", "60s"


@pytest.fixture(scope="module")
def prometheus(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PrometheusServer]:
    with PrometheusServer(tmp_path_factory.mktemp("prometheus"), first_history()) as server:
        yield server


@pytest.fixture(scope="module")
def changed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PrometheusServer]:
    with PrometheusServer(tmp_path_factory.mktemp("prometheus"), changed_history()) as server:
        yield server


@pytest.fixture
def proxy(influxdb: InfluxServer) -> Iterator[Proxy]:
    with a_proxy(influxdb.url) as running:
        yield running


@pytest.fixture
def here(
    tmp_path: Path, prometheus: PrometheusServer, influxdb: InfluxServer, bucket: str, proxy: Proxy
) -> Installation:
    """Behind the proxy, and with little retry_timeout."""
    made = an_installation(tmp_path, prometheus.url, influxdb, bucket, retry_timeout=SHORT)
    made.variables["INFLUXDB_URL"] = proxy.url
    return made


def patient(here: Installation) -> None:
    with here.changed("environments.yaml") as content:
        content["pipeline"]["retry_timeout"] = LONG


@pytest.mark.promise(
    "Faults: InfluxDB is down from the start, or killed during a post or its answer"
)
def test_down_from_the_start(
    tmp_path: Path, prometheus: PrometheusServer, make_influxdb: Callable[[], InfluxServer]
) -> None:
    server = make_influxdb()
    here = an_installation(
        tmp_path, prometheus.url, server, server.make_bucket(), retry_timeout=SHORT
    )
    server.stop()

    for _ in range(2):
        down = run(here)
        assert sums(down) == SinkValues(owed=VALUES, pending=VALUES)
    # the first one had something for the quarantine, which is worse
    assert down.exit_code == ExitCode.PARTIAL

    server.start()
    up = run(here)

    assert sums(up) == SinkValues(owed=VALUES, loaded=VALUES)
    assert_whole(here, server, possible(values_of(prometheus, here)))
    assert sums(run(here)) == NOTHING


@pytest.mark.promise(
    "Faults: InfluxDB is down from the start, or killed during a post or its answer"
)
@pytest.mark.parametrize("kind", ["half_request", "unanswered", "swallowed"])
def test_killed_in_mid_load(
    kind: str,
    tmp_path: Path,
    prometheus: PrometheusServer,
    make_influxdb: Callable[[], InfluxServer],
    prefect_server: PrefectServer,
) -> None:
    server = make_influxdb()
    here = an_installation(
        tmp_path, prometheus.url, server, server.make_bucket(), retry_timeout=SHORT
    )
    with a_proxy(server.url) as proxy:
        here.variables |= {"INFLUXDB_URL": proxy.url, "PREFECT_API_URL": prefect_server.api_url}
        # the newest cell is loaded with three posts, then one of the others is under way
        proxy.script(WRITE, *[None] * 4, Fault(kind, act=server.kill))  # type: ignore[arg-type]
        command = ("collect", "--start", SPAN[0], "--stop", SPAN[1], "--json")
        died = here.here(*command)

        counts = SinkValues(**died.document["sinks"]["influxdb"])
        assert [line["state"] for line in died.document["measurements"]] == ["pending"]
        assert counts == SinkValues(owed=VALUES, loaded=VALUES // 3, pending=VALUES - VALUES // 3)

        server.start()
        up = run(here)

        assert sums(up) == SinkValues(owed=counts.pending, loaded=counts.pending)
        assert_whole(here, server, possible(values_of(prometheus, here)))


@pytest.mark.promise(
    "Faults: InfluxDB throttles, breaks off or answers 408, 500 or 502: within `retry_timeout` a run loads all"
)
def test_a_run_waits_as_long_as_it_is_asked(
    here: Installation, proxy: Proxy, prometheus: PrometheusServer, influxdb: InfluxServer
) -> None:
    patient(here)
    busy = [Fault("status", status, retry_after="1") for status in (429, 503)]
    proxy.script(WRITE, *busy)

    receipt = run(here)

    assert sums(receipt) == SinkValues(owed=VALUES, loaded=VALUES)
    first, second, third, *_ = proxy.times(WRITE)
    assert second - first >= 1
    assert third - second >= 1
    assert receipt.retries == 2
    assert_whole(here, influxdb, possible(values_of(prometheus, here)))


@pytest.mark.promise(
    "Faults: InfluxDB throttles, breaks off or answers 408, 500 or 502: within `retry_timeout` a run loads all"
)
def test_whatever_happens_to_posts_within_its_patience_a_run_loads_all(
    here: Installation, proxy: Proxy, prometheus: PrometheusServer, influxdb: InfluxServer
) -> None:
    patient(here)
    proxy.script(
        WRITE,
        Fault("swallowed"),
        None,
        Fault("half_request"),
        Fault("status", 500),
        None,
        Fault("unanswered"),
        Fault("status", 502),
        Fault("half_answer"),
        Fault("status", 408),
    )

    assert sums(run(here)) == SinkValues(owed=VALUES, loaded=VALUES)
    assert_whole(here, influxdb, possible(values_of(prometheus, here)))


FAULTS = [
    Fault("status", 429, retry_after="3600"),
    Fault("status", 503, retry_after="3600"),
    Fault("status", 503),
    Fault("status", 500),
    Fault("hang"),
    Fault("swallowed"),
    Fault("half_request"),
]
IDS = ["429", "503", "503 without a time", "500", "hang", "swallowed", "half a request"]


@pytest.mark.promise(
    "Faults: InfluxDB fails for longer than `retry_timeout`: values are pending, and the next run loads them"
)
@pytest.mark.parametrize("fault", FAULTS, ids=IDS)
def test_what_lasts_longer_than_the_patience(
    fault: Fault,
    here: Installation,
    proxy: Proxy,
    prometheus: PrometheusServer,
    influxdb: InfluxServer,
) -> None:
    here.write_yaml("sinks.yaml", {"influxdb": {"lines_per_post": 50, "timeout": "1s"}})
    proxy.script(WRITE, *[None] * 3)
    proxy.always[WRITE] = fault

    bad = run(here)

    assert [line.state for line in bad.measurements] == ["pending"]
    assert sums(bad) == SinkValues(owed=VALUES, loaded=VALUES // 3, pending=VALUES - VALUES // 3)
    proxy.clear()
    good = run(here)
    assert sums(good) == SinkValues(owed=sums(bad).pending, loaded=sums(bad).pending)
    assert_whole(here, influxdb, possible(values_of(prometheus, here)))


@pytest.mark.promise(
    "Faults: InfluxDB fails for longer than `retry_timeout`: values are pending, and the next run loads them"
)
@pytest.mark.parametrize("path", [DELETE, WRITE])
@pytest.mark.parametrize("fault", FAULTS[3:6], ids=IDS[3:6])
def test_what_is_erased_and_written_anew_is_pending_as_a_whole(
    path: str,
    fault: Fault,
    here: Installation,
    proxy: Proxy,
    prometheus: PrometheusServer,
    changed: PrometheusServer,
    influxdb: InfluxServer,
) -> None:
    here.write_yaml("sinks.yaml", {"influxdb": {"lines_per_post": 50, "timeout": "1s"}})
    run(here)
    proxy.always[path] = fault

    bad = run(here, changed.url)

    expected = read_again(values_of(prometheus, here), values_of(changed, here))
    assert sums(bad) == SinkValues(owed=len(expected), pending=len(expected))
    proxy.clear()
    good = run(here)
    assert sums(good) == SinkValues(owed=len(expected), loaded=len(expected))
    assert_whole(here, influxdb, expected)


@pytest.mark.promise(
    "Loading: values older than a bucket keeps are skipped by rule, with the reason; nothing goes to quarantine"
)
def test_a_bucket_that_keeps_less_than_is_loaded(
    tmp_path: Path, influxdb: InfluxServer, make_bucket: Callable[..., str]
) -> None:
    name = make_bucket(retention_seconds=3600)
    with whole_way(Installation(tmp_path), influxdb, name) as way:
        put_two(way, "alpha")
        receipt, again = way.collect(hours(2)), way.collect(hours(2))

        assert (receipt.status, receipt.exit_code, receipt.values.quarantined) == ("ok", 0, 0)
        assert receipt.sinks["influxdb"] == SinkValues(owed=240, skipped_by_rule=240)
        assert receipt.sentence == "all well: 240 values landed, 240 skipped by rule for influxdb"
        (line,) = receipt.measurements
        assert line.problems == (
            f"influxdb skips values older than its bucket {name} keeps. The lake has them. "
            "Fix: keep more there, then run fedvitals replay",
        )
        assert again.sinks["influxdb"].owed == 0

        # one that keeps them gets them
        way.installed.variables["INFLUXDB_BUCKET"] = make_bucket()
        assert way.collect(hours(2)).sinks["influxdb"] == SinkValues(owed=240, loaded=240)
