"""PromQL of thresholds: comparisons, labels, selectors, equal queries."""

from pathlib import Path

import pytest

from tasks.analysis.rules.promql import (
    compares,
    condition,
    kept_labels,
    needed_labels,
    normal,
    parsed,
    require_promql,
    selector_text,
    split_comparison,
)
from tasks.core.errors import ConfigurationInvalid
from tasks.core.severity import Severity
from tasks.core.thresholds import Threshold


def threshold(**more: object) -> Threshold:
    common = {"id": "one", "severity": Severity.HIGH, "summary": "s"}
    return Threshold.model_validate(common | more)


@pytest.mark.parametrize(
    ("more", "query"),
    [
        ({"expr": "up == 0"}, "up == 0"),
        ({"expr": "up", "comparison": "==", "value": 0}, "(up) == 0"),
        (
            {"expr": "a + b", "comparison": ">", "value": 0.5, "when": "c"},
            "((a + b) > 0.5) and on () (c)",
        ),
        ({"expr": "a # b", "comparison": ">", "value": -1}, "(a # b\n) > -1"),
        ({"expr": "a > 1 or b > 1", "when": "c > 0"}, "(a > 1 or b > 1) and on () (c > 0)"),
    ],
)
def test_the_query_of_a_rule(more: dict[str, object], query: str) -> None:
    assert condition(threshold(**more)) == query
    parsed(query)


@pytest.mark.parametrize(
    ("query", "filters"),
    [
        ("up == 0", True),
        ("sum(rate(a[5m]))", False),
        ("a > bool 1", False),
        ("absent(up)", True),
        ("a unless b", True),
        ("count(up == 0)", True),
        ("a and b", False),
    ],
)
def test_whether_a_query_compares(query: str, filters: bool) -> None:
    assert compares(parsed(query)) is filters


@pytest.mark.parametrize(
    ("query", "kept", "dropped"),
    [
        ("up", "job instance", ""),
        ("sum by (job) (up)", "job", "instance"),
        ("sum(up)", "", "job"),
        ("sum without (job) (up)", "instance", "job"),
        ("topk(3, up)", "job", ""),
        ("topk by (x) (3, sum by (job) (up))", "job", "x"),
        ("histogram_quantile(0.9, sum by (job, le) (rate(b_bucket[5m])))", "job", "le instance"),
        ("a / on (job) b", "job", "instance"),
        ("a / ignoring (job) b", "instance", "job"),
        ("sum by (x) (a) * on (x) group_left (z) b", "x z", "y"),
        ("a * on (x) group_right (z) sum by (x, y) (b)", "x y z", "w"),
        ("1 - sum by (job) (up)", "job", "instance"),
        ("sum(a) > 1 and on () b", "", "job"),
        ("sum by (x) (a) or sum by (y) (b)", "x y", "z"),
        ("label_replace(sum(up), 'x', '$1', 'y', '(.*)')", "x", "y"),
        ("absent(up{job='a', x=~'b'})", "job", "x"),
        ("vector(1)", "", "job"),
        ("max_over_time(sum by (job) (up)[1h:1m])", "job", "instance"),
        ("-(up)", "job", ""),
    ],
)
def test_the_labels_that_a_query_keeps(query: str, kept: str, dropped: str) -> None:
    labels = kept_labels(parsed(query))

    assert [name for name in kept.split() if not labels.has(name)] == []
    assert [name for name in dropped.split() if labels.has(name)] == []


@pytest.mark.parametrize(
    ("query", "needed"),
    [
        ("up", {"up": "tag"}),
        ("sum by (job) (up{x='1'})", {'up{x="1"}': "job"}),
        ("sum(a offset 1d)", {"a": ""}),
        ("a / on (x) group_left (tag) b", {"a": "x", "b": "x tag"}),
        ("a and on (x) b", {"a": "tag x", "b": "x"}),
        ("absent(up{job='a'})", {'up{job="a"}': ""}),
        ("label_replace(a, 'tag', '$1', 'y', '(.*)')", {"a": ""}),
    ],
)
def test_the_labels_that_series_need(query: str, needed: dict[str, str]) -> None:
    found = {
        selector_text(n): set(ls) for n, ls in needed_labels(parsed(query), frozenset({"tag"}))
    }

    assert found == {selector: set(labels.split()) for selector, labels in needed.items()}


@pytest.mark.parametrize(
    ("one", "other", "is_same"),
    [
        ("(up) == 0", "up==0.0", True),
        ("sum by (x) (rate(a[5m]))", "sum(rate(a[300s])) by (x)", True),
        ("(a + b) * c", "a + b * c", False),
        ("a > 1", "a > 2", False),
        ("rate(a[5m])", "rate(a[5m] offset 1h)", False),
        ("a and on () b", "a and b", False),
    ],
)
def test_equal_queries_have_one_form(one: str, other: str, is_same: bool) -> None:
    assert (normal(one) == normal(other)) is is_same


@pytest.mark.parametrize(
    ("query", "parts"),
    [
        ("sum(rate(a[5m])) > 5", ("sum(rate(a[5m]))", ">", 5.0)),
        ("(up) == 0", ("up", "==", 0.0)),
        ("a < -1", ("a", "<", -1.0)),
        ("a > b", ("a > b", None, None)),
        ("a > bool 1", ("a > bool 1", None, None)),
        ("a > 1 and b > 1", ("a > 1 and b > 1", None, None)),
        ('a{x="1  2"} > 1', ('a{x="1  2"} > 1', None, None)),
    ],
)
def test_a_comparison_at_the_end_is_split_off(
    query: str, parts: tuple[str, str | None, float | None]
) -> None:
    assert split_comparison(query) == parts


def test_invalid_promql_is_refused_by_the_threshold() -> None:
    bad = [threshold(expr="sum(", id="a"), threshold(expr="up == 0", when="rate(up)", id="b")]
    require_promql([threshold(expr="up == 0")], Path("f"))

    with pytest.raises(ConfigurationInvalid) as caught:
        require_promql(bad, Path("f"))

    assert "a: 'sum(' is not PromQL" in str(caught.value)
    assert "b: 'rate(up)' is not PromQL" in str(caught.value)
