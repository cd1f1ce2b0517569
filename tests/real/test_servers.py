"""Each real server is driven once, so that a broken fixture shows here and not elsewhere."""

import subprocess
import sys
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import requests
import sqlalchemy
from pytest_httpserver import HTTPServer
from werkzeug import Request, Response

from tests.support.history import history, selector
from tests.support.process import Process, environment, free_port, missing, program
from tests.support.servers import (
    AlertmanagerServer,
    InfluxServer,
    NodeExporter,
    PostgresServer,
    PrefectServer,
    PrometheusServer,
)

START = int(datetime(2026, 3, 1, tzinfo=UTC).timestamp())
FLOW = """
from prefect import flow, task

@task
def one():
    return 1

@flow
def two():
    return one() + 1

print("answer", two())
"""


def eventually(check: Callable[[], bool], seconds: float = 20) -> bool:
    end = time.monotonic() + seconds
    while not check():
        if time.monotonic() > end:
            return False
        time.sleep(0.1)
    return True


def test_missing_skips_and_says_how(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CI", raising=False)
    with pytest.raises(pytest.skip.Exception, match="influxd is missing: make influxd"):
        missing("influxd", "make influxd")


def test_missing_fails_with_ci_set(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CI", "true")
    with pytest.raises(pytest.fail.Exception, match="influxd is missing: make influxd"):
        missing("influxd", "make influxd")


def test_program_finds_a_binary_in_a_folder(tmp_path: Path) -> None:
    binary = tmp_path / "some-server"
    binary.touch(mode=0o755)
    assert program("some-server", "make it", tmp_path) == str(binary)


def test_program_without_a_binary_is_missing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CI", "true")
    with pytest.raises(pytest.fail.Exception, match="some-server is missing: make it"):
        program("some-server", "make it", tmp_path)


def test_foreign_settings_stay_outside(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PREFECT_API_URL", "http://127.0.0.1:1/api")
    monkeypatch.setenv("INFLUXD_HTTP_BIND_ADDRESS", ":1")
    env = environment({"MINE": "1"})
    assert "PREFECT_API_URL" not in env
    assert "INFLUXD_HTTP_BIND_ADDRESS" not in env
    assert (env["MINE"], env["DO_NOT_TRACK"]) == ("1", "1")


def test_a_server_that_ends_at_once_shows_its_log(tmp_path: Path) -> None:
    command = [sys.executable, "-c", "raise SystemExit('no such bolt')"]
    process = Process("broken", command, tmp_path / "log", lambda: False)
    with pytest.raises(RuntimeError, match="broken ended with 1:\nno such bolt"):
        process.start()
    with pytest.raises(RuntimeError, match="not running"):
        _ = process.pid


def test_a_server_that_never_gets_ready_is_ended(tmp_path: Path) -> None:
    command = [sys.executable, "-c", "import time; time.sleep(60)"]
    process = Process("slow", command, tmp_path / "log", lambda: False)
    process.deadline = 0.3
    with pytest.raises(TimeoutError, match=r"slow not ready in 0\.3 s"):
        process.start()


def test_a_server_that_ignores_sigterm_is_killed(tmp_path: Path) -> None:
    code = (
        "import signal, sys, time; signal.signal(signal.SIGTERM, signal.SIG_IGN);"
        "print('up', flush=True); time.sleep(60)"
    )
    log = tmp_path / "log"
    process = Process(
        "stubborn", [sys.executable, "-c", code], log, lambda: "up" in log.read_text()
    )
    popen = process.start()._popen
    assert popen is not None
    process.stop(grace=0.2)
    assert popen.returncode == -9


def test_influxdb_keeps_a_point_written_as_bytes(influxdb: InfluxServer, bucket: str) -> None:
    influxdb.write(bucket, b"m,k=a f=1.5,g=2 1700000000\nm,k=b f=2.5 1700000000\n", "s")
    rows = influxdb.flux(f"""
        from(bucket: "{bucket}") |> range(start: 0)
          |> filter(fn: (r) => r._measurement == "m" and r._field == "f" and r.k == "a")
    """)
    assert [(row["_value"], row["_time"]) for row in rows] == [
        (1.5, datetime.fromtimestamp(1700000000, UTC))
    ]
    assert influxdb.count_values(bucket, "m") == 3
    assert influxdb.count_values(bucket, 'no "such" ${measurement}') == 0


def test_influxdb_refuses_a_malformed_line(influxdb: InfluxServer, bucket: str) -> None:
    with pytest.raises(RuntimeError, match=r"400: .*unable to parse"):
        influxdb.write(bucket, b"m f=NaN 1700000000", "s")
    assert influxdb.count_values(bucket, "m") == 0


def test_influxdb_bucket_with_retention_refuses_old_points(
    influxdb: InfluxServer, make_bucket: Callable[..., str]
) -> None:
    short = make_bucket(retention_seconds=3600)
    with pytest.raises(RuntimeError, match=r"422: .*outside retention policy"):
        influxdb.write(short, b"m f=1 1700000000", "s")


def test_influxdb_of_ones_own_survives_stop_and_kill(
    make_influxdb: Callable[[], InfluxServer],
) -> None:
    server = make_influxdb()
    bucket = server.make_bucket()
    server.write(bucket, b"m f=1 1", "s")
    first = server.pid
    assert server.restart().pid != first
    server.write(bucket, b"m f=2 2", "s")
    server.kill()
    with pytest.raises(requests.ConnectionError):
        server.write(bucket, b"m f=3 3", "s")
    server.start()
    assert server.count_values(bucket, "m") == 2


def test_prometheus_answers_for_its_history(
    make_prometheus: Callable[..., PrometheusServer],
) -> None:
    odd = {"path": 'a"b\\c\nd', "instance": "i1"}
    series = {
        selector("latency", odd): np.array([0.5, np.nan, np.inf, 3.25]),
        selector("requests_total"): np.arange(3),
    }
    server = make_prometheus(history(series, START, 60))
    [found] = server.query("latency", at=START)
    assert found == {
        "metric": {"__name__": "latency", **odd},
        "value": [START, "0.5"],
    }
    [whole] = server.query("latency[4m]", at=START + 180)
    assert whole["values"] == [[START, "0.5"], [START + 120, "+Inf"], [START + 180, "3.25"]]
    assert server.query("requests_total", at=START + 120)[0]["value"][1] == "2"
    assert server.query("no_such_metric", at=START) == []


def test_history_can_hold_nan_as_a_sample(
    make_prometheus: Callable[..., PrometheusServer],
) -> None:
    server = make_prometheus(history({"m": [1.0, np.nan]}, START, 15, skip_nan=False))
    assert server.query("m", at=START + 15)[0]["value"][1] == "NaN"


def test_history_of_a_day_for_a_hundred_series(
    make_prometheus: Callable[..., PrometheusServer],
) -> None:
    rng = np.random.default_rng(0)
    series = {
        selector("latency_seconds", {"instance": f"i{number}"}): rng.random(5760)
        for number in range(100)
    }
    server = make_prometheus(history(series, START, 15))
    [whole] = server.query("sum(count_over_time(latency_seconds[2d]))", at=START + 86_400)
    assert whole["value"][1] == "576000"


def test_history_that_promtool_refuses(make_prometheus: Callable[..., PrometheusServer]) -> None:
    with pytest.raises(RuntimeError, match="promtool refused the history"):
        make_prometheus("m 1 1700000000\n")


def test_prometheus_scrapes_and_takes_new_rules(
    make_prometheus: Callable[..., PrometheusServer], node_exporter: NodeExporter
) -> None:
    server = make_prometheus(scrape={"node": [node_exporter.target]}, lifecycle=True)
    assert eventually(lambda: bool(server.query("node_load1")))
    server.rules_path.write_text("groups: [{name: g, rules: [{record: one, expr: vector(1)}]}]")
    assert requests.post(f"{server.url}/-/reload", timeout=10).status_code == 200
    assert eventually(lambda: bool(server.query("one")))


def test_prometheus_without_lifecycle_takes_no_reload(
    make_prometheus: Callable[..., PrometheusServer],
) -> None:
    server = make_prometheus()
    assert requests.post(f"{server.url}/-/reload", timeout=10).status_code == 403


def test_alertmanager_tells_a_webhook(
    make_prometheus: Callable[..., PrometheusServer],
    make_alertmanager: Callable[..., AlertmanagerServer],
    httpserver: HTTPServer,
) -> None:
    bodies: list[dict[str, Any]] = []

    def take(request: Request) -> Response:
        bodies.append(request.get_json())
        return Response()

    hook = httpserver.expect_request("/hook", headers={"Authorization": "Bearer s3cret"})
    hook.respond_with_handler(take)
    manager = make_alertmanager(httpserver.url_for("/hook"), "s3cret")
    rule = "groups: [{name: g, rules: [{alert: Slow, expr: vector(1), labels: {severity: high}}]}]"
    make_prometheus(rules=rule, alertmanagers=[manager.target])
    assert eventually(lambda: bool(bodies))
    [alert] = bodies[0]["alerts"]
    assert (alert["status"], alert["labels"]) == (
        "firing",
        {"alertname": "Slow", "severity": "high"},
    )


def test_alertmanager_lists_what_it_was_sent(alertmanager: AlertmanagerServer) -> None:
    alertmanager.send({"labels": {"alertname": "Drift"}})
    listed = requests.get(f"{alertmanager.url}/api/v2/alerts", timeout=10).json()
    assert [alert["labels"] for alert in listed] == [{"alertname": "Drift"}]


def test_alertmanager_refuses_an_alert_without_labels(alertmanager: AlertmanagerServer) -> None:
    with pytest.raises(requests.HTTPError):
        alertmanager.send({"labels": {}})


def test_postgresql_databases_are_apart(postgresql: PostgresServer, database: str) -> None:
    engine = sqlalchemy.create_engine(database)
    with engine.begin() as connection:
        connection.execute(sqlalchemy.text("create table t (x int)"))
        connection.execute(sqlalchemy.text("insert into t values (7)"))
        assert connection.scalar(sqlalchemy.text("select x from t")) == 7
    engine.dispose()
    other = sqlalchemy.create_engine(postgresql.make_database())
    with other.connect() as connection:
        assert not sqlalchemy.inspect(connection).get_table_names()
    other.dispose()


def test_postgresql_wants_the_password(postgresql: PostgresServer) -> None:
    engine = sqlalchemy.create_engine(postgresql.url().replace(postgresql.password, "wrong"))
    with pytest.raises(sqlalchemy.exc.DBAPIError, match="password authentication failed"):
        engine.connect()


def test_prefect_server_records_a_flow_run(prefect_server: PrefectServer, tmp_path: Path) -> None:
    done = run_flow(tmp_path, prefect_server.client_env())
    assert "answer 2" in done.stdout, done.stderr
    asked = {"flows": {"name": {"any_": ["two"]}}}
    runs = requests.post(f"{prefect_server.api_url}/flow_runs/filter", json=asked, timeout=10)
    assert [run["state"]["type"] for run in runs.json()] == ["COMPLETED"]


def test_prefect_ephemeral_server_runs_a_flow(tmp_path: Path) -> None:
    env = {"PREFECT_HOME": str(tmp_path / "home")}
    env["PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS"] = "120"
    done = run_flow(tmp_path, environment(env))
    assert "answer 2" in done.stdout, done.stderr


def test_prefect_flow_without_its_server_fails(tmp_path: Path) -> None:
    nowhere = f"http://127.0.0.1:{free_port()}/api"
    env = {"PREFECT_HOME": str(tmp_path / "home"), "PREFECT_API_URL": nowhere}
    done = run_flow(tmp_path, environment(env | {"PREFECT_CLIENT_MAX_RETRIES": "0"}))
    assert done.returncode != 0


def run_flow(folder: Path, env: dict[str, str]) -> subprocess.CompletedProcess[str]:
    script = folder / "two.py"
    script.write_text(FLOW)
    command = [sys.executable, str(script)]
    return subprocess.run(
        command, env=env, cwd=folder, capture_output=True, text=True, timeout=240, check=False
    )


def test_chromium_renders_a_page(chromium: Path, tmp_path: Path) -> None:
    page = tmp_path / "page.html"
    page.write_text("<p id=x></p><script>x.textContent = 6 * 7</script>")
    command = [str(chromium), "--headless", "--no-sandbox", "--disable-gpu"]
    command += [f"--user-data-dir={tmp_path / 'profile'}", "--dump-dom", page.as_uri()]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert '<p id="x">42</p>' in done.stdout, done.stderr
