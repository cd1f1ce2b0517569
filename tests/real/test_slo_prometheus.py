"""SLOs against planted truth in a real Prometheus, of both versions."""

import time
from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.client.schemas.objects import FlowRun
from prefect.settings import PREFECT_API_URL, temporary_settings

from tasks.analysis.slo.slo_rules import BAD, TOTAL, recordings
from tasks.analysis.slo.status import judge
from tasks.core.services import Service
from tasks.core.slos import Slo
from tasks.runs.slo.observe import events_of
from tasks.sources.prometheus_rules import RulesClient
from tests.support.flow_runs import artifacts
from tests.support.history import history, selector
from tests.support.installation import Installation, entry
from tests.support.servers import VERSIONS, InfluxServer, PrefectServer, PrometheusServer

pytestmark = pytest.mark.real

MINUTES = 360
STEP = timedelta(minutes=1)
NOW = int(time.time()) // 3600 * 3600 - 3600
AT = datetime.fromtimestamp(NOW, UTC) + timedelta(seconds=15)
NAN = float("nan")
# events of a minute that fell between the last scrape and a reset
UNSCRAPED = 30


def target(name: str, status: str = "") -> dict[str, str]:
    return {"job": "s", "instance": name} | ({"status": status} if status else {})


def planted() -> tuple[dict[str, list[float]], np.ndarray[Any, Any], np.ndarray[Any, Any]]:
    """Series of three instances, and the true bad and all events of each minute."""
    rng = np.random.default_rng(19)
    good, bad = rng.poisson(40, (3, MINUTES + 1)), rng.poisson(2, (3, MINUTES + 1))
    good[:, 0] = bad[:, 0] = 0
    # b has its first errors late, c cannot be scraped for ten minutes
    bad[1, :150] = 0
    found = {}
    for index, name in enumerate("abc"):
        ok, wrong = np.cumsum(good[index]).astype(float), np.cumsum(bad[index]).astype(float)
        up = np.ones(MINUTES + 1)
        if name == "a":
            # two resets: after a scrape, and with events that no scrape saw
            for at in (100, 200):
                ok[at:] -= ok[at - 1]
                wrong[at:] -= wrong[at - 1]
            bad[0, 200] += UNSCRAPED
        if name == "b":
            wrong[: int(np.flatnonzero(wrong)[0])] = NAN
        if name == "c":
            up[250:260], ok[250:260], wrong[250:260] = 0, NAN, NAN
        found[selector("up", target(name))] = up.tolist()
        found[selector("x_total", target(name, "200"))] = ok.tolist()
        found[selector("x_total", target(name, "500"))] = wrong.tolist()
    # new, with old errors
    old = [NAN] * 300 + [1e6] * (MINUTES + 1 - 300)
    for name in ("200", "500"):
        found[selector("x_total", target("d", name))] = old
    found[selector("up", target("d"))] = [NAN if np.isnan(one) else 1.0 for one in old]
    return found, bad.sum(axis=0), (good + bad).sum(axis=0)


SERIES, TRUE_BAD, TRUE_ALL = planted()


@pytest.fixture(scope="module", params=VERSIONS)
def server(request: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[PrometheusServer]:
    text = history(SERIES, NOW - MINUTES * 60, 60)
    home = tmp_path_factory.mktemp("prometheus")
    with PrometheusServer(home, text, version=request.param, retention="15d") as started:
        yield started


def slo(**changes: Any) -> Slo:
    ratio = {"total": "x_total", "bad": 'x_total{status="500"}'}
    common = {"id": "a", "objective": 0.99, "window": "6h", "ratio": ratio, "summary": "it fails"}
    return Slo.model_validate({**common, **changes})


def truth(minutes: int, end: int = MINUTES) -> tuple[float, float]:
    part = slice(end - minutes + 1, end + 1)
    return float(TRUE_BAD[part].sum()), float(TRUE_ALL[part].sum())


@pytest.mark.parametrize("kind", ["bad", "good"])
def test_events_are_counted_as_planted(server: PrometheusServer, kind: str) -> None:
    status = {"bad": "500", "good": "200"}[kind]
    one = slo(ratio={"total": "x_total", kind: f'x_total{{status="{status}"}}'})
    with closing(RulesClient(Service(url=server.url, origin="test"))) as client:
        events = events_of(one, client, AT, timedelta(hours=6), STEP)
        queries = recordings(one, "p", STEP)
        of_rules = {
            name: sum(client.now(f"sum_over_time(({query})[2h:1m])", AT, "t").values())
            for name, query in queries.items()
            if kind == "bad"
        }

    for minutes in (60, 120, 155):
        expected = truth(minutes)
        assert expected[0] > 100
        assert events.sums(timedelta(minutes=minutes)) == pytest.approx(expected, rel=0.01)
    # with a reset amid unscraped events within their share
    bad, _ = truth(240)
    assert bad - UNSCRAPED <= events.sums(timedelta(hours=4))[0] <= bad
    if kind == "bad":
        assert of_rules[BAD] == pytest.approx(events.sums(timedelta(hours=2))[0], rel=0.01)
        assert of_rules[TOTAL] == pytest.approx(events.sums(timedelta(hours=2))[1], rel=0.01)


def test_the_state_follows_the_events(server: PrometheusServer) -> None:
    with closing(RulesClient(Service(url=server.url, origin="test"))) as client:
        # some 4.8 % are bad
        found = {
            objective: judge(
                one, "p", events_of(one, client, AT, timedelta(hours=6), STEP), STEP
            ).state
            for objective in (0.9, 0.999)
            if (one := slo(objective=objective))
        }
        longer = slo(objective=0.9, window="7d")
        events = events_of(longer, client, AT, timedelta(days=7), STEP)
        partial = judge(longer, "p", events, STEP)
        later = events_of(slo(), client, AT + timedelta(minutes=30), timedelta(hours=6), STEP)
        gone = slo(no_data_after="15m", mode="alert")

    assert found == {0.9: "ok", 0.999: "burning"}
    assert partial.line().shown == "partial (0.25 of 7 d)"
    missing = judge(gone, "p", later, STEP)
    assert (missing.state, [one.threshold.id for one in missing.alerts]) == (
        "no_data",
        ["slo_a_no_data"],
    )


def test_the_command_judges_lands_and_reports(
    server: PrometheusServer, tmp_path_factory: pytest.TempPathFactory
) -> None:
    installed = Installation(tmp_path_factory.mktemp("installed"))
    installed.configure({"http_requests": entry("share_ratio")})
    # since an hour there has been nothing
    entries = {"quiet": {"mode": "observe"}, "loud": {"mode": "alert", "no_data_after": "15m"}}
    common = slo(window="12h").model_dump(mode="json", include={"objective", "window", "summary"})
    ratio = {"total": "x_total", "bad": 'x_total{status="500"}'}
    slos = {name: {**common, "ratio": ratio, **one} for name, one in entries.items()}
    installed.write_yaml("slos.yaml", {"slos": slos})
    installed.variables["PROMETHEUS_URL"] = server.url

    ran = installed.here("slo", "evaluate", "--json")

    assert ran.code == 1, ran.complaint
    lines = {line["slo"]: line for line in ran.document["details"]["slos"]}
    assert {name: line["state"] for name, line in lines.items()} == dict.fromkeys(
        ("quiet", "loud"), "no_data"
    )
    assert lines["quiet"]["bad_events"] > 100
    assert [one["subject"] for one in ran.document["findings"]] == ["slo_loud_no_data production"]
    assert ran.document["values"]["landed"] > 10
    # the failing twin: what is observed is no reason for an exit code
    del slos["loud"]
    installed.write_yaml("slos.yaml", {"slos": slos})
    again = installed.here("slo", "evaluate", "--json")
    assert (again.code, again.document["findings"]) == (0, [])

    checked = installed.here("slo", "check", "--json")
    assert (checked.code, checked.document["problems"]) == (0, [])
    slos["quiet"]["window"] = "30d"
    installed.write_yaml("slos.yaml", {"slos": slos})
    checked = installed.here("slo", "check")
    assert checked.code == 1
    assert "it is partial (15 of 30 d)" in checked.out


def test_a_flow_run_lands_loads_and_shows_its_values(
    server: PrometheusServer,
    tmp_path: Path,
    prefect_server: PrefectServer,
    influxdb: InfluxServer,
    bucket: str,
) -> None:
    variables = {
        "PROMETHEUS_URL": server.url,
        "PREFECT_API_URL": prefect_server.api_url,
        "INFLUXDB_URL": influxdb.url,
        "INFLUXDB_TOKEN": influxdb.token,
        "INFLUXDB_ORG": influxdb.org,
        "INFLUXDB_BUCKET": bucket,
    }
    installed = Installation(tmp_path, variables).configure({"loads": entry("load")})
    ratio = {"total": "x_total", "bad": 'x_total{status="500"}'}
    one = {"objective": 0.999, "window": "12h", "ratio": ratio, "summary": "it fails"}
    installed.write_yaml("slos.yaml", {"slos": {"mine": one}})

    first = installed.here("slo", "evaluate", "--json")
    one["objective"] = 0.9
    installed.write_yaml("slos.yaml", {"slos": {"mine": one}})
    second = installed.here("slo", "evaluate", "--json")

    assert (first.code, second.code) == (0, 0), second.complaint
    (line,) = first.document["details"]["slos"]
    hours = rows_of(installed, "SELECT * FROM fedvitals_slo_hours ORDER BY time")
    assert sum(row["bad_events"] for row in hours) == line["bad_events"] > 100
    # each hour is counted once, also when the objective changes
    assert second.document["values"]["landed"] < first.document["values"]["landed"]
    states = rows_of(installed, "SELECT * FROM fedvitals_slo ORDER BY time")
    assert [row["objective_ratio"] for row in states] == [0.999, 0.9]
    assert states[0]["definition"] != states[1]["definition"]
    assert [one["kind"] for one in second.document["findings"]] == ["slo_loosened"]
    assert first.document["findings"] == []
    for ran in (first, second):
        counts = ran.document["sinks"]["influxdb"]
        assert counts["loaded"] == counts["owed"] > 0
    assert influxdb.count_values(bucket, "fedvitals_slo_hours") == 4 * len(hours)
    page = Path(second.document["report"]).read_text("utf-8")
    assert 'class="change"' in page
    with (
        temporary_settings({PREFECT_API_URL: prefect_server.api_url}),
        get_client(sync_client=True) as client,
    ):
        shown = artifacts(client, newest(client))
    assert "slo-production-summary" in shown


def newest(client: SyncPrefectClient) -> FlowRun:
    found = client.read_flow_runs(limit=200)
    return max(found, key=lambda one: one.created or AT)


def rows_of(installed: Installation, sql: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = installed.here("lake", "query", sql, "--json").document["rows"]
    return found


def test_a_prometheus_without_the_service_is_said_to_lack_it(
    server: PrometheusServer, tmp_path: Path
) -> None:
    installed = Installation(tmp_path, {"PROMETHEUS_URL": server.url})
    installed.configure({"loads": entry("load")})
    ratio = {"total": "absent_total", "bad": "absent_bad_total"}
    one = {"objective": 0.99, "window": "12h", "ratio": ratio, "summary": "it fails"}
    installed.write_yaml("slos.yaml", {"slos": {"mine": one}})

    lacks = installed.here("slo", "check", "--json")

    assert lacks.code == 3
    assert [each["check"] for each in lacks.document["problems"]] == ["no_indicator"]
    # with something else that is wrong it is 1
    one["window"] = "1h"
    installed.write_yaml("slos.yaml", {"slos": {"mine": one}})
    assert installed.here("slo", "check").code == 1
