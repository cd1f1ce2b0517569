"""Build the rules of an environment with their tests, and check them."""

from collections.abc import Iterator
from contextlib import closing
from datetime import datetime
from pathlib import Path
from tempfile import TemporaryDirectory

from tasks.analysis.rules.checks import (
    LiveFacts,
    Problem,
    check_live,
    check_offline,
    needed_series,
)
from tasks.analysis.rules.promql import normal
from tasks.analysis.rules.rule_file import group_name, rule_file
from tasks.analysis.rules.rule_tests import FILE, TestsFile, promtool_tests, require_rules
from tasks.core.documents import parse, read_yaml
from tasks.core.services import Environment
from tasks.core.settings import Settings
from tasks.core.thresholds import Threshold
from tasks.core.whole_file import replace_file
from tasks.runs.base.thresholds import thresholds_in_force, thresholds_path
from tasks.sources.prometheus_rules import RulesClient
from tasks.sources.promtool import Promtool


def texts_of(settings: Settings, environment: Environment) -> dict[str, str]:
    """Return the text of the file of rules, and of its tests, by the name of the file."""
    file, name = thresholds_in_force(settings), group_name(environment.name)
    thresholds = tuple(file.thresholds.values())
    path = thresholds_path(settings).with_name(FILE)
    tests = parse(TestsFile, read_yaml(path), str(path)).tests if path.is_file() else ()
    require_rules(tests, thresholds)
    rules = {f"{name}.yml": rule_file(thresholds, environment.name, file.interval)}
    made = promtool_tests(thresholds, tests, environment.name, f"{name}.yml")
    return rules | {f"{name}-tests-{every}.yml": text for every, text in made.items()}


def build(settings: Settings, environment: Environment, folder: Path) -> list[Path]:
    """Write rules and tests into a folder; return the files."""
    texts = texts_of(settings, environment)
    folder.mkdir(parents=True, exist_ok=True)
    return [replace_file(folder / name, text.encode()) for name, text in texts.items()]


def check(settings: Settings, environment: Environment, now: datetime) -> Iterator[Problem]:
    """Yield what promtool, the PromQL, and the live Prometheus if there is one show."""
    mine = [
        each
        for each in thresholds_in_force(settings).thresholds.values()
        if each.expr is not None and each.applies_in(environment.name)
    ]
    promtool = Promtool()
    with TemporaryDirectory() as folder:
        rules, *tests = build(settings, environment, Path(folder))
        if refused := promtool.check(rules):
            yield Problem(rules.name, "promtool", refused)
        elif failed := promtool.test(tests):
            yield Problem(rules.name, "promtool", failed)
    for each in mine:
        yield from check_offline(each)
    if service := environment.services.get("prometheus"):
        with closing(RulesClient(service)) as client:
            live = _live_facts(client, mine, group_name(environment.name), now)
        for each in mine:
            yield from check_live(each, live)


def _live_facts(
    client: RulesClient, thresholds: list[Threshold], ours: str, now: datetime
) -> LiveFacts:
    series = {}
    for selector, labels in needed_series(thresholds).items():
        query = f"count by ({', '.join(sorted({'job', *labels}))}) ({selector})"
        series[selector] = [dict(key) for key in client.now(query, now, f"series of {selector}")]
    rules = [rule for group in client.groups() if group.name != ours for rule in group.rules]
    return LiveFacts(
        retention=client.retention(),
        scrapes=client.scrape_intervals(),
        series=series,
        recorded={rule.name: rule.query for rule in rules if rule.type == "recording"},
        alerts={normal(rule.query): rule.name for rule in rules if rule.type == "alerting"},
    )
