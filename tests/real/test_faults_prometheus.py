"""Prometheus killed in the middle of a query, half an answer, a history that is gone, and answers
that are fewer or others than before."""

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from tasks.core.receipt import ExitCode, SinkValues
from tests.support.faults import (
    RANGE,
    SPAN,
    WINDOW,
    an_installation,
    assert_whole,
    changed_history,
    fewer_history,
    first_history,
    impossible,
    landed,
    possible,
    read_again,
    run,
    sums,
    values_of,
)
from tests.support.installation import Installation
from tests.support.proxy import Fault, Proxy, a_proxy
from tests.support.servers import InfluxServer, PrefectServer, PrometheusServer
from tests.support.service_history import stored


@pytest.fixture
def prometheus(make_prometheus: Callable[..., PrometheusServer]) -> PrometheusServer:
    """One of the test's own, to be killed and started at will."""
    return make_prometheus(first_history())


@pytest.fixture
def proxy(prometheus: PrometheusServer) -> Iterator[Proxy]:
    with a_proxy(prometheus.url) as running:
        yield running


@pytest.fixture
def here(tmp_path: Path, proxy: Proxy, influxdb: InfluxServer, bucket: str) -> Installation:
    """Reads through the proxy, with little retry_timeout."""
    return an_installation(tmp_path, proxy.url, influxdb, bucket, retry_timeout="1s")


# of the newest cell the two fields' queries, then those of the two cells before it
@pytest.mark.promise("Faults: Prometheus is killed during a query or an answer")
@pytest.mark.parametrize(
    ("kind", "query", "cells"),
    [("unanswered", 1, 0), ("half_answer", 2, 0), ("half_answer", 3, 1), ("unanswered", 4, 1)],
)
def test_killed_in_the_middle_of_a_query(
    kind: str,
    query: int,
    cells: int,
    here: Installation,
    proxy: Proxy,
    prometheus: PrometheusServer,
    influxdb: InfluxServer,
) -> None:
    proxy.script(RANGE, *[None] * (query - 1), Fault(kind, act=prometheus.kill))  # type: ignore[arg-type]

    died = run(here)

    (line,) = died.measurements
    assert (line.state, died.exit_code) == ("failed", ExitCode.BAD_FOUND)
    (problem,) = line.problems
    assert f"Prometheus at {proxy.url} could not answer query of rooms." in problem
    hours = {int(WINDOW.stop.timestamp()) // 3600 - 1 - number for number in range(cells)}
    assert {int(key[3]) // 3600 for key in landed(here)} == hours
    assert stored(influxdb, here.variables["INFLUXDB_BUCKET"]) == landed(here)

    prometheus.start()
    run(here)

    values = values_of(prometheus, here)
    assert_whole(here, influxdb, possible(values), impossible(values))


@pytest.mark.promise("Faults: Prometheus is killed during a query or an answer")
def test_the_command_says_that_prometheus_died(
    here: Installation,
    proxy: Proxy,
    prometheus: PrometheusServer,
    influxdb: InfluxServer,
    prefect_server: PrefectServer,
) -> None:
    here.variables["PREFECT_API_URL"] = prefect_server.api_url
    command = ("collect", "--start", SPAN[0], "--stop", SPAN[1], "--json")
    proxy.script(RANGE, None, None, Fault("unanswered", act=prometheus.kill))
    died = here.here(*command)
    prometheus.start()
    good = here.here(*command)

    assert died.code == ExitCode.BAD_FOUND
    assert died.document["status"] == "degraded"
    assert good.document["values"]["landed"] == 2 * died.document["values"]["landed"]
    assert_whole(here, influxdb, possible(values_of(prometheus, here)))


@pytest.mark.promise("Faults: half an answer is requested again, and never landed")
def test_half_an_answer_is_asked_for_again(
    here: Installation, proxy: Proxy, prometheus: PrometheusServer, influxdb: InfluxServer
) -> None:
    with here.changed("environments.yaml") as content:
        content["pipeline"]["retry_timeout"] = "60s"
    proxy.script(RANGE, Fault("half_answer"), Fault("status", 503), None, Fault("half_answer"))

    receipt = run(here)

    assert receipt.retries == 3
    assert [line.problems for line in receipt.measurements] == [()]
    assert_whole(here, influxdb, possible(values_of(prometheus, here)))


@pytest.mark.promise("Faults: half an answer is requested again, and never landed")
def test_half_an_answer_is_never_landed(
    here: Installation, proxy: Proxy, prometheus: PrometheusServer, influxdb: InfluxServer
) -> None:
    proxy.always[RANGE] = Fault("half_answer")
    bad = run(here)
    assert (bad.status, bad.values.extracted, landed(here)) == ("failed", 0, {})

    proxy.clear()
    run(here)

    assert_whole(here, influxdb, possible(values_of(prometheus, here)))


@pytest.mark.promise(
    "Faults: Prometheus returns with its history gone: landed values and quarantine stay"
)
def test_what_is_landed_stays_when_the_history_is_gone(
    here: Installation, prometheus: PrometheusServer, influxdb: InfluxServer
) -> None:
    run(here)
    before, held = values_of(prometheus, here), landed(here)
    prometheus.stop()
    shutil.rmtree(prometheus.home / "data")
    prometheus.start()
    assert values_of(prometheus, here) == {}

    found, after = run(here), run(here)

    assert_whole(here, influxdb, possible(before), impossible(before))
    assert [line.state for line in found.measurements] == ["retained"]
    assert (found.values.retained, found.values.extracted) == (len(held), 0)
    assert [sums(receipt) for receipt in (found, after)] == [SinkValues(), SinkValues()]
    # only the first one had not known it
    assert after.values.retained == 0


@pytest.mark.promise(
    "Faults: an answer with fewer values keeps the older ones; an answer with other values replaces them"
)
def test_what_is_not_answered_any_more_is_kept_and_counted(
    here: Installation,
    prometheus: PrometheusServer,
    make_prometheus: Callable[..., PrometheusServer],
    influxdb: InfluxServer,
) -> None:
    run(here)
    fewer = make_prometheus(fewer_history())

    receipt = run(here, fewer.url)

    before, now = values_of(prometheus, here), values_of(fewer, here)
    gone = before.keys() - now.keys()
    assert 0 < len(gone) < 60
    assert [line.state for line in receipt.measurements] == ["retained"]
    assert receipt.values.retained == len(gone)
    assert_whole(here, influxdb, read_again(before, now), impossible(before))


@pytest.mark.promise(
    "Sources: an emptied source erases nothing; `--allow-deletes` removes only what the run asked for and the source lost"
)
def test_the_command_takes_out_what_is_gone_when_that_is_accepted(
    here: Installation,
    prometheus: PrometheusServer,
    make_prometheus: Callable[..., PrometheusServer],
    influxdb: InfluxServer,
    prefect_server: PrefectServer,
) -> None:
    run(here)
    fewer = make_prometheus(fewer_history())
    here.variables |= {"PROMETHEUS_URL": fewer.url, "PREFECT_API_URL": prefect_server.api_url}
    before, now = values_of(prometheus, here), values_of(fewer, here)

    start, stop = SPAN
    ran = here.here("collect", "--start", start, "--stop", stop, "--allow-deletes", "--json")

    (line,) = ran.document["measurements"]
    gone = len(before.keys() - now.keys())
    assert (line["state"], line["values"]["retained"], line["values"]["erased"]) == (
        "landed",
        0,
        gone,
    )
    assert f"the source no longer has {gone} values; they were deleted from the lake" in line["warnings"]  # fmt: skip
    assert possible(before).keys() > possible(now).keys()
    assert_whole(here, influxdb, possible(now), impossible(now))


@pytest.mark.promise(
    "Faults: an answer with fewer values keeps the older ones; an answer with other values replaces them"
)
def test_new_values_win_in_the_lake_and_in_influxdb(
    here: Installation,
    prometheus: PrometheusServer,
    make_prometheus: Callable[..., PrometheusServer],
    influxdb: InfluxServer,
) -> None:
    run(here)
    changed = make_prometheus(changed_history())

    run(here, changed.url)

    before, now = values_of(prometheus, here), values_of(changed, here)
    expected = read_again(before, now)
    assert np.sum([before.get(key) != value for key, value in expected.items()]) > 100
    assert impossible(now) - impossible(before)
    assert_whole(here, influxdb, expected, impossible(now))
    # and back
    run(here, prometheus.url)
    assert_whole(here, influxdb, read_again(expected, before), impossible(before))
