"""Services that refuse, fail or are not there: what is reported, and what is made good later."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from markupsafe import escape

from tasks.ledger.locks import FileLocks
from tests.support.fakes.influxdb import FakeInfluxDB, Fault, fake_influxdb
from tests.support.faulty import FaultyPrometheus, constant, faulty_prometheus, page
from tests.support.installation import Installation, Ran, entry

pytestmark = pytest.mark.slow

PROMETHEUS_SECRET = "planted-prometheus-9f27"
INFLUXDB_SECRET = "planted-influxdb-41ab"
TWO_HOURS = ("--start", "2026-03-01T00:00:00Z", "--stop", "2026-03-01T02:00:00Z")
# one value a minute
VALUES = 120
GATEWAY = "Fix: check that it runs and is reachable; the next run tries again"


@pytest.fixture
def prometheus() -> Iterator[FaultyPrometheus]:
    with faulty_prometheus(token=PROMETHEUS_SECRET) as running:
        running.queries |= {"a": [constant()], "b": [constant()]}
        yield running


@pytest.fixture
def two(bare: Installation, prometheus: FaultyPrometheus) -> Installation:
    """Two measurements, and a Prometheus that has both."""
    bare.variables |= {
        "PROMETHEUS_URL": prometheus.url,
        "PROMETHEUS_API_TOKEN": PROMETHEUS_SECRET,
    }
    return bare.configure({"a": entry("a"), "b": entry("b")})


def collect(installation: Installation) -> Ran:
    ran = installation.here("collect", "--json", *TWO_HOURS)
    assert PROMETHEUS_SECRET not in ran.out + ran.err
    assert INFLUXDB_SECRET not in ran.out + ran.err
    return ran


def problems(ran: Ran) -> list[str]:
    return [problem for line in ran.document["measurements"] for problem in line["problems"]]


TOKEN = "Fix: set PROMETHEUS_API_TOKEN"
TOKENS = {"wrong": ("wrong", "the token is not accepted"), "none": ("", "no token is set")}


@pytest.mark.parametrize(("token", "words"), TOKENS.values(), ids=TOKENS.keys())
def test_a_token_that_prometheus_refuses(
    two: Installation, prometheus: FaultyPrometheus, token: str, words: str
) -> None:
    two.variables["PROMETHEUS_API_TOKEN"] = token

    ran = collect(two)

    assert (ran.code, ran.document["status"]) == (1, "failed")
    assert problems(ran) == [
        f"Prometheus at {prometheus.url} refused query of {name}.{name} (HTTP 401): {words}. {TOKEN}"
        for name in "ab"
    ]
    # a refusal is not asked again
    assert len(prometheus.asked) == 2


def test_a_prometheus_that_is_down(two: Installation) -> None:
    two.variables["PROMETHEUS_URL"] = "http://127.0.0.1:9"

    ran = collect(two)

    assert (ran.code, ran.document["status"]) == (1, "failed")
    assert problems(ran) == [
        f"Prometheus at http://127.0.0.1:9 could not answer query of {name}.{name}: "
        f"[Errno 111] Connection refused. {GATEWAY}"
        for name in "ab"
    ]


def test_a_503_is_asked_again(two: Installation, prometheus: FaultyPrometheus) -> None:
    prometheus.instead += [page(503)("")] * 2

    ran = collect(two)

    assert (ran.code, problems(ran)) == (0, [])
    assert ran.document["values"]["landed"] == 2 * VALUES


def test_a_503_that_asks_for_more_patience_than_there_is(
    two: Installation, prometheus: FaultyPrometheus
) -> None:
    answer = page(503, "maintenance")("")
    answer.headers["Retry-After"] = "3600"
    prometheus.instead += [answer]

    ran = collect(two)

    # a is left to the next run at once, b is not made to wait for it
    assert ran.code == 1
    assert problems(ran) == [
        f"Prometheus at {prometheus.url} could not answer query of a.a: HTTP 503: maintenance. {GATEWAY}"
    ]
    assert [line["state"] for line in ran.document["measurements"]] == ["failed", "landed"]


def test_a_number_that_is_no_number(two: Installation, prometheus: FaultyPrometheus) -> None:
    prometheus.queries["a"] = [constant("NaN")]
    prometheus.queries["b"] = [constant("+Inf")]

    ran = collect(two)

    assert (ran.code, ran.document["status"]) == (0, "no_data")
    assert ran.document["values"]["dropped_by_rule"] == 2 * VALUES


@pytest.mark.promise(
    "Two runs: one works; the other names the lock's holder, is pending and ends with exit code 3"
)
def test_a_measurement_that_another_run_works_on(two: Installation) -> None:
    with FileLocks(two.home / "locks").hold("a", "production", "run-7"):
        ran = collect(two)

    # b is not held up, and nothing is wrong
    assert ran.code == 3
    assert [line["state"] for line in ran.document["measurements"]] == ["pending", "landed"]
    (problem,) = problems(ran)
    assert problem.startswith("a in production is locked by run run-7")
    assert problem.endswith("Fix: retry when the other run finishes")


@pytest.fixture
def influxdb() -> Iterator[FakeInfluxDB]:
    with fake_influxdb(token=INFLUXDB_SECRET) as running:
        yield running


@pytest.fixture
def loading(two: Installation, influxdb: FakeInfluxDB) -> Installation:
    two.variables |= {"INFLUXDB_URL": influxdb.url, "INFLUXDB_TOKEN": INFLUXDB_SECRET}
    return two


REFUSALS: dict[str, tuple[dict[str, str], str]] = {
    "token": (
        {"INFLUXDB_TOKEN": "wrong"},
        "refused (HTTP 401): unauthorized access. Fix: set INFLUXDB_TOKEN "
        "to a token that may write to the bucket fedvitals",
    ),
    "bucket": (
        {"INFLUXDB_BUCKET": "other"},
        'refused (HTTP 404): bucket "other" not found. '
        "Fix: make the bucket other: fedvitals doctor --create",
    ),
    "organisation": (
        {"INFLUXDB_ORG": "other"},
        'refused (HTTP 404): organization name "other" not found. '
        "Fix: make the organisation other in InfluxDB, or correct INFLUXDB_ORG",
    ),
}  # fmt: skip


@pytest.mark.parametrize(("variables", "words"), REFUSALS.values(), ids=REFUSALS.keys())
def test_what_influxdb_refuses_stays_pending_and_is_loaded_once_fixed(
    loading: Installation, influxdb: FakeInfluxDB, variables: dict[str, str], words: str
) -> None:
    whole = dict(loading.variables)
    loading.variables |= variables

    ran = collect(loading)

    assert (ran.code, ran.document["status"]) == (3, "degraded")
    assert problems(ran) == [f"influxdb at {influxdb.url} {words}"] * 2
    assert [line["state"] for line in ran.document["measurements"]] == ["pending", "pending"]
    assert ran.document["values"]["landed"] == ran.document["sinks"]["influxdb"]["pending"] == 240

    loading.variables = whole
    fixed = collect(loading)

    assert (fixed.code, fixed.document["status"]) == (0, "ok")
    assert fixed.document["sinks"]["influxdb"]["loaded"] == 240
    assert influxdb.count_values("a") == influxdb.count_values("b") == VALUES


def test_a_sink_is_in_use_also_when_every_source_is_down(
    loading: Installation, influxdb: FakeInfluxDB
) -> None:
    loading.variables["PROMETHEUS_URL"] = "http://127.0.0.1:9"

    ran = collect(loading)
    page = Path(ran.document["report"]).read_text("utf-8")

    assert ran.document["status"] == "failed"
    assert set(ran.document["sinks"]["influxdb"].values()) == {0}
    assert ">InfluxDB</th>" in page
    assert "No sink is" not in page
    assert f"<h1>{escape(ran.document['sentence'])}</h1>" in page
    assert ran.document["sentence"].startswith("nothing landed: Prometheus at")
    # the failing twin
    del loading.variables["INFLUXDB_URL"], loading.variables["INFLUXDB_TOKEN"]
    without = collect(loading)
    assert without.document["sinks"] == {}
    assert "No sink is in use." in Path(without.document["report"]).read_text("utf-8")


FAULTS = {
    "503": (Fault(status=503, message="busy"), "HTTP 503: busy"),
    "429": (Fault(status=429, message="slow down", retry_after="3600"), "HTTP 429: slow down"),
    "page": (Fault(status=502, message="<html>"), "HTTP 502: <html>"),
    "cut": (Fault("cut"), "no answer: "),
}


@pytest.mark.parametrize(("fault", "words"), FAULTS.values(), ids=FAULTS.keys())
def test_an_influxdb_that_fails_leaves_all_pending(
    loading: Installation, influxdb: FakeInfluxDB, fault: Fault, words: str
) -> None:
    influxdb.always = fault

    ran = collect(loading)

    assert ran.code == 3
    assert ran.document["sinks"]["influxdb"]["pending"] == 240
    assert all(each.startswith(f"influxdb at {influxdb.url}: {words}") for each in problems(ran))
    assert len(problems(ran)) == 2


def test_an_influxdb_without_a_token_is_off_with_one_warning(
    loading: Installation, influxdb: FakeInfluxDB
) -> None:
    del loading.variables["INFLUXDB_TOKEN"]

    ran = loading.run("collect", "--json", *TWO_HOURS)

    assert (ran.code, ran.document["sinks"]) == (0, {})
    assert ran.warnings == (
        "fedvitals: INFLUXDB_URL: InfluxDB is off, since its token is not set. Fix: set "
        "INFLUXDB_TOKEN\n"
    )
    assert influxdb.requests == 0


def test_a_page_that_is_no_metrics_page(two: Installation) -> None:
    with faulty_prometheus() as website:
        two.variables |= {"PROMETHEUS_URL": "", "FED_VIT_API_URL": website.url}
        # a token without an address would be named as unused
        two.variables |= {"PROMETHEUS_API_TOKEN": ""}

        ran = two.here("collect")

    assert (ran.code, ran.out) == (1, "")
    assert ran.complaint.startswith(f"the service's API at {website.url} refused its metrics page")
