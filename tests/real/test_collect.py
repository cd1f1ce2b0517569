"""`fedvitals collect` from a real Prometheus into a real InfluxDB: nothing lost, nothing done twice."""

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from tasks.core.catalogue import Catalogue
from tasks.core.self_metrics import SELF_METRICS
from tasks.core.settings import shipped
from tasks.core.window import Window, iso
from tasks.lake.windows import WINDOWS
from tests.support.installation import Installation, Ran, entry
from tests.support.servers import InfluxServer, PrefectServer, PrometheusServer
from tests.support.service_history import (
    BAD_TAGS,
    FIRST,
    GOOD_TAGS,
    answered,
    requests_to,
    service_history,
    stored,
)

HOUR = timedelta(hours=1)
# three whole hours, and the rates' five minutes before them are there
WINDOW = Window(FIRST + HOUR, FIRST + 4 * HOUR)
SPAN = ("--start", iso(WINDOW.start), "--stop", iso(WINDOW.stop))
CATALOGUE = [
    each
    for each in Catalogue.read(shipped("config") / "metrics.yaml").values()
    if each.type == "performance" or each.name == "training"
]
COUNTS = [
    "extracted",
    "landed",
    "quarantined",
    "dropped_by_rule",
    "unchanged",
    "retained",
    "erased",
]
# every run writes what it says of itself
OF_THE_RUNS = (f"lake/{SELF_METRICS}/", f"lake/{WINDOWS}/")
WRITE, DELETE, RANGE = "/api/v2/write", "/api/v2/delete", "/api/v1/query_range"
PROMETHEUS_SECRET = "planted-prometheus-token"


@pytest.fixture(scope="module")
def prometheus(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PrometheusServer]:
    home = tmp_path_factory.mktemp("prometheus")
    with PrometheusServer(home, service_history()) as server:
        yield server


def connected(
    folder: Path,
    prefect: PrefectServer,
    prometheus: PrometheusServer,
    influxdb: InfluxServer,
    bucket: str,
) -> Installation:
    """An installation of its own that reads the one and fills the other."""
    return Installation(
        folder,
        {
            "PREFECT_API_URL": prefect.api_url,
            "PROMETHEUS_URL": prometheus.url,
            "PROMETHEUS_API_TOKEN": PROMETHEUS_SECRET,
            "INFLUXDB_URL": influxdb.url,
            "INFLUXDB_TOKEN": influxdb.token,
            "INFLUXDB_ORG": influxdb.org,
            "INFLUXDB_BUCKET": bucket,
        },
    )


@dataclass(frozen=True)
class Twice:
    """The same window collected two times, and what the servers and the lake had after each."""

    installation: Installation
    first: Ran
    second: Ran
    bucket: str
    posts: tuple[int, int]
    files: tuple[list[str], list[str]]
    tables: tuple[Any, Any]


@pytest.fixture(scope="module")
def twice(
    tmp_path_factory: pytest.TempPathFactory,
    prefect_server: PrefectServer,
    prometheus: PrometheusServer,
    influxdb: InfluxServer,
) -> Iterator[Twice]:
    bucket = influxdb.make_bucket()
    folder = tmp_path_factory.mktemp("collect")
    here = connected(folder, prefect_server, prometheus, influxdb, bucket)
    ran, posts, files, tables = [], [], [], []
    for _ in range(2):
        ran.append(here.run("collect", *SPAN, "--type", "performance", "--json"))
        posts.append(requests_to(influxdb, WRITE) + requests_to(influxdb, DELETE))
        files.append([name for name in here.files("lake") if not name.startswith(OF_THE_RUNS)])
        listed = here.here("lake", "ls", "--json").document["tables"]
        tables.append([table for table in listed if table["name"] != SELF_METRICS])
    yield Twice(
        here, ran[0], ran[1], bucket, (posts[0], posts[1]), (files[0], files[1]), (tables[0], tables[1])
    )  # fmt: skip
    influxdb.delete_bucket(bucket)


def test_influxdb_holds_exactly_the_loaded_values(twice: Twice, influxdb: InfluxServer) -> None:
    counts = twice.first.document["sinks"]["influxdb"]
    in_influxdb = sum(influxdb.count_values(twice.bucket, each.name) for each in CATALOGUE)

    assert in_influxdb == counts["loaded"] == counts["owed"] > 9_000
    assert counts["loaded"] == twice.first.document["values"]["landed"]


def test_each_value_is_what_prometheus_answers(
    twice: Twice, influxdb: InfluxServer, prometheus: PrometheusServer
) -> None:
    assert stored(influxdb, twice.bucket) == answered(prometheus, CATALOGUE, WINDOW)


def test_the_run_ends_well_and_says_one_document(twice: Twice) -> None:
    assert (twice.first.code, twice.second.code) == (0, 0)
    for ran in (twice.first, twice.second):
        assert ran.err == ""
        assert ran.out == json.dumps(ran.document, indent=2, ensure_ascii=False) + "\n"


def test_the_receipt_has_the_promised_shape(twice: Twice) -> None:
    for receipt in (twice.first.document, twice.second.document):
        assert list(receipt) == [
            "flow", "run_id", "environment", "status", "worst", "fail_on", "window", "values",
            "sinks", "measurements", "findings", "notes", "seconds", "retries", "lag_seconds",
            "deliveries", "report", "places", "details", "sentence",
        ]  # fmt: skip
        assert (receipt["flow"], receipt["environment"]) == ("collect", "production")
        assert receipt["window"] == {"start": iso(WINDOW.start), "stop": iso(WINDOW.stop)}
        assert list(receipt["values"]) == COUNTS
        assert list(receipt["sinks"]["influxdb"]) == [
            "owed", "loaded", "pending", "refused", "skipped_by_rule",
        ]  # fmt: skip
        assert [line["name"] for line in receipt["measurements"]] == [e.name for e in CATALOGUE]
        for line in receipt["measurements"]:
            assert list(line)[:5] == ["name", "state", "rows", "values", "verdict"]
            # what there is besides, only says more
            assert set(line) <= {"name", "state", "rows", "values", "verdict", "problems", "warnings", "failing"}  # fmt: skip
            assert list(line["values"]) == COUNTS
            assert line["verdict"] is None or list(line["verdict"]) == ["passed", "failed", "worst"]
        assert {"extract", "validate", "land", "load"} <= set(receipt["seconds"])
        assert all(seconds >= 0 for seconds in receipt["seconds"].values())


def test_the_sums_hold(twice: Twice) -> None:
    for receipt in (twice.first.document, twice.second.document):
        parts = [receipt["values"], *(line["values"] for line in receipt["measurements"])]
        for values in parts:
            landed = values["landed"] + values["quarantined"]
            assert values["extracted"] == landed + values["dropped_by_rule"] + values["unchanged"]
        for name in COUNTS:
            total = sum(line["values"][name] for line in receipt["measurements"])
            assert receipt["values"][name] == total
        sink = receipt["sinks"]["influxdb"]
        assert sink["owed"] == sum(sink.values()) - sink["owed"]
    # half of the inference quantiles are 0/0
    assert twice.first.document["values"]["dropped_by_rule"] > 500


def test_the_second_time_every_cell_is_unchanged(twice: Twice) -> None:
    first = {line["name"]: line for line in twice.first.document["measurements"]}
    for line in twice.second.document["measurements"]:
        landed = first[line["name"]]["values"]["landed"]
        assert line["state"] == ("unchanged" if landed else "no_data")
        assert line["values"]["unchanged"] == landed
        assert line["values"]["landed"] == 0
    assert sum(line["state"] == "landed" for line in first.values()) == 6
    assert set(twice.second.document["sinks"]["influxdb"].values()) == {0}


def test_the_second_time_nothing_is_committed_or_posted(twice: Twice) -> None:
    assert twice.files[0] == twice.files[1] != []
    assert twice.tables[0] == twice.tables[1]
    assert {table["version"] for table in twice.tables[0] if table["rows"]} == {2}
    # but for what the run says of itself
    assert twice.posts[1] == twice.posts[0] + 1 > 1


def test_the_report_is_there_with_its_twin(twice: Twice) -> None:
    document = twice.first.document
    page = Path(document["report"])
    twin = json.loads(page.with_suffix(".json").read_text("utf-8"))
    assert page.parent == twice.installation.home / "reports" / document["run_id"]
    assert "<svg" in page.read_text("utf-8")
    # the page cannot hold the path of its own file, nor what is handed on once it is there
    known = [each for each in document["deliveries"] if each["what"] == "self metrics"]
    assert len(known) == 1
    assert twin["receipt"] == {**document, "report": None, "deliveries": known}
    assert {each["name"]: each["values"] for each in twin["measurements"]} == {
        line["name"]: line["values"] for line in document["measurements"]
    }


def test_a_run_that_found_nothing_new_writes_no_report_unless_asked(
    twice: Twice, tmp_path: Path
) -> None:
    assert twice.second.document["report"] is None
    asked = twice.installation.run(
        "collect", *SPAN, "--type", "performance", "--json", "--output", str(tmp_path / "out")
    )
    assert asked.document["report"] == str(tmp_path / "out" / "metrics-report.html")


def test_no_token_is_kept(twice: Twice, influxdb: InfluxServer) -> None:
    for secret in (PROMETHEUS_SECRET, influxdb.token):
        assert twice.installation.holding(secret) == []


@pytest.fixture
def installed(
    tmp_path: Path,
    prefect_server: PrefectServer,
    prometheus: PrometheusServer,
    influxdb: InfluxServer,
    bucket: str,
) -> Installation:
    """With a catalogue of two: `training` and `odd`, which is a model's."""
    here = connected(tmp_path, prefect_server, prometheus, influxdb, bucket)
    training = entry("fed_vit_autorl_training_loss", "fed_vit_autorl_model_accuracy")
    training["fields"] = {
        name.removeprefix("fed_vit_autorl_"): {"query": f"max({name})"}
        for name in training["fields"]
    }
    odd = entry("value", tags=("model",), max_series=50)
    odd["fields"]["value"]["query"] = "max by (model) (odd)"
    return here.configure({"training": training, "odd": odd})


def collect(installation: Installation, *more: str) -> Ran:
    return installation.here("collect", *SPAN, "--json", *more)


def entries(installation: Installation) -> list[Any]:
    return list(Catalogue.read(installation.config / "metrics.yaml").values())


def test_what_influxdb_missed_is_loaded_by_the_next_run(
    installed: Installation,
    make_influxdb: Callable[[], InfluxServer],
    prometheus: PrometheusServer,
) -> None:
    server = make_influxdb()
    bucket = server.make_bucket()
    installed.variables |= {
        "INFLUXDB_URL": server.url,
        "INFLUXDB_TOKEN": server.token,
        "INFLUXDB_BUCKET": bucket,
    }
    server.stop()
    before = requests_to(prometheus, RANGE)

    down = collect(installed, "--measurement", "training")

    asked = requests_to(prometheus, RANGE) - before
    # three hours of a value a minute in two fields
    sink = {"owed": 360, "loaded": 0, "pending": 360, "refused": 0, "skipped_by_rule": 0}
    assert (down.code, down.document["status"]) == (3, "degraded")
    assert down.document["sinks"]["influxdb"] == sink
    (line,) = down.document["measurements"]
    assert (line["state"], line["values"]["landed"]) == ("pending", 360)
    (problem,) = line["problems"]
    assert problem.startswith(f"influxdb at {server.url}: no answer: ")
    assert problem.endswith("The data stays pending; the next run loads it")

    server.start()
    up = collect(installed, "--measurement", "training")

    assert (up.code, up.document["status"]) == (0, "ok")
    assert up.document["values"]["unchanged"] == 360
    assert up.document["sinks"]["influxdb"] == {**sink, "loaded": 360, "pending": 0}
    # each query once a chunk, and the pending cells come from the lake
    assert requests_to(prometheus, RANGE) - before - asked <= asked
    training = [each for each in entries(installed) if each.name == "training"]
    assert stored(server, bucket) == answered(prometheus, training, WINDOW)


def test_pending_is_loaded_by_a_run_over_another_window(
    installed: Installation, influxdb: InfluxServer, bucket: str, prometheus: PrometheusServer
) -> None:
    token = installed.variables["INFLUXDB_TOKEN"]
    installed.variables["INFLUXDB_TOKEN"] = "wrong-token"
    first = collect(installed, "--measurement", "training")
    assert first.code == 3
    assert first.document["sinks"]["influxdb"]["pending"] == 360
    (problem,) = first.document["measurements"][0]["problems"]
    assert "refused (HTTP 401): unauthorized access. Fix: set INFLUXDB_TOKEN" in problem

    installed.variables["INFLUXDB_TOKEN"] = token
    later = ("--start", iso(WINDOW.stop), "--stop", iso(WINDOW.stop + HOUR))
    second = installed.here("collect", *later, "--measurement", "training", "--json")

    assert second.code == 0
    assert second.document["sinks"]["influxdb"]["loaded"] == 360 + 120
    training = [each for each in entries(installed) if each.name == "training"]
    whole = Window(WINDOW.start, WINDOW.stop + HOUR)
    assert stored(influxdb, bucket) == answered(prometheus, training, whole)


def test_a_bucket_that_is_missing_is_made_by_doctor(
    installed: Installation, influxdb: InfluxServer
) -> None:
    installed.variables["INFLUXDB_BUCKET"] = name = "made-by-doctor"
    missing = collect(installed, "--measurement", "training")
    assert missing.code == 3
    (problem,) = missing.document["measurements"][0]["problems"]
    assert problem.endswith(f"Fix: make the bucket {name}: fedvitals doctor --create")
    assert installed.here("doctor").code == 1

    made = installed.here("doctor", "--create", "--json")

    try:
        assert (made.code, [c for c in made.document["checks"] if not c["ok"]]) == (0, [])
        assert collect(installed, "--measurement", "training").code == 0
        assert influxdb.count_values(name, "training") == 360
    finally:
        influxdb.delete_bucket(name)


def test_a_value_of_another_type_in_the_bucket(
    installed: Installation, influxdb: InfluxServer, bucket: str, prometheus: PrometheusServer
) -> None:
    # somebody wrote an integer into the same week
    moment = int(WINDOW.start.timestamp()) - 1
    influxdb.write(bucket, f"odd,model=plain value=1i {moment}\n".encode(), "s")

    ran = collect(installed)

    good, bad = 180 * len(GOOD_TAGS), 180 * len(BAD_TAGS)
    assert ran.code == 1
    states = {line["name"]: line["state"] for line in ran.document["measurements"]}
    assert states == {"training": "landed", "odd": "refused"}
    counts = ran.document["sinks"]["influxdb"]
    assert (counts["owed"], counts["loaded"], counts["refused"]) == (
        360 + good + bad, 360, good + bad,
    )  # fmt: skip
    assert influxdb.count_values(bucket, "training") == 360
    assert influxdb.count_values(bucket, "odd") == 1
    listed = installed.here("quarantine", "ls", "--json").document["quarantine"]
    assert {(each["stage"], each["check_id"]): each["values"] for each in listed} == {
        ("sink", "influxdb_refused"): good,
        ("sink", "tag_line_break"): bad // 2,
        ("sink", "tag_trailing_backslash"): bad // 2,
    }
    shown = installed.here("quarantine", "show", "odd", "--limit", "2000", "--json")
    reasons = {each["reason"] for each in shown.document["values"] if each["check_id"] == "influxdb_refused"}  # fmt: skip
    words = 'field type conflict: input field "value" on measurement "odd" is type float'
    assert reasons
    assert all(words in reason for reason in reasons)

    again = collect(installed)

    # what was refused for good is not sent again
    assert again.document["sinks"]["influxdb"]["owed"] == 0


def test_tag_values_of_any_text_are_landed_and_loaded_or_refused(
    installed: Installation, influxdb: InfluxServer, bucket: str, prometheus: PrometheusServer
) -> None:
    ran = collect(installed, "--measurement", "odd")

    good, bad = 180 * len(GOOD_TAGS), 180 * len(BAD_TAGS)
    assert (ran.code, ran.document["status"], ran.document["worst"]) == (1, "degraded", None)
    values = ran.document["values"]
    assert (values["landed"], values["quarantined"]) == (good + bad, 0)
    counts = ran.document["sinks"]["influxdb"]
    assert (counts["loaded"], counts["refused"]) == (good, bad)

    odd = [each for each in entries(installed) if each.name == "odd"]
    expected = {
        key: value
        for key, value in answered(prometheus, odd, WINDOW).items()
        if not any(text in BAD_TAGS for _, text in key[2])
    }
    found = stored(influxdb, bucket)
    assert found == expected
    # an empty label is no label: the tag is left out
    assert {dict(key[2]).get("model", "") for key in found} == set(GOOD_TAGS)

    shown = installed.here("quarantine", "show", "odd", "--limit", "1000", "--json")
    held = {
        (json.loads(each["tags"])["model"], each["check_id"]) for each in shown.document["values"]
    }
    assert held == {("ends\\", "tag_trailing_backslash"), ("new\nline", "tag_line_break")}
    assert len(shown.document["values"]) == bad
