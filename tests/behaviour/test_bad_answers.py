"""A run of many bad answers: one clear problem each, the rest goes on, and no secret shows."""

import json
import re
import sqlite3
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.support.fakes.influxdb import FakeInfluxDB, fake_influxdb
from tests.support.faulty import (
    FaultyPrometheus,
    constant,
    cut_connection,
    cut_json,
    echo,
    faulty_prometheus,
    page,
    refuse,
)
from tests.support.installation import Installation, Ran, entry
from tests.support.servers import PrefectServer

pytestmark = pytest.mark.slow

PROMETHEUS_SECRET = "planted-prometheus-9f27"
INFLUXDB_SECRET = "planted-influxdb-41ab"
TWO_HOURS = ("--start", "2026-03-01T00:00:00Z", "--stop", "2026-03-01T02:00:00Z")
# one value a minute
VALUES = 120
GATEWAY = "Fix: check that it runs and is reachable; the next run tries again"
PROXY = "Fix: check the URL and any proxy in front of it"


def service(query: str, words: str) -> str:
    return f"Prometheus at @ {words.replace('QUERY', f'query of {query}.{query}')}"


PROBLEMS = {
    "bad_query": service(
        "bad_query",
        "refused QUERY (HTTP 400): bad_data: 1:5: parse error: unexpected end of input. "
        "Fix: correct this query: bad_query",
    ),
    "impossible": service(
        "impossible",
        "refused QUERY (HTTP 422): execution: many-to-many matching not allowed. "
        "Fix: correct this query: impossible",
    ),
    "too_many_samples": service(
        "too_many_samples",
        "could not finish QUERY: execution: query processing would load too many samples into "
        "memory in query execution. Fix: use a smaller window or a cheaper query",
    ),
    "timed_out": service(
        "timed_out",
        "could not finish QUERY: timeout: query timed out in expression evaluation. "
        "Fix: use a smaller window or a cheaper query",
    ),
    "unavailable": service("unavailable", f"could not answer QUERY: HTTP 503: busy. {GATEWAY}"),
    "echoing": service(
        "echoing", f"could not answer QUERY: HTTP 502: bad gateway for Bearer ***. {GATEWAY}"
    ),
    "half_connection": service("half_connection", f"could not answer QUERY: IncompleteRead(…). {GATEWAY}"),
    "half_json": service("half_json", f"could not answer QUERY: the answer is truncated. {GATEWAY}"),
    "html": service(
        "html",
        "gave an invalid answer to QUERY: JSON is malformed: invalid character "
        f"(byte 0). {PROXY}",
    ),
    "other_labels": (
        "other_labels.other_labels: the query returns the labels ['pod'], the catalogue has []. "
        "Fix: aggregate the query by the tags, or move the field to a measurement with these labels as tags"
    ),
    "many_series": (
        "many_series: 9 series from 2026-03-01T01:00:00Z to 2026-03-01T02:00:00Z, max_series is 5; the label with the most values is client (9). "
        "Fix: aggregate it away in the query, or raise max_series in the catalogue"
    ),
    "twice": (
        "twice.twice: the query returns {} more than once. "
        "Fix: aggregate it by exactly the measurement's tags"
    ),
}  # fmt: skip


@dataclass(frozen=True)
class Faulty:
    """A run in which every measurement but the last, `good`, met a fault of its own."""

    installation: Installation
    ran: Ran
    again: Ran
    url: str
    influxdb: FakeInfluxDB

    def line(self, name: str) -> dict[str, Any]:
        (line,) = (each for each in self.ran.document["measurements"] if each["name"] == name)
        return dict(line)


def spoil(prometheus: FaultyPrometheus) -> None:
    prometheus.queries |= {
        "other_labels": [constant(pod="a")],
        "many_series": [constant(client=str(number)) for number in range(9)],
        "twice": [constant(), constant()],
        "good": [constant()],
    }
    load = "query processing would load too many samples into memory in query execution"
    prometheus.faults |= {
        "bad_query": refuse(400, "bad_data", "1:5: parse error: unexpected end of input"),
        "impossible": refuse(422, "execution", "many-to-many matching not allowed"),
        "too_many_samples": refuse(422, "execution", load),
        "timed_out": refuse(503, "timeout", "query timed out in expression evaluation"),
        "unavailable": page(503, "busy"),
        "echoing": echo(502),
        "half_connection": cut_connection,
        "half_json": cut_json,
        "html": page(200),
    }


@pytest.fixture(scope="module")
def faulty(
    tmp_path_factory: pytest.TempPathFactory, prefect_server: PrefectServer
) -> Iterator[Faulty]:
    folder = tmp_path_factory.mktemp("faulty")
    installation = Installation(folder, {"PREFECT_API_URL": prefect_server.api_url})
    tags = {"many_series": ("client",)}
    installation.configure(
        {name: entry(name, tags=tags.get(name, ())) for name in [*PROBLEMS, "good"]}
    )
    with (
        faulty_prometheus(token=PROMETHEUS_SECRET) as prometheus,
        fake_influxdb(token=INFLUXDB_SECRET) as influxdb,
    ):
        spoil(prometheus)
        installation.variables |= {
            "PROMETHEUS_URL": prometheus.url,
            "PROMETHEUS_API_TOKEN": PROMETHEUS_SECRET,
            "INFLUXDB_URL": influxdb.url,
            "INFLUXDB_TOKEN": INFLUXDB_SECRET,
        }
        ran = installation.run("collect", "--json", *TWO_HOURS)
        again = installation.here("collect", *TWO_HOURS)
        yield Faulty(installation, ran, again, prometheus.url, influxdb)


@pytest.mark.promise(
    "Accounts: each fault of a service is one problem of its measurement and sets the exit code"
)
@pytest.mark.parametrize("name", PROBLEMS)
def test_each_fault_is_one_problem_of_its_measurement(faulty: Faulty, name: str) -> None:
    line = faulty.line(name)

    assert line["state"] == "failed"
    (problem,) = line["problems"]
    # how many bytes were read is not ours to say
    reported = re.sub(r"IncompleteRead\(.*\)", "IncompleteRead(…)", problem)
    assert reported == PROBLEMS[name].replace("@", faulty.url)


@pytest.mark.promise("Accounts: an error in one measurement leaves the others alone")
def test_the_rest_of_the_run_goes_on(faulty: Faulty) -> None:
    line = faulty.line("good")

    assert (line["state"], line["problems"]) == ("landed", [])
    assert line["values"]["landed"] == VALUES
    assert faulty.influxdb.count_values("good") == VALUES
    assert faulty.ran.document["sinks"]["influxdb"]["loaded"] == VALUES


@pytest.mark.promise(
    "Accounts: each fault of a service is one problem of its measurement and sets the exit code"
)
def test_the_exit_code_tells(faulty: Faulty) -> None:
    assert (faulty.ran.code, faulty.ran.document["status"]) == (1, "degraded")


def test_nothing_but_the_receipt_is_said(faulty: Faulty) -> None:
    assert faulty.ran.err == ""
    assert faulty.ran.out == json.dumps(faulty.ran.document, indent=2, ensure_ascii=False) + "\n"


def test_people_are_reported_each_problem_once(faulty: Faulty) -> None:
    assert faulty.again.code == 1
    for name in PROBLEMS:
        (problem,) = faulty.line(name)["problems"]
        assert faulty.again.out.count(problem) == 1
    failed = {line.split()[0] for line in faulty.again.out.splitlines() if " failed" in line[2:]}
    assert failed >= {*PROBLEMS}, faulty.again.out


def test_the_report_tells_each_problem(faulty: Faulty) -> None:
    twin = json.loads(Path(faulty.ran.document["report"]).with_suffix(".json").read_text())
    reported = {entry["name"]: entry["problems"] for entry in twin["measurements"]}

    assert reported == {name: faulty.line(name)["problems"] for name in [*PROBLEMS, "good"]}


def tables_of(database: Path) -> str:
    """Everything that a SQLite database holds, as text."""
    with sqlite3.connect(f"file:{database}?mode=ro", uri=True) as connection:
        return "\n".join(connection.iterdump())


@pytest.mark.promise("Secrets: no secret is in a log, report, error or file")
@pytest.mark.parametrize("secret", [PROMETHEUS_SECRET, INFLUXDB_SECRET])
def test_no_secret_is_anywhere(faulty: Faulty, secret: str, prefect_server: PrefectServer) -> None:
    # the failing twin: what is looked for can be found where it was put
    (faulty.installation.home / "planted").write_text(secret)
    assert faulty.installation.holding(secret) == ["planted"]

    assert secret not in faulty.ran.out + faulty.ran.err + faulty.again.out + faulty.again.err
    reported = tables_of(prefect_server.home / "prefect.db")
    assert "planted" not in reported
    assert faulty.ran.document["run_id"] in reported
    kept = [path for path in prefect_server.home.rglob("*") if path.is_file()]
    assert [path for path in kept if secret.encode() in path.read_bytes()] == []
