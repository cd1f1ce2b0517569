"""The rules of the shipped SLOs in both promtools: as the table says, and each mutant fails."""

import re
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import yaml

from tasks.analysis.rules.rule_file import rule_file
from tasks.analysis.rules.rule_tests import RuleTest, TestsFile, promtool_tests
from tasks.analysis.slo.slo_rules import BAD, TOTAL, recording_rules, thresholds_of, tier_query
from tasks.analysis.slo.tiers import Tier, tiers_of
from tasks.core.documents import parse, read_yaml
from tasks.core.settings import shipped
from tasks.core.slos import Slo, read_slos
from tasks.core.thresholds import Threshold
from tests.real.test_rules_promtool import run
from tests.support.servers import VERSIONS, PrometheusVersion

pytestmark = pytest.mark.slow

CONFIG, MINUTE = shipped("config"), timedelta(minutes=1)
SLOS = read_slos(CONFIG / "slos.yaml", ())
ALERTS = [one for each in SLOS for one in thresholds_of(each, "production", MINUTE)]
TESTS = parse(TestsFile, read_yaml(CONFIG / "slo-tests.yaml"), "slo-tests.yaml").tests
AVAILABILITY = SLOS[0]


def write(folder: Path, text: str, groups: list[dict[str, Any]]) -> list[Path]:
    (folder / "rules.yml").write_text(text)
    path = folder / "tests.yml"
    content = {"rule_files": ["rules.yml"], "evaluation_interval": "1m", "tests": groups}
    path.write_text(yaml.safe_dump(content))
    return [path]


def groups_of(alerts: list[Threshold], tests: list[RuleTest]) -> list[dict[str, Any]]:
    (text,) = promtool_tests(alerts, tests, "production", "-").values()
    found: list[dict[str, Any]] = yaml.safe_load(text)["tests"]
    return found


def text_of(alerts: list[Threshold], slos: list[Slo]) -> str:
    return rule_file(alerts, "production", MINUTE, recording_rules(slos, "production", MINUTE))


@pytest.mark.parametrize("version", VERSIONS)
def test_the_shipped_slos_fire_when_the_table_says(
    version: PrometheusVersion, tmp_path: Path
) -> None:
    text = text_of(ALERTS, list(SLOS))

    done = run(version, write(tmp_path, text, groups_of(ALERTS, list(TESTS))))

    assert (done.returncode, done.stderr) == (0, "")
    fired = {each.rule for each in TESTS if each.firing}
    of_availability = {each.id for each in ALERTS if each.labels["slo"] == "availability"}
    assert of_availability <= fired
    assert {f"slo_{each.id}_fast" for each in SLOS} <= fired


# kinds of faults of the alert's query: what is replaced by what, everywhere
ALERT_FAULTS = {
    "factor less": (r"> 0\.144 \*", "> 0.1 *"),
    "factor more": (r"> 0\.144 \*", "> 0.2 *"),
    "long window": (r"\[3599s\]", "[7199s]"),
    "short window": (r"\[299s\]", "[599s]"),
    "comparison": (r">", "<"),
    "no short window": (
        r"and sum_over_time\(slo:bad:increase\{[^}]*\}\[299s\]\) > [^>]*? and ",
        "and ",
    ),
    "no count": (r" and (?!.* and ).*", ""),
    "less than chance": (r"\+ 3$", "+ 1"),
    "more than chance": (r"\+ 3$", "+ 4"),
    "two of three": (r"^(.*) and (.*) and ", r"\1 or \2 and "),
}
# and of what is recorded
RECORD_FAULTS = {
    "no reset": (r" or \(last_over_time\(\S+ offset 15s\) and last_over_time\(\S+ offset 75s\)\)", ""),
    "no first errors": (r" or \(last_over_time\(\S+ offset 15s\) unless .*?, \"counter\"", ', "counter"'),
    "never scraped": (r" and on \(job, instance\) \(up offset 75s == 1\)", ""),
    "no sibling": (r" and on \(job, instance\) \(last_over_time\(\S+ offset 75s\)\)", ""),
    "no time to settle": (r"offset 15s", "offset 75s"),
}  # fmt: skip


def mutants() -> Iterator[tuple[str, str, str]]:
    """Each fault: its kind, and the rule file's text of a mutant named by its number."""
    for number, kind in enumerate([*ALERT_FAULTS, *RECORD_FAULTS, "severity", "label"]):
        slo = AVAILABILITY.model_copy(update={"id": f"m{number}"})
        alert = next(thresholds_of(slo, "production", MINUTE))
        content = yaml.safe_load(text_of([alert], [slo]))
        for rule in content["groups"][0]["rules"]:
            faults = RECORD_FAULTS if "record" in rule else ALERT_FAULTS
            if kind in faults:
                pattern, other = faults[kind]
                rule["expr"] = re.sub(pattern, other, rule["expr"])
            elif rule.get("alert") == alert.id and kind in ("severity", "label"):
                rule["labels"]["slo" if kind == "label" else kind] = "other"
        yield kind, alert.id, yaml.safe_dump(content["groups"][0]["rules"])


@pytest.mark.parametrize("version", VERSIONS)
def test_each_mutant_of_a_tier_fails_its_tests(version: PrometheusVersion, tmp_path: Path) -> None:
    rules, merged, kinds = [], list[dict[str, Any]](), dict[str, str]()
    tests = [each for each in TESTS if each.rule == "slo_availability_fast"]
    tests = [each for each in tests if each.name not in ("idle", "at the objective")]
    for kind, name, text in mutants():
        kinds[name] = kind
        rules += [rule for rule in yaml.safe_load(text) if rule.get("alert") != "Watchdog"]
        slo = AVAILABILITY.model_copy(update={"id": name.split("_")[1]})
        alert = next(thresholds_of(slo, "production", MINUTE))
        groups = groups_of([alert], [each.model_copy(update={"rule": name}) for each in tests])
        for at, group in enumerate(groups):
            # one history serves all mutants
            if len(merged) <= at:
                merged.append(group)
            else:
                merged[at]["alert_rule_test"] += group["alert_rule_test"]
    text = yaml.safe_dump({"groups": [{"name": "g", "interval": "1m", "rules": rules}]})

    done = run(version, write(tmp_path, text, merged))

    failed = set(re.findall(r"alertname: (\w+), time", done.stderr))
    assert {kind for name, kind in kinds.items() if name not in failed} == set()


# of each tier: its limit with one too low and one too high, and bad events of a record after an
# outage that keep the short window just below the limit, and just above
LIMITS = {
    "fast": ("0.144", "0.1", "0.2", 14, 15),
    "slow": ("0.06", "0.04", "0.08", 5, 7),
    "ticket": ("0.01", "0.005", "0.03", 1, 2),
}
# the record at which 100 % of 100 events bring the long window, of 60 records, above limit or chance:
# 864 of 6,000, 360 of 6,000, and 60 + 3 × 7.7 + 3 = 86
BEGINS = {"fast": 129, "slow": 124, "ticket": 121}


def table(tier: str) -> list[tuple[str, str, dict[int, int]]]:
    """Events of each record, and whether the tier fires at some: 60 are its long window, 5 the short."""
    *_, below, above = LIMITS[tier]
    first = BEGINS[tier]
    return [
        # the last bad record, the 140th, leaves the short window after the 144th
        ("100x200", f"0x120 100x19 {below}x60", {first - 1: 0, first: 1, 144: 1, 145: 0, 160: 0}),
        ("100x200", f"0x120 100x19 {above}x60", {144: 1, 145: 1, 160: 1}),
        ("100x200", "0x120 100x19 0x60", {144: 1, 145: 0}),
        # some 4 events: chance explains up to 0.04 + 3 × 0.2 + 3
        ("0x29 1 0x29 1 1 1 0x60", "0x60 1 1 0x60", {61: 0, 62: 0}),
        ("0x60 1 1 1 1 0x60", "0x60 1 1 1 1 0x60", {63: 0, 64: 1, 68: 1, 69: 0}),
        ("100x200", "1x200", {70: 0, 180: 0}),
        ("0x200", "0x200", {70: 0}),
    ]


def faulty(tier: Tier, query: str) -> dict[str, str]:
    """The query, and each mutant of it."""
    limit, less, more, *_ = LIMITS[tier.name]
    long, short = (f"[{length // timedelta(seconds=1) - 1}s]" for length in (tier.long, tier.short))
    doubled = [f"[{length * 2 // timedelta(seconds=1) - 1}s]" for length in (tier.long, tier.short)]
    chance = query.rindex(" and ")
    _, middle, rest = query[:chance].partition(" and ")
    return {
        "none": query,
        "factor less": query.replace(f"> {limit} *", f"> {less} *"),
        "factor more": query.replace(f"> {limit} *", f"> {more} *"),
        "long window": query.replace(long, doubled[0]),
        "short window": query.replace(short, doubled[1]),
        "comparison": query.replace(">", "<"),
        "no short window": query.replace(f"{middle}{rest}", ""),
        "no count": query[:chance],
        "less than chance": query.removesuffix("+ 3") + "+ 1",
        "more than chance": query.removesuffix("+ 3") + "+ 4",
        "two of three": query.replace(" and ", " or ", 1),
    }


@pytest.mark.parametrize("version", VERSIONS)
def test_each_mutant_of_each_tier_fails_its_table(
    version: PrometheusVersion, tmp_path: Path
) -> None:
    groups, known = [], set()
    for tier in tiers_of(AVAILABILITY, MINUTE):
        step = tier.short // 5
        queries = faulty(tier, tier_query(AVAILABILITY, tier, "production"))
        assert len(set(queries.values())) == len(queries)
        known |= {f"{tier.name}: {kind}" for kind in queries}
        labels = '{environment="production",slo="availability"}'
        for total, bad, expected in table(tier.name):
            tests = [
                {
                    "expr": f'label_replace(count({query}) or vector(0), "of", "{tier.name}: {kind}", "", "")',
                    "eval_time": f"{at * (step // timedelta(minutes=1))}m",
                    "exp_samples": [{"labels": f'{{of="{tier.name}: {kind}"}}', "value": value}],
                }
                for kind, query in queries.items()
                for at, value in expected.items()
            ]
            series = {TOTAL: total, BAD: bad}
            groups.append(
                {
                    "interval": f"{step // timedelta(minutes=1)}m",
                    "input_series": [
                        {"series": f"{name}{labels}", "values": text}
                        for name, text in series.items()
                    ],
                    "promql_expr_test": tests,
                }
            )

    done = run(version, write(tmp_path, "groups: []", groups))

    failed = set(re.findall(r'\\?"of\\?", \\?"(\w+: [\w ]+)', done.stderr))
    assert known - failed == {f"{tier}: none" for tier in LIMITS}, done.stderr[:2000]


@pytest.mark.parametrize("version", VERSIONS)
def test_first_errors_count_5_and_old_ones_0(version: PrometheusVersion, tmp_path: Path) -> None:
    # 5 first errors of a target that was scraped; a million of one that was not
    series = {
        'up{job="s",instance="a"}': "1x20",
        'fed_vit_autorl_requests_total{job="s",instance="a",status="200"}': "0+10x20",
        'fed_vit_autorl_requests_total{job="s",instance="a",status="500"}': "_x10 5x10",
        'up{job="s",instance="b"}': "1x4 0x4 1x10",
        'fed_vit_autorl_requests_total{job="s",instance="b",status="200"}': "_x10 7000000x10",
        'fed_vit_autorl_requests_total{job="s",instance="b",status="500"}': "_x10 1000000x10",
    }
    group = {
        "interval": "1m",
        "input_series": [{"series": name, "values": text} for name, text in series.items()],
        "promql_expr_test": [
            {
                "expr": f'sum(sum_over_time({BAD}{{slo="availability"}}[1h]))',
                "eval_time": "20m",
                "exp_samples": [{"labels": "{}", "value": 5}],
            }
        ],
    }

    done = run(version, write(tmp_path, text_of([], list(SLOS)), [group]))

    assert (done.returncode, done.stderr) == (0, "")
