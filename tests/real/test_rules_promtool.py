"""The shipped rules in both promtools: their tests pass, and each mutant of a rule fails one."""

import re
import subprocess
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import yaml

from deployments.services.fl_server.federation import Federation, RoundResult
from deployments.services.fl_server.metrics import ServiceMetrics
from deployments.services.fl_server.settings import FederationSettings
from deployments.services.fl_server.telemetry import Fleet
from tasks.analysis.rules.judge import judge
from tasks.analysis.rules.promql import nodes, parsed
from tasks.analysis.rules.rule_file import rule_file
from tasks.analysis.rules.rule_tests import RuleTest, TestsFile, promtool_tests, rules_by_alert
from tasks.core.batch import build_frame
from tasks.core.catalogue import Catalogue
from tasks.core.documents import parse, read_yaml
from tasks.core.settings import shipped
from tasks.core.severity import Severity
from tasks.core.thresholds import NO_DATA, Threshold, read_thresholds
from tasks.core.window import Cell
from tasks.lake.tables import Lake
from tasks.runs.base.observe import in_lake
from tests.support.process import program
from tests.support.servers import CACHE, VERSIONS, PrometheusVersion

pytestmark = pytest.mark.real

CONFIG = shipped("config")
THRESHOLDS = [each for each in read_thresholds(CONFIG / "alert-thresholds.yaml") if each.expr]
TESTS = parse(TestsFile, read_yaml(CONFIG / "alert-tests.yaml"), "alert-tests.yaml").tests
MINUTE = timedelta(minutes=1)
LABELS = 'environment="production",mode="alert",severity="info"'
FLIPPED = {">": "<", "<": ">", "==": "!="}


def promtool(version: PrometheusVersion) -> str:
    if version == "2":
        return program("promtool", "apt install prometheus")
    return program("promtool3", "make servers", CACHE)


def run(version: PrometheusVersion, tests: list[Path]) -> subprocess.CompletedProcess[str]:
    command = [promtool(version), "test", "rules", *map(str, tests)]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def files(
    folder: Path, name: str, rules: list[Threshold], groups: dict[str, list[Any]]
) -> list[Path]:
    """Write a file of rules, and a file of tests for each distance of evaluations."""
    (folder / f"{name}.yml").write_text(rule_file(rules, "production", MINUTE))
    paths = []
    for every, tests in groups.items():
        content = {"rule_files": [f"{name}.yml"], "evaluation_interval": every, "tests": tests}
        paths.append(folder / f"{name}-{every}.test.yml")
        paths[-1].write_text(yaml.safe_dump(content))
    return paths


def groups_of(rules: list[Threshold], tests: list[RuleTest]) -> dict[str, list[Any]]:
    texts = promtool_tests(rules, tests, "production", "-")
    return {every: yaml.safe_load(text)["tests"] for every, text in texts.items()}


def test_every_shipped_rule_has_a_test_in_which_it_fires() -> None:
    tested = {each.rule for each in TESTS if each.firing}

    assert set(rules_by_alert(THRESHOLDS, "production")) == tested


@pytest.mark.parametrize("version", VERSIONS)
def test_the_shipped_rules_fire_when_the_table_says(
    version: PrometheusVersion, tmp_path: Path
) -> None:
    paths = []
    # a week is evaluated for one rule alone
    for is_long in (False, True):
        tests = [each for each in TESTS if (each.evaluations > MINUTE) == is_long]
        names = {each.rule.removesuffix(NO_DATA) for each in tests}
        rules = [each for each in THRESHOLDS if each.id in names]
        paths += files(tmp_path, f"rules{is_long}", rules, groups_of(THRESHOLDS, tests))

    done = run(version, paths)

    assert (done.returncode, done.stderr) == (0, "")
    assert (done.stdout).count("SUCCESS") == 2


def mutants(one: Threshold) -> Iterator[tuple[str, dict[str, Any]]]:
    """The kinds of a rule's faults that apply to it, each with what it changes."""
    expr, when = one.expr or "", one.when or ""
    if one.value is not None:
        yield "more", {"value": one.value * 1.5 or 1}
        yield "less", {"value": one.value * 0.75 or -1}
        yield "flipped", {"comparison": FLIPPED[one.comparison or ""]}
    if "[" in expr + when:
        twice = {"expr": doubled(expr, "["), "when": doubled(when, "[") or None}
        yield "window", twice
    if "offset" in expr:
        yield "offset", {"expr": doubled(expr, "offset ")}
    if one.tags and " by (" in expr:
        yield "grouped", {"expr": re.sub(rf"\b{one.tags[0]}\b", "other", expr)}
    if "fstype" in expr:
        yield "matcher", {"expr": re.sub(r"\{.*?\}", "", expr)}
    if one.when:
        yield "always", {"when": None}
    if one.keep_firing_for:
        yield "not kept", {"keep_firing_for": timedelta(0)}
    yield "for", {"for_": one.for_ * 2 or MINUTE}
    yield "severity", {"severity": Severity.INFO if one.severity != "info" else Severity.HIGH}


def doubled(text: str, before: str) -> str:
    return re.sub(rf"(?<={re.escape(before)})(\d+)", lambda number: str(2 * int(number[0])), text)


def mutated(one: Threshold, tests: list[RuleTest], folder: Path) -> tuple[list[Path], set[str]]:
    """Its mutants under names of their own, each to be as its tests want the rule to be."""
    rules, merged = [], dict[str, list[Any]]()
    kinds = dict(mutants(one))
    for number, change in enumerate(kinds.values()):
        renamed = {"id": f"{one.id}_{number}"}
        rules.append(one.model_copy(update={**change, **renamed}))
        of_mutant = [each.model_copy(update={"rule": renamed["id"]}) for each in tests]
        for every, groups in groups_of([one.model_copy(update=renamed)], of_mutant).items():
            # one history serves all mutants
            for at, group in enumerate(groups):
                if len(known := merged.setdefault(every, [])) <= at:
                    known.append(group)
                else:
                    known[at]["alert_rule_test"] += group["alert_rule_test"]
    return files(folder, one.id, rules, merged), {f"{one.id}_{n}" for n in range(len(kinds))}


@pytest.mark.promise("Alerts: each mutant of a shipped rule fails one of its tests")
@pytest.mark.parametrize("version", VERSIONS)
def test_each_mutant_of_a_rule_fails_its_tests(version: PrometheusVersion, tmp_path: Path) -> None:
    paths, wanted = [], set[str]()
    for each in THRESHOLDS:
        tests = [test for test in TESTS if test.rule == each.id]
        # a week of evaluations for one of them
        if version == "3" and any(test.evaluations > MINUTE for test in tests):
            continue
        made, names = mutated(each, tests, tmp_path)
        paths += made
        wanted |= names

    done = run(version, paths)

    found = set(re.findall(r"alertname: (\w+), time", done.stderr))
    assert len(wanted) > 5 * len(THRESHOLDS)
    assert {
        f"{n}: {list(dict(mutants(by_name(n))))[int(n.rpartition('_')[2])]}" for n in wanted - found
    } == set()


def by_name(mutant: str) -> Threshold:
    return next(each for each in THRESHOLDS if each.id == mutant.rpartition("_")[0])


USED = {
    node.name
    for each in THRESHOLDS
    for query in filter(None, (each.expr, each.when))
    for node in nodes(parsed(query))
    if getattr(node, "name", None)
}
IDLE, TRAINING, AFTER = 24 * 60, 60, 60


def healthy_history() -> tuple[dict[str, str], list[RoundResult]]:
    """A day of an idle demo, a training with a round a minute, and an idle hour: series, rounds."""
    settings = FederationSettings(round_seconds=60.0)
    federation, metrics = Federation(settings), ServiceMetrics()
    # each fifth client's device
    fleet = Fleet(federation.ids[::5], settings.seed)
    metrics.training.began(federation, federation.evaluate())
    metrics.edge.update(fleet.readings())
    found = {'up{job="fed-server",instance="a:8000"}': [f"1x{IDLE + TRAINING + AFTER - 1}"]}
    rounds: list[RoundResult] = []
    for minute in range(-1, TRAINING + AFTER):
        if 0 <= minute < TRAINING:
            rounds.append(federation.step())
            metrics.training.finished(rounds[-1], settings.epsilon_budget)
        if minute >= 0:
            fleet.step()
            metrics.edge.update(fleet.readings())
            metrics.requests.observe("GET", 200, 0.01)
            metrics.model.predicted(0.001)
        for line in metrics.page().decode().splitlines():
            name, _, value = line.rpartition(" ")
            if line[0] != "#" and name.partition("{")[0] in USED:
                before = [f"_x{IDLE}"] + ["_"] * minute
                value = f"{value}x{IDLE - 1}" if minute < 0 else value
                found.setdefault(name, before if minute >= 0 else []).append(value)
    return {name: " ".join(values) for name, values in found.items()}, rounds


@pytest.fixture(scope="module")
def healthy() -> tuple[dict[str, str], list[RoundResult]]:
    return healthy_history()


@pytest.mark.promise("Alerts: an idle day and a healthy training fire nothing")
@pytest.mark.parametrize("version", VERSIONS)
def test_an_idle_day_and_a_healthy_training_fire_nothing(
    version: PrometheusVersion,
    healthy: tuple[dict[str, str], list[RoundResult]],
    tmp_path: Path,
) -> None:
    rules = [each.model_copy(update={"mode": "alert"}) for each in THRESHOLDS]
    minutes = IDLE + TRAINING + AFTER
    fired = 'count_over_time(ALERTS{alertstate="firing",alertname%s"Watchdog"}[2d])'
    watched = f'{{alertname="Watchdog",alertstate="firing",{LABELS}}}'
    tests = [
        {
            "interval": "1m",
            "input_series": [
                {"series": name, "values": values} for name, values in healthy[0].items()
            ],
            "promql_expr_test": [
                {"expr": fired % "!=", "eval_time": f"{minutes - 1}m", "exp_samples": []},
                # the failing twin: what fires is seen
                {
                    "expr": fired % "=",
                    "eval_time": f"{minutes - 1}m",
                    "exp_samples": [{"labels": watched, "value": minutes}],
                },
            ],
        }
    ]
    assert len(healthy[0]) > 80

    done = run(version, files(tmp_path, "healthy", rules, {"1m": tests}))

    assert (done.returncode, done.stderr) == (0, "")


def test_no_round_of_a_healthy_training_breaks_a_limit_in_the_lake(
    healthy: tuple[dict[str, str], list[RoundResult]], tmp_path: Path
) -> None:
    catalogue, start = Catalogue.read(CONFIG / "metrics.yaml"), datetime(2026, 11, 1, tzinfo=UTC)
    measurement, rounds = catalogue["fl_rounds"], healthy[1]
    frame = build_frame(
        measurement,
        {
            "time": [start + each.round * MINUTE for each in rounds],
            "environment": ["production"] * len(rounds),
            "run_id": ["run"] * len(rounds),
            "round": [each.round for each in rounds],
            "loss": [each.loss for each in rounds],
            "accuracy_ratio": [each.accuracy for each in rounds],
        },
    )
    lake = Lake(str(tmp_path / "lake"))
    day = Cell(start, start + timedelta(days=1))
    lake.land(measurement, frame, [day], "production", {"run_id": "r"})
    shipped_ones = read_thresholds(CONFIG / "alert-thresholds.yaml")

    def state(one: Threshold, **changes: Any) -> str:
        # what fired at any time of the training still does at its end
        kept = one.model_copy(update={"keep_firing_for": timedelta(hours=2), **changes})
        end = start + 60 * MINUTE
        return judge(kept, "p", in_lake(kept, catalogue, lake, "production", end))[0].state

    rules = [each for each in shipped_ones if each.of_field[0] == "fl_rounds"]
    assert [state(each) for each in rules] == ["ok", "ok"]
    # the failing twin: the first rounds would fire
    assert [state(each, when=None) for each in rules] == ["firing", "firing"]
