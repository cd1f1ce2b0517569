"""`fedvitals rules` as a person uses it, without a server."""

import shutil
from pathlib import Path
from typing import Any

import pytest
import yaml

from tasks.core.settings import shipped
from tasks.core.thresholds import read_file
from tests.support.installation import Installation, entry

RULES = """\
groups:
- name: team
  interval: 30s
  rules:
  - record: job:errors
    expr: sum by (job) (errors_total)
  - alert: HighErrors
    expr: sum by (job) (rate(errors_total[5m])) > 5
    for: 10m
    keep_firing_for: 5m
    labels: {severity: page, team: fl}
    annotations:
      summary: errors of {{ $labels.job }}
      description: now {{ $value }}
      runbook_url: https://wiki.example.com/errors
      more: see the log
  - alert: HighErrors
    expr: sum by (job) (rate(errors_total[5m])) > 50
    for: 0s
    labels: {severity: critical}
  - alert: Down Target
    expr: up == 0 and on (job) vector(1)
  - alert: Broken
    expr: sum(
  - alert: Watchdog
    expr: vector(1)
"""


@pytest.fixture
def installed(tmp_path: Path) -> Installation:
    made = Installation(tmp_path).configure({"http_requests": entry("share_ratio")})
    for name in ("alert-thresholds.yaml", "alert-tests.yaml", "metrics.yaml"):
        shutil.copy(shipped("config") / name, made.config / name)
    return made


def test_adopting_a_rule_changes_its_mode_and_nothing_else(installed: Installation) -> None:
    path = installed.config / "alert-thresholds.yaml"
    before = path.read_text()

    ran = installed.here("rules", "adopt", "active_clients", "--json")

    assert (ran.code, ran.document["adopted"]) == (0, "active_clients")
    lines = zip(before.splitlines(), path.read_text().splitlines(), strict=True)
    assert [pair for pair in lines if pair[0] != pair[1]] == [
        ("    mode: observe", "    mode: alert")
    ]
    assert read_file(path).thresholds["active_clients"].mode == "alert"
    again = installed.here("rules", "adopt", "active_clients")
    assert (again.code, "in mode alert already" in again.complaint) == (2, True)


def test_adopting_a_rule_refuses_what_it_cannot_do(installed: Installation) -> None:
    path = installed.config / "alert-thresholds.yaml"
    unknown = installed.here("rules", "adopt", "active_client")
    assert (unknown.code, "did you mean active_clients?" in unknown.complaint) == (2, True)

    content = yaml.safe_load(path.read_text())
    odd = {"one": {**content["thresholds"]["battery"], "summary": "mode: observe"}}
    path.write_text(yaml.safe_dump({"thresholds": odd}, sort_keys=True, indent=4))
    text = path.read_bytes()
    ran = installed.here("rules", "adopt", "one")
    assert (ran.code, path.read_bytes()) == (2, text)
    assert "`mode` of one is written in a way" in ran.complaint


def test_rules_of_a_team_are_imported(installed: Installation) -> None:
    theirs, ours = installed.folder / "team.yml", installed.folder / "ours.yaml"
    theirs.write_text(RULES)

    ran = installed.here("rules", "import", str(theirs), "--output", str(ours), "--json")

    assert ran.code == 0
    found = yaml.safe_load(ours.read_text())["thresholds"]
    assert found["HighErrors"] == {
        "expr": "sum by (job) (rate(errors_total[5m]))",
        "comparison": ">",
        "value": 5.0,
        "for": "10m",
        "keep_firing_for": "5m",
        "severity": "critical",
        "mode": "observe",
        "tags": ["job"],
        "runbook": "https://wiki.example.com/errors",
        "summary": "errors of {{ $labels.job }}",
        "labels": {"team": "fl"},
        "annotations": {"more": "see the log"},
    }
    assert (found["HighErrors_2"]["value"], "for" in found["HighErrors_2"]) == (50.0, False)
    assert found["Down_Target"]["expr"] == "up == 0 and on (job) vector(1)"
    assert ran.document["thresholds"] == ["Down_Target", "HighErrors", "HighErrors_2"]
    left_out = "\n".join(ran.document["left_out"])
    for part in (
        "interval 30s",
        "job:errors",
        "severity page",
        "$value",
        "Broken: not PromQL",
        "Watchdog",
    ):
        assert part in left_out
    assert len(ran.document["left_out"]) == 7
    # nothing is overwritten
    again = installed.here("rules", "import", str(theirs), "--output", str(ours))
    assert (again.code, "is not overwritten" in again.complaint) == (2, True)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("groups: 5", "not a file of Prometheus's rules"),
        ("groups: [{name: a, rules: [{expr: up}]}]", "not a file of Prometheus's rules"),
        ("groups: []", "it has no alerting rule"),
        ("{", "cannot be read"),
    ],
)
def test_a_file_that_holds_no_rules_is_refused(
    installed: Installation, text: str, words: str
) -> None:
    theirs = installed.folder / "team.yml"
    theirs.write_text(text)

    ran = installed.here("rules", "import", str(theirs), "--output", "none.yaml")

    assert (ran.code, words in ran.complaint) == (2, True)
    assert not Path("none.yaml").exists()


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"sevrity": "high"}, "unknown key thresholds.battery.sevrity"),
        ({"expr": "sum("}, "battery: 'sum(' is not PromQL"),
        ({"environment": "mars"}, "battery: there is no environment 'mars'"),
        (
            {"for": "1s", "expr": None, "field": "edge_devices.battery_ratio"},
            "shorter than the step",
        ),
    ],
)
@pytest.mark.parametrize("command", ["evaluate", "build", "check"])
def test_a_wrong_threshold_is_one_error(
    installed: Installation, command: str, change: dict[str, Any], words: str
) -> None:
    with installed.changed("alert-thresholds.yaml") as content:
        one = {**content["thresholds"]["battery"], **change}
        content["thresholds"]["battery"] = {k: v for k, v in one.items() if v is not None}

    ran = installed.here("rules", command)

    assert (ran.code, words in ran.complaint) == (2, True)


def test_rules_are_built_with_their_tests(installed: Installation) -> None:
    folder = installed.folder / "out"
    ran = installed.here("rules", "build", "--output", str(folder), "--json")

    assert ran.code == 0
    names = [Path(path).name for path in ran.document["written"]]
    assert names == [
        "fedvitals-production.yml",
        "fedvitals-production-tests-1m.yml",
        "fedvitals-production-tests-10m.yml",
    ]
    rules = yaml.safe_load((folder / names[0]).read_text())["groups"][0]["rules"]
    recorded = {(rule["record"], rule["labels"]["slo"]) for rule in rules if "record" in rule}
    assert {("slo:total:increase", "latency"), ("slo:bad:increase", "latency")} <= recorded
    alerts = [rule["alert"] for rule in rules if "alert" in rule]
    assert alerts[0] == "Watchdog"
    assert {"slo_availability_fast", "slo_availability_no_data"} <= {*alerts}
    assert "slo_availability_fast: " in (folder / names[1]).read_text()
    assert {rule["labels"]["environment"] for rule in rules} == {"production"}
    assert "$value" not in (folder / names[0]).read_text()
    with installed.changed("alert-tests.yaml") as content:
        content["tests"][0]["rule"] = "Watchdgo"
    ran = installed.here("rules", "build", "--output", str(folder))
    assert (ran.code, "there is no rule Watchdgo" in ran.complaint) == (2, True)


def test_without_promtool_a_check_says_how_to_get_it(installed: Installation) -> None:
    installed.variables |= {"PATH": "", "PROMTOOL": ""}
    assert "promtool is not on PATH" in installed.here("rules", "check").complaint
    installed.variables |= {"PROMTOOL": "promtool9"}
    complaint = installed.here("rules", "check").complaint
    assert "promtool9 is not found" in complaint
    assert "apt install prometheus" in complaint


def test_without_a_prometheus_nothing_is_judged_or_pushed(installed: Installation) -> None:
    ran = installed.here("rules", "evaluate", "--json")
    states = {row["rule"]: row for row in ran.document["thresholds"]}
    assert ran.code == 1
    assert (states["target_down"]["state"], states["host_cpu"]["state"]) == ("failed", "no_data")
    assert "set PROMETHEUS_URL" in states["target_down"]["problem"]

    assert "PROMETHEUS_URL: no Prometheus" in installed.here("rules", "push").complaint
    installed.variables["PROMETHEUS_URL"] = "http://127.0.0.1:9"
    complaint = installed.here("rules", "push").complaint
    assert complaint.startswith("PROMETHEUS_RULES_DIR: it is not set")
    assert "copy fedvitals-production.yml there" in complaint
    ran = installed.here("rules", "evaluate", "--json")
    assert {row["state"] for row in ran.document["thresholds"]} == {"failed", "no_data"}


def test_the_shipped_thresholds_serve_another_catalogue(installed: Installation) -> None:
    (installed.config / "alert-thresholds.yaml").unlink()
    installed.configure({"http_requests": entry("share_ratio")})

    ran = installed.here("rules", "evaluate", "--json")

    rules = {row["rule"] for row in ran.document["thresholds"]}
    assert "target_down" in rules
    assert "host_cpu" not in rules
    # and are not changed
    adopted = installed.here("rules", "adopt", "battery")
    assert (adopted.code, "these are the shipped thresholds" in adopted.complaint) == (2, True)
