"""The run `health`: its verdict, findings, document and rows, of two environments at once."""

import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import yaml
from jsonschema import Draft202012Validator
from pytest_httpserver import HTTPServer
from werkzeug import Request, Response

from tasks.core.errors import NothingConfigured, UsageInvalid
from tasks.core.health import HostSample, Push, read_health
from tasks.core.health_measurements import CHECKS, health_measurements
from tasks.core.health_report import HealthReport, schema
from tasks.core.receipt import Receipt
from tasks.core.settings import Settings, load_settings, shipped
from tasks.core.window import Window
from tasks.lake.tables import Lake
from tasks.ledger import health as kept
from tasks.ledger.ledger import Ledger
from tasks.ledger.opening import opened_ledger
from tasks.ledger.schema import as_text, maintenance
from tasks.runs.base.run import Run
from tasks.runs.health import run as running
from tasks.runs.health.round import push_report, record_samples, take_samples

HOUR = timedelta(hours=1)
DEAD = "http://127.0.0.1:9"
Answer = Callable[[Request], Response]


@pytest.fixture(scope="module")
def server() -> Iterator[HTTPServer]:
    with HTTPServer(threaded=True) as server:
        yield server


@dataclass
class Site:
    """A config folder for the environments production and staging of one server."""

    folder: Path
    server: HTTPServer

    @property
    def settings(self) -> Settings:
        places = {"FEDVITALS_HOME": "home", "FEDVITALS_CONFIG": "config"}
        return load_settings({name: str(self.folder / part) for name, part in places.items()})

    def configure(self, **health: Any) -> "Site":
        config = self.folder / "config"
        config.mkdir(exist_ok=True)
        url = self.server.url_for("").rstrip("/")
        environments = {name: {"api_url": f"{url}/{name}"} for name in ("production", "staging")}
        pipeline = {"settle_delay": "1ms", "retry_timeout": "1s"}
        for name, content in {
            "environments": {"pipeline": pipeline, "environments": environments},
            "sinks": {},
            "health": {"training": None, "endpoints": {"/health": {}}, "timeout": "5s", **health},
        }.items():
            (config / f"{name}.yaml").write_text(yaml.safe_dump(content), "utf-8")
        text = (shipped("config") / "metrics.yaml").read_text("utf-8")
        (config / "metrics.yaml").write_text(text, "utf-8")
        return self

    def change(self, how: Callable[[dict[str, Any]], None]) -> None:
        path = self.folder / "config" / "environments.yaml"
        content = yaml.safe_load(path.read_text("utf-8"))
        how(content["environments"])
        path.write_text(yaml.safe_dump(content), "utf-8")

    def answers(self, answer: Answer | str, environment: str = "production", path: str = "/health") -> None:  # fmt: skip
        expected = self.server.expect_request(f"/{environment}{path}")
        if isinstance(answer, str):
            expected.respond_with_data(answer)
        else:
            expected.respond_with_handler(answer)

    def check(self, environment: str = "production", later: float = 0) -> Receipt:
        """A run; `later`, in seconds, than it is."""
        now = datetime.now(UTC) + timedelta(seconds=later)
        with Run("health", self.settings, environment, now=now) as run:
            return running.health(run, running.HealthRequest())

    def document(self, environment: str = "production") -> dict[str, Any]:
        path = self.settings.reports / "health" / environment / running.FILE
        content: dict[str, Any] = json.loads(path.read_text("utf-8"))
        return content

    def ledger(self) -> Any:
        return opened_ledger(self.settings)


@pytest.fixture
def site(tmp_path: Path, server: HTTPServer, monkeypatch: pytest.MonkeyPatch) -> Site:
    server.clear()
    monkeypatch.setattr(running, "PAUSE_SECONDS", 0.01)
    return Site(tmp_path, server).configure()


def failing(_: Request) -> Response:
    return Response("no", 503)


def kinds(receipt: Receipt) -> list[tuple[str, str]]:
    return [(one.kind, one.severity.value) for one in receipt.findings]


def is_valid(document: Mapping[str, Any]) -> bool:
    Draft202012Validator(schema(), format_checker=None).validate(dict(document))
    return True


@pytest.mark.promise("Health: health-report.json is written by every run, also when unhealthy")
@pytest.mark.parametrize("is_well", [True, False])
def test_document_is_written_whatever_the_verdict(site: Site, is_well: bool) -> None:
    site.answers("{}" if is_well else failing)
    before = datetime.now(UTC).timestamp()
    receipt = site.check()
    document = site.document()

    assert is_valid(document)
    assert document == json.loads(receipt.details.model_dump_json())  # type: ignore[union-attr]
    assert before < document["timestamp"] < before + 60
    assert datetime.fromisoformat(document["time"]).timestamp() == pytest.approx(document["timestamp"])  # fmt: skip
    check = document["api_health"]["/health"]
    assert check["status_code"] == (200 if is_well else 503)
    verdict = (document["overall_status"], document["state"], check["status"], int(receipt.exit_code))  # fmt: skip
    assert verdict == (("healthy", "up", "healthy", 0) if is_well else ("unhealthy", "down", "unhealthy", 1))  # fmt: skip
    assert document["system_resources"]["source"] == "not measured"
    assert document["federated_learning"]["state"] is None


def test_an_outage_is_a_finding_dated_from_its_first_sample(site: Site) -> None:
    site.answers(failing)
    first = site.check()
    second = site.check()

    (finding,) = second.findings
    assert kinds(second) == [("health", "high")]
    assert finding.fingerprint == first.findings[0].fingerprint
    assert finding.evidence["since"] == first.findings[0].evidence["since"]
    clock = datetime.fromisoformat(finding.evidence["since"]).strftime("%H:%M")
    assert finding.sentence == (
        f"production: /health is down since {clock} (HTTP 503 instead of 200), still failing"
    )


@pytest.mark.promise("Health: one lost answer does not make an environment unhealthy")
def test_one_lost_answer_is_asked_again(site: Site) -> None:
    lost = iter([503])
    site.answers(lambda _: Response("{}", next(lost, 200)))
    receipt = site.check()

    assert (int(receipt.exit_code), receipt.findings) == (0, ())
    assert site.document()["api_health"]["/health"]["state"] == "up"
    with site.ledger() as ledger:
        window = Window(datetime.now(UTC) - HOUR, datetime.now(UTC) + HOUR)
        found = kept.samples(ledger, "production", window)
    assert [one.status for one in found] == ["unhealthy", "healthy"]


def test_two_environments_are_judged_apart(site: Site) -> None:
    site.answers('{"status": "ok"}')
    site.answers('{"status": "degraded"}', "staging")

    assert [int(site.check(name).exit_code) for name in ("production", "staging")] == [0, 1]
    assert (site.document()["state"], site.document("staging")["state"]) == ("up", "degraded")
    assert site.document("staging")["findings"][0].endswith(
        '(its status is "degraded"), still failing'
    )


def test_an_environment_without_an_address_is_refused_by_name(site: Site) -> None:
    site.change(lambda environments: environments.update(staging={}))
    with pytest.raises(NothingConfigured, match="api_url of staging"):
        site.check("staging")


@pytest.mark.promise("Health: the lake keeps samples and hours of states as measurements")
def test_samples_land_as_measurements_without_being_doubled(site: Site) -> None:
    site.answers("{}")
    site.check()
    site.check(later=2)
    receipt = site.check(later=4)

    lake = Lake(site.settings.lake_url)
    window = Window(datetime.now(UTC) - HOUR, datetime.now(UTC) + HOUR)
    checks = next(entry for entry in health_measurements() if entry.name == CHECKS)
    frame = lake.read(checks, "production", window)
    assert frame["up_ratio"].tolist() == [1.0, 1.0, 1.0]
    assert set(frame["check"]) == {"/health"}
    assert not frame.duplicated(["check", "time"]).any()
    states = {line.name: line.state for line in receipt.measurements}
    assert states["health_checks"] == "landed"


def planned(ledger: Ledger, until: timedelta, check: str = "") -> None:
    now = datetime.now(UTC)
    row = {"environment": "production", "check": check, "reason": "deploy", "by": "ci"}
    times = {"start": as_text(now - HOUR), "until": as_text(now + until)}
    ledger.write(maintenance, [{**row, **times}])


@pytest.mark.promise("Health: maintenance silences every kind of check, and what still fails opens at its end")  # fmt: skip
def test_maintenance_silences_every_kind_of_check(site: Site) -> None:
    training = {"stalled_after": "1ms"}
    site.configure(pushed={"export": {"every": "1h"}}, training=training)
    site.answers(failing)
    site.answers('{"state": "running", "current_round": 3}', path="/api/training/status")
    with site.ledger() as ledger:
        push_report(ledger, read_health(site.settings), "production", "export", failed=True)
        site.check()
        loud = site.check()
        planned(ledger, HOUR)
        silent = site.check()

    assert {kind for kind, _ in kinds(loud)} == {"health", "pushed_check", "training_stalled"}
    assert (silent.findings, int(silent.exit_code)) == ((), 0)


def test_what_still_fails_opens_at_the_end_of_maintenance(site: Site) -> None:
    site.answers(failing)
    with site.ledger() as ledger:
        planned(ledger, HOUR)
        assert int(site.check().exit_code) == 0
        assert site.document()["api_health"]["/health"]["state"] == "maintenance"
        with ledger.transaction() as connection:
            connection.execute(maintenance.update().values(until=as_text(datetime.now(UTC))))
    assert kinds(site.check()) == [("health", "high")]


def test_maintenance_of_one_check_leaves_the_others(site: Site) -> None:
    site.configure(endpoints={"/health": {}, "/other": {}})
    site.answers(failing)
    site.answers(failing, path="/other")
    with site.ledger() as ledger:
        planned(ledger, HOUR, "/health")
    assert [one.evidence["check"] for one in site.check().findings] == ["/other"]


@pytest.mark.promise("Health: a pushed check is judged by its last report, also after a restart")
def test_pushed_checks_are_judged_by_their_last_report(site: Site) -> None:
    site.configure(endpoints={}, pushed={"export": {"every": "1h", "grace": "5m"}})
    config = read_health(site.settings)

    # nothing is known before the first report
    first = site.check()
    assert (int(first.exit_code), first.findings) == (0, ())
    assert site.document()["pushed_checks"]["export"]["state"] == "no_data"
    with site.ledger() as ledger:
        expected = kept.pushes(ledger)["production", "export"]  # type: ignore[index]
        push = push_report(ledger, config, "production", "export")
    assert push.deadline - push.at == timedelta(minutes=65)  # type: ignore[operator]
    assert int(site.check().exit_code) == 0

    with site.ledger() as ledger:
        push_report(ledger, config, "production", "export", failed=True)
    assert kinds(site.check()) == [("pushed_check", "high")]

    with site.ledger() as ledger:
        kept.keep_push(ledger, Push("production", "export", None, expected.deadline - 2 * HOUR))
    (late,) = site.check().findings
    assert "none came yet" in late.sentence


def test_a_report_of_an_unknown_check_is_refused_with_its_like(site: Site) -> None:
    config = read_health(site.configure(pushed={"export": {"every": "1h"}}).settings)
    with site.ledger() as ledger, pytest.raises(UsageInvalid, match="did you mean export"):
        push_report(ledger, config, "production", "exports")


@pytest.mark.parametrize("is_blind", [True, False])
def test_a_checker_that_cannot_see_says_so_once(site: Site, is_blind: bool) -> None:
    control = DEAD if is_blind else site.server.url_for("/control")
    dead = {f"dead{number}": {"url": f"{DEAD}/{number}"} for number in range(3)}
    site.configure(controls=[f"{control}/"], endpoints={**dead, "/health": {}})
    site.answers(failing)
    receipt = site.check()

    assert int(receipt.exit_code) == 1
    states = {name: one["state"] for name, one in site.document()["api_health"].items()}
    # an answer is evidence whatever the controls say
    assert states.pop("/health") == "down"
    assert set(states.values()) == {"no_data"} if is_blind else {"down"}
    found = kinds(receipt)
    assert found.count(("cannot_see", "warning")) == is_blind
    assert found.count(("health", "high")) == (1 if is_blind else 4)
    others = "1 more problem" if is_blind else "3 more problems"
    assert f", still failing; {others}; unhealthy: 0 of 4 checks are well" in receipt.sentence


def test_blindness_and_missing_data_grow_into_findings(site: Site) -> None:
    site.configure(
        controls=[f"{DEAD}/"], endpoints={"dead": {"url": f"{DEAD}/x"}}, no_data_after="1s"
    )
    site.check()
    with site.ledger() as ledger, ledger.transaction() as connection:
        # as if the loop had seen it for 6 minutes
        ago = datetime.now(UTC) - timedelta(minutes=6)
        for (text,) in connection.exec_driver_sql("SELECT track FROM health_tracks").all():
            track = json.loads(text)
            track["interval"]["start"] = ago.isoformat()
            where = (json.dumps(track), track["interval"]["check"])
            connection.exec_driver_sql('UPDATE health_tracks SET track = ? WHERE "check" = ?', where)  # fmt: skip
    assert set(kinds(site.check())) == {("cannot_see", "high"), ("health", "high")}


@pytest.mark.parametrize(
    ("state", "after", "is_stalled"),
    [("running", "1ms", True), ("running", "1h", False), ("finished", "1ms", False)],
)
def test_rounds_have_to_move_while_a_training_runs(
    site: Site, state: str, after: str, is_stalled: bool
) -> None:
    site.configure(training={"stalled_after": after})
    body = {"state": state, "current_round": 3, "total_rounds": 9}
    site.answers("{}")
    site.answers(json.dumps(body), path="/api/training/status")
    site.check()
    receipt = site.check()

    training = site.document()["federated_learning"]
    assert (training["state"], training["round"], training["total_rounds"]) == (state, 3, 9)
    assert training["stalled"] is is_stalled
    assert kinds(receipt) == [("training_stalled", "high")] * is_stalled
    assert int(receipt.exit_code) == is_stalled


def test_a_round_that_moves_is_no_stall(site: Site) -> None:
    site.configure(training={"stalled_after": "1ms"})
    rounds = iter(range(9))
    site.answers("{}")
    site.answers(
        lambda _: Response(json.dumps({"state": "running", "current_round": next(rounds)})),
        path="/api/training/status",
    )
    site.check()
    assert kinds(site.check()) == []


@pytest.mark.parametrize("body", ["no", "{}", '{"state": "running"}', '{"state": 3}'])
def test_a_training_that_cannot_be_read_is_no_stall_but_an_error(site: Site, body: str) -> None:
    site.configure(training={"stalled_after": "1ms"})
    site.answers("{}")
    site.answers(body, path="/api/training/status")
    receipt = site.check()
    assert kinds(receipt) == []
    assert site.document()["federated_learning"]["error"]


@pytest.mark.parametrize(
    ("cpu", "memory", "minutes", "expected"),
    [
        (0.5, 0.5, 8, []),
        (0.95, 0.5, 8, ["host_cpu"]),
        # a second says nothing of a CPU
        (0.95, 0.5, 0, []),
        (0.5, 0.9, 8, ["host_memory"]),
        (0.5, 0.9, 0, ["host_memory"]),
    ],
)
def test_a_local_machine_is_judged_on_the_mean_of_ten_minutes(
    site: Site,
    monkeypatch: pytest.MonkeyPatch,
    cpu: float,
    memory: float,
    minutes: int,
    expected: list[str],
) -> None:
    site.change(lambda environments: environments["production"].update(host="local"))
    site.answers("{}")
    now = datetime.now(UTC)
    figures = HostSample("production", now, cpu, memory, 0.5, 1.0, 1.0, 1.0)
    monkeypatch.setattr(running, "local_host", lambda _: figures)
    with site.ledger() as ledger:
        for minute in range(1, minutes + 1):
            kept.keep_host(ledger, replace(figures, at=now - timedelta(minutes=minute)))
    receipt = site.check()

    assert [one.evidence["check"] for one in receipt.findings] == expected
    assert int(receipt.exit_code) == bool(expected)
    resources = site.document()["system_resources"]
    assert (resources["source"], resources["cpu_percent"]) == ("local", 100 * cpu)
    assert bool(resources["mean_10m"]) is bool(minutes)


def test_a_round_of_the_loop_samples_all_environments(site: Site) -> None:
    site.answers("{}")
    site.answers(failing, "staging")
    config, settings = read_health(site.settings), site.settings
    with site.ledger() as ledger:
        for _ in range(3):
            samples = take_samples(config, settings.environments.values())
            record_samples(ledger, config, samples, settings.environments)
        states = {key: track.interval.state for key, track in kept.tracks(ledger).items()}
    assert states == {("production", "/health"): "up", ("staging", "/health"): "down"}


def test_schema_refuses_another_document(site: Site) -> None:
    site.answers("{}")
    site.check()
    wrong = {**site.document(), "overall_status": "fine"}
    with pytest.raises(Exception, match="'fine' is not one of"):
        is_valid(wrong)
    HealthReport.model_validate(site.document())


def limited(site: Site, **more: Any) -> None:
    """A threshold that every answer breaks."""
    entry = {"field": "health_checks.response_time_seconds", "comparison": ">=", "value": 0}
    about = {"severity": "high", "summary": "the service answers", **more}
    content = {"thresholds": {"answers": {**entry, **about}}}
    (site.folder / "config" / "alert-thresholds.yaml").write_text(yaml.safe_dump(content), "utf-8")


def test_a_threshold_that_is_broken_is_a_finding_of_the_run(site: Site) -> None:
    site.answers("{}")
    limited(site)
    # a run judges what those before it landed, and lands the samples of those before it
    assert kinds(site.check()) == kinds(site.check(later=2)) == []
    receipt = site.check(later=4)
    (found,) = receipt.findings
    assert (found.kind, found.evidence["rule"], receipt.exit_code) == ("rule", "answers", 1)
    assert site.document()["overall_status"] == "unhealthy"
    with site.ledger() as ledger:
        now = datetime.now(UTC)
        times = {"start": as_text(now - HOUR), "until": as_text(now + HOUR)}
        row = {"environment": "production", "check": "", "reason": "deploy", "by": "ci"}
        ledger.write(maintenance, [{**row, **times}])
    assert kinds(site.check(later=6)) == []


def test_a_threshold_that_is_only_observed_is_none(site: Site) -> None:
    site.answers("{}")
    limited(site, mode="observe")
    site.check()
    site.check(later=2)
    receipt = site.check(later=4)
    assert (receipt.findings, receipt.exit_code) == ((), 0)


def test_thresholds_that_cannot_be_judged_are_noted_once(site: Site) -> None:
    site.answers("{}")
    site.change(lambda environments: environments["production"].update(prometheus_url=DEAD))
    receipt = site.check()
    (note,) = (each for each in receipt.notes if each.startswith("thresholds are not judged"))
    assert "Prometheus at http://127.0.0.1:9" in note
