"""Rules in a real Prometheus, of both versions: evaluated, checked, pushed, and put back."""

import time
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.support.history import history, selector
from tests.support.installation import Installation, entry
from tests.support.process import program
from tests.support.servers import CACHE, VERSIONS, PrometheusServer, PrometheusVersion

pytestmark = pytest.mark.real

# whole hours ago, so that the servers take it as the past
NOW = int(time.time()) // 3600 * 3600 - 3600
MINUTE = 60
UP = {"job": "api", "instance": "a:1"}
THRESHOLDS: dict[str, Any] = {
    "down": {
        "expr": "up",
        "comparison": "==",
        "value": 0,
        "for": "2m",
        "tags": ["job", "instance"],
    },
    "errors": {
        "expr": "sum by (job) (rate(errors_total[5m]))",
        "comparison": ">",
        "value": 1,
        "tags": ["job"],
        "when": "sum(up) > 0",
        "keep_firing_for": "5m",
    },
    "idle": {"expr": "sum(up) * NaN", "comparison": ">", "value": 1},
    "gone": {"expr": "gone", "comparison": ">", "value": 1, "no_data_after": "10m"},
}
TEAM = """\
groups:
- name: team
  rules:
  - alert: TheirDown
    expr: up==0
"""


@dataclass
class Place:
    """A Prometheus that reads rules from a folder, and an installation for it."""

    version: PrometheusVersion
    server: PrometheusServer
    installed: Installation
    rules_dir: Path

    @property
    def path(self) -> Path:
        return self.rules_dir / "fedvitals-production.yml"

    def loaded(self) -> list[str]:
        """The rules of ours that the server runs."""
        groups = groups_of(self.server)
        return [rule["name"] for rule in groups.get("fedvitals-production", {}).get("rules", [])]


def groups_of(server: PrometheusServer) -> dict[str, Any]:
    import requests

    answer = requests.get(f"{server.url}/api/v1/rules", timeout=30)
    return {group["name"]: group for group in answer.json()["data"]["groups"]}


def series() -> dict[str, list[float]]:
    """Two hours, a sample a minute: down in minutes 90 to 109, and in the last 5."""
    up = [0.0 if 90 <= minute < 110 or minute >= 116 else 1.0 for minute in range(121)]
    errors = [float(max(0, minute - 30) * 120) for minute in range(121)]
    return {
        selector("up", UP): up,
        selector("up", UP | {"instance": "b:1"}): [1.0] * 121,
        selector("errors_total", UP): errors,
    }


@pytest.fixture(scope="module", params=VERSIONS)
def place(request: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    version: PrometheusVersion = request.param
    home, folder = tmp_path_factory.mktemp("prometheus"), tmp_path_factory.mktemp("installed")
    rules_dir = home / "rules"
    rules_dir.mkdir()
    text = history(series(), NOW - 120 * MINUTE, MINUTE)
    config = {"rule_files": [str(rules_dir / "*.yml"), str(home / "rules.yml")]}
    installed = Installation(folder).configure({"http_requests": entry("share_ratio")})
    common = {"severity": "high", "summary": "it is wrong"}
    thresholds = {name: {**common, **one} for name, one in THRESHOLDS.items()}
    installed.write_yaml("alert-thresholds.yaml", {"thresholds": thresholds})
    ratio = {"total": "up", "bad": "errors_total"}
    slos = {"calls": {"objective": 0.99, "ratio": ratio, "summary": "calls fail"}}
    installed.write_yaml("slos.yaml", {"slos": slos})
    server = PrometheusServer(
        home, text, config=config, rules=TEAM, lifecycle=True, version=version
    )
    tool = "promtool" if version == "2" else "promtool3"
    with server:
        installed.variables |= {
            "PROMETHEUS_URL": server.url,
            "PROMETHEUS_RULES_DIR": str(rules_dir),
            "PROMTOOL": program(tool, "make servers", CACHE),
        }
        yield Place(version, server, installed, rules_dir)


def minute(number: int) -> str:
    moment = datetime.fromtimestamp(NOW - (120 - number) * MINUTE, UTC)
    return moment.isoformat().replace("+00:00", "Z")


@pytest.mark.parametrize(
    ("at", "down"),
    [
        (89, ("ok", None, 0)),
        (91, ("pending", 90, 0)),
        (92, ("firing", 90, 1)),
        (109, ("firing", 90, 1)),
        (110, ("ok", None, 0)),
        (120, ("firing", 116, 1)),
    ],
)
def test_thresholds_are_judged_as_of_any_time(
    place: Place, at: int, down: tuple[str, int | None, int]
) -> None:
    state, since, code = down
    ran = place.installed.here("rules", "evaluate", "--at", minute(at), "--json")

    rows = {row["rule"]: row for row in ran.document["thresholds"]}
    one = rows["down"]
    assert (one["state"], one["since"]) == (state, since and minute(since))
    assert one["labels"] == (UP if state in ("firing", "pending") else {})
    assert one["limit"] == "== 0"
    errors = rows["errors"]
    assert (errors["state"], errors["value"], errors["labels"]) == ("firing", 2.0, {"job": "api"})
    assert rows["gone"]["state"] == "no_data"
    assert (rows["idle"]["state"], rows["idle"]["value"]) == ("no_data", None)
    # what is gone fires as well, in any case
    assert (ran.code, code in (0, 1)) == (1, True)


def test_nothing_that_fires_is_good(place: Place) -> None:
    with place.installed.changed("alert-thresholds.yaml") as content:
        whole = content["thresholds"].copy()
        for name in ("errors", "gone"):
            del content["thresholds"][name]
    codes = [place.installed.here("rules", "evaluate", "--at", minute(at)).code for at in (89, 92)]
    place.installed.write_yaml("alert-thresholds.yaml", {"thresholds": whole})

    assert codes == [0, 1]


def test_checks_see_what_the_server_has(place: Place) -> None:
    with place.installed.changed("alert-thresholds.yaml") as content:
        whole = content["thresholds"].copy()
        content["thresholds"] |= {
            "lacks": {**whole["errors"], "expr": "sum by (zone) (up)", "tags": ["zone"]},
            "short": {**whole["errors"], "expr": "sum by (job) (rate(errors_total[1s]))"},
        }
    # the server's clock is now, and its data are of an hour ago
    ran = place.installed.here("rules", "check", "--json")
    place.installed.write_yaml("alert-thresholds.yaml", {"thresholds": whole})

    found = {(each["rule"], each["check"]) for each in ran.document["problems"]}
    assert ran.code == 1
    assert {("gone", "no_series"), ("down", "duplicate"), ("short", "short_rate")} <= found


def test_rules_are_pushed_and_read_back(place: Place) -> None:
    ran = place.installed.here("rules", "push", "--json")

    assert (ran.code, ran.document["written"]) == (0, str(place.path))
    ours = ["Watchdog", "down", "errors", "idle", "gone", "gone_no_data"]
    of_slos = [f"slo_calls_{tier}" for tier in ("fast", "slow", "ticket")]
    recorded = ["slo:total:increase", "slo:bad:increase"]
    assert place.loaded() == [*recorded, *ours, *of_slos]
    assert place.path.stat().st_mode & 0o777 == 0o644
    # the second time changes nothing
    before = place.path.read_bytes()
    assert place.installed.here("rules", "push").code == 0
    assert place.path.read_bytes() == before


@pytest.mark.promise(
    "Alerts: rules that a Prometheus does not take are put back, and it runs what it ran before"
)
def test_a_server_that_refuses_the_reload_keeps_its_rules(place: Place) -> None:
    assert place.installed.here("rules", "push").code == 0
    good = place.server.config_path.read_text()
    place.server.config_path.write_text(good.replace("scrape_interval: 1s", "scrape_interval: x"))
    before = place.path.read_bytes()
    with place.installed.changed("alert-thresholds.yaml") as content:
        content["thresholds"]["errors"]["value"] = 7

    ran = place.installed.here("rules", "push")

    place.server.config_path.write_text(good)
    with place.installed.changed("alert-thresholds.yaml") as content:
        content["thresholds"]["errors"]["value"] = 1
    assert (ran.code, "refused a reload of its rules (HTTP 500)" in ran.complaint) == (1, True)
    assert place.path.read_bytes() == before
    queries = {rule["name"]: rule["query"] for rule in ours(place)}
    assert queries["errors"].count("> 1)") == 1


def ours(place: Place) -> list[dict[str, Any]]:
    rules: list[dict[str, Any]] = groups_of(place.server)["fedvitals-production"]["rules"]
    return rules


@pytest.mark.promise(
    "Alerts: rules that a Prometheus does not take are put back, and it runs what it ran before"
)
def test_rules_that_the_server_does_not_read_are_taken_back(place: Place) -> None:
    elsewhere = place.rules_dir.parent / "elsewhere"
    elsewhere.mkdir()
    place.installed.variables["PROMETHEUS_RULES_DIR"] = str(elsewhere)
    place.path.unlink(missing_ok=True)

    ran = place.installed.here("rules", "push")

    place.installed.variables["PROMETHEUS_RULES_DIR"] = str(place.rules_dir)
    assert (ran.code, "did not read the group" in ran.complaint) == (1, True)
    assert list(elsewhere.iterdir()) == []


@pytest.mark.promise(
    "Alerts: rules that a Prometheus does not take are put back, and it runs what it ran before"
)
def test_rules_that_the_server_runs_otherwise_are_taken_back(place: Place) -> None:
    assert place.installed.here("rules", "push").code == 0
    beside = place.rules_dir.parent / "beside"
    beside.mkdir()
    place.installed.variables["PROMETHEUS_RULES_DIR"] = str(beside)
    # it still has the group, from the other folder
    with place.installed.changed("alert-thresholds.yaml") as content:
        content["thresholds"]["errors"]["keep_firing_for"] = "6m"

    ran = place.installed.here("rules", "push")

    place.installed.variables["PROMETHEUS_RULES_DIR"] = str(place.rules_dir)
    with place.installed.changed("alert-thresholds.yaml") as content:
        content["thresholds"]["errors"]["keep_firing_for"] = "5m"
    assert (ran.code, "runs another errors than was written" in ran.complaint) == (1, True)
    assert list(beside.iterdir()) == []


def test_a_folder_that_cannot_be_written_is_one_error(place: Place) -> None:
    place.installed.variables["PROMETHEUS_RULES_DIR"] = str(place.rules_dir / "missing")

    ran = place.installed.here("rules", "push")

    place.installed.variables["PROMETHEUS_RULES_DIR"] = str(place.rules_dir)
    assert (ran.code, "Fix: name a folder" in ran.complaint) == (2, True)


def test_the_promtool_of_another_version_is_refused(place: Place) -> None:
    other = "promtool3" if place.version == "2" else "promtool"
    right = place.installed.variables["PROMTOOL"]
    place.installed.variables["PROMTOOL"] = program(other, "make servers", CACHE)
    before = place.path.read_bytes() if place.path.exists() else None

    ran = place.installed.here("rules", "push")

    place.installed.variables["PROMTOOL"] = right
    assert (ran.code, "Fix: set PROMTOOL" in ran.complaint) == (2, True)
    assert (place.path.read_bytes() if place.path.exists() else None) == before


@pytest.mark.promise("Alerts: a fault has one fingerprint, whether Prometheus or fedvitals saw it")
def test_an_alert_of_prometheus_has_the_fingerprint_of_our_finding(place: Place) -> None:
    """Both see the same fault: the labels of the alert give the fingerprint of the judgement."""
    from tasks.core.thresholds import read_file

    assert place.installed.here("rules", "push").code == 0
    (rule,) = [each for each in ours(place) if each["name"] == "down"]
    thresholds = read_file(place.installed.config / "alert-thresholds.yaml").thresholds
    # an alert's labels are the series's and the rule's
    labels = {"alertname": "down", "__name__": "up", **UP, **rule["labels"]}
    ran = place.installed.here("rules", "evaluate", "--at", minute(92), "--json")

    rows = {row["rule"]: row for row in ran.document["thresholds"]}
    of_alert = thresholds["down"].fingerprint(labels["environment"], labels, labels["alertname"])
    assert rows["down"]["fingerprint"] == of_alert
    assert rows["errors"]["fingerprint"] != of_alert


def test_the_server_without_lifecycle_is_named(tmp_path: Path, place: Place) -> None:
    rules_dir = tmp_path / "rules"
    rules_dir.mkdir()
    (rules_dir / "fedvitals-production.yml").write_text("groups: []\n")
    config = yaml.safe_load(place.server.config_path.read_text())
    config["rule_files"] = [str(rules_dir / "*.yml")]
    with PrometheusServer(tmp_path, config=config, version=place.version) as server:
        urls = {"PROMETHEUS_URL": server.url, "PROMETHEUS_RULES_DIR": str(rules_dir)}
        installed = Installation(place.installed.folder, place.installed.variables | urls)
        ran = installed.here("rules", "push")

    assert (ran.code, "--web.enable-lifecycle" in ran.complaint) == (1, True)
    assert (rules_dir / "fedvitals-production.yml").read_text() == "groups: []\n"
