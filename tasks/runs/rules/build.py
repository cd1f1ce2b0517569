"""Build the rules of an environment with their tests, and check them."""

from collections.abc import Iterable, Iterator
from contextlib import closing
from datetime import datetime, timedelta
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
from tasks.analysis.rules.rule_tests import (
    FILE,
    SLO_TESTS,
    RuleTest,
    TestsFile,
    promtool_tests,
    require_rules,
)
from tasks.analysis.slo.slo_rules import recording_rules, require_own_names, thresholds_of
from tasks.core.documents import parse, read_yaml
from tasks.core.services import Environment
from tasks.core.settings import Settings
from tasks.core.slos import FILE as SLOS
from tasks.core.slos import Slo
from tasks.core.thresholds import FILE as THRESHOLDS
from tasks.core.thresholds import Threshold
from tasks.core.whole_file import replace_file
from tasks.runs.base.slos import slos_in_force
from tasks.runs.base.thresholds import thresholds_in_force
from tasks.sources.prometheus_rules import RulesClient
from tasks.sources.promtool import Promtool


def texts_of(settings: Settings, environment: Environment) -> dict[str, str]:
    """Return the text of the file of rules, and of its tests, by the name of the file."""
    file, name = thresholds_in_force(settings), group_name(environment.name)
    thresholds, slos = tuple(file.thresholds.values()), slos_in_force(settings)
    require_own_names(slos, thresholds)
    alerts = tuple(alerts_of(slos, environment, file.interval))
    tests = _tests(settings.config_file(THRESHOLDS).with_name(FILE), thresholds)
    of_slos = _tests(settings.config_file(SLOS).with_name(SLO_TESTS), alerts)
    # what they expect depends on how often the rules are evaluated
    tests += tuple(each for each in of_slos if each.evaluations == file.interval)
    mine = (each for each in slos if each.applies_in(environment.name))
    recorded = recording_rules(mine, environment.name, file.interval)
    every_rule = (*thresholds, *alerts)
    rules = {f"{name}.yml": rule_file(every_rule, environment.name, file.interval, recorded)}
    made = promtool_tests(every_rule, tests, environment.name, f"{name}.yml")
    return rules | {f"{name}-tests-{every}.yml": text for every, text in made.items()}


def alerts_of(
    slos: Iterable[Slo], environment: Environment, interval: timedelta
) -> Iterator[Threshold]:
    """Yield the alerts of the SLOs; of those of other environments too, as of thresholds."""
    for each in slos:
        yield from thresholds_of(each, environment.name, interval)


def _tests(path: Path, thresholds: tuple[Threshold, ...]) -> tuple[RuleTest, ...]:
    tests = parse(TestsFile, read_yaml(path), str(path)).tests if path.is_file() else ()
    require_rules(tests, thresholds, path.name)
    return tests


def build(settings: Settings, environment: Environment, folder: Path) -> list[Path]:
    """Write rules and tests into a folder; return the files."""
    texts = texts_of(settings, environment)
    folder.mkdir(parents=True, exist_ok=True)
    return [replace_file(folder / name, text.encode()) for name, text in texts.items()]


def check(settings: Settings, environment: Environment, now: datetime) -> Iterator[Problem]:
    """Yield what promtool, the PromQL, and the live Prometheus if there is one show."""
    file = thresholds_in_force(settings)
    mine = [
        each
        for each in file.thresholds.values()
        if each.expr is not None and each.applies_in(environment.name)
    ]
    promtool = Promtool()
    with TemporaryDirectory() as folder:
        rules, *tests = build(settings, environment, Path(folder))
        if refused := promtool.check(rules):
            yield Problem(rules.name, "promtool", refused)
        elif failed := promtool.test(tests):
            yield Problem(rules.name, "promtool", failed)
    for each in (*mine, *alerts_of(slos_in_force(settings), environment, file.interval)):
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
