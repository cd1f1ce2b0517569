"""A run as an annotation in Grafana; a Grafana that fails costs a note and nothing else."""

from collections.abc import Iterator

import pytest
from pytest_httpserver import HTTPServer

from tests.support.fakes.grafana import TOKEN, FakeGrafana, fails
from tests.support.faulty import constant, faulty_prometheus
from tests.support.installation import Installation, entry

WINDOW = ("--start", "2026-03-01T00:00:00Z", "--stop", "2026-03-01T01:00:00Z")


@pytest.fixture
def grafana() -> Iterator[FakeGrafana]:
    with HTTPServer(threaded=True) as server:
        yield FakeGrafana(server)


@pytest.fixture
def collecting(bare: Installation, grafana: FakeGrafana) -> Iterator[Installation]:
    with faulty_prometheus() as prometheus:
        prometheus.queries |= {"a": [constant()]}
        bare.variables |= {
            "PROMETHEUS_URL": prometheus.url,
            "GRAFANA_URL": grafana.url,
            "GRAFANA_API_KEY": TOKEN,
        }
        yield bare.configure({"m": entry("a")})


@pytest.mark.slow
def test_every_run_is_annotated_once(collecting: Installation, grafana: FakeGrafana) -> None:
    first, second = (collecting.here("collect", "--json", *WINDOW).document for _ in range(2))

    assert [(one["text"], one["tags"]) for one in grafana.annotations] == [
        (
            "fedvitals collect in production: all well: 60 values landed",
            ["automation", "metrics", f"run:{first['run_id']}"],
        ),
        (
            "fedvitals collect in production: all well: nothing new",
            ["automation", "metrics", f"run:{second['run_id']}"],
        ),
    ]
    assert (first["notes"], second["notes"]) == ([], [])
    # one that changed nothing has no report, and is marked all the same
    assert first["deliveries"] == [
        {"what": what, "ok": True, "message": ""} for what in ("self metrics", "report", "grafana")
    ]
    assert [each["what"] for each in second["deliveries"]] == ["self metrics", "grafana"]


@pytest.mark.slow
def test_a_grafana_that_fails_is_a_note_and_the_run_is_as_good(
    collecting: Installation, grafana: FakeGrafana
) -> None:
    grafana.faults = [fails(503, f"no key {TOKEN}")] * 100

    ran = collecting.here("collect", "--json", *WINDOW)

    document = ran.document
    assert (ran.code, document["status"]) == (0, "ok")
    (lost,) = [each for each in document["deliveries"] if not each["ok"]]
    assert lost["what"] == "grafana"
    assert lost["message"].startswith(f"Grafana at {grafana.url}: HTTP 503")
    assert lost["message"].endswith("The message was not sent; the run itself is not affected")
    assert collecting.holding(TOKEN) == []


@pytest.mark.promise(
    "Accounts: a delivery that fails (report, annotation, heartbeat, artifacts) is on the receipt and changes no exit code"
)
@pytest.mark.slow
def test_a_grafana_that_fails_an_idle_run_is_on_the_kept_receipt(
    collecting: Installation, grafana: FakeGrafana
) -> None:
    collecting.here("collect", *WINDOW)
    grafana.faults = [fails(503, "away")] * 100

    ran = collecting.here("collect", "--json", *WINDOW)

    document = ran.document
    assert (ran.code, document["status"], document["report"]) == (0, "ok", None)
    (lost,) = [each for each in document["deliveries"] if not each["ok"]]
    assert lost["message"].startswith(f"Grafana at {grafana.url}: HTTP 503")
    assert collecting.kept("collect") == document


@pytest.mark.slow
def test_a_token_that_is_wrong_is_a_note(collecting: Installation, grafana: FakeGrafana) -> None:
    collecting.variables["GRAFANA_API_KEY"] = "wrong"

    ran = collecting.here("collect", *WINDOW)

    assert ran.code == 0
    assert "note     Grafana at" in ran.out
    assert "set GRAFANA_API_KEY" in ran.out
    assert len(grafana.asked) == 1


@pytest.mark.slow
def test_without_a_token_grafana_is_off_with_one_warning(
    collecting: Installation, grafana: FakeGrafana
) -> None:
    del collecting.variables["GRAFANA_API_KEY"]

    ran = collecting.here("collect", "--json", *WINDOW)

    assert (ran.code, grafana.asked) == (0, [])
    assert [each["what"] for each in ran.document["deliveries"]] == ["self metrics", "report"]
    assert ran.err.count("GRAFANA_URL: Grafana is off, since its token is not set") == 1


def test_doctor_asks_grafana(bare: Installation, grafana: FakeGrafana) -> None:
    bare.variables |= {"GRAFANA_URL": grafana.url, "GRAFANA_API_KEY": TOKEN}
    checks = {(each["service"], each["what"]): each for each in bare.here("doctor", "--json").document["checks"]}  # fmt: skip
    assert checks["Grafana", "answers"]["ok"]
    assert (
        checks["settings", "grafana"]["detail"]
        == f"{grafana.url} (from GRAFANA_URL), token from GRAFANA_API_KEY"
    )
