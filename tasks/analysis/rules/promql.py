"""PromQL of a threshold: its text as a rule, its selectors, the labels that it keeps."""

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import promql_parser as promql

from tasks.core.errors import ConfigurationInvalid
from tasks.core.thresholds import COMPARISONS, Threshold

# functions that need two samples of each series
RATES = frozenset({"rate", "irate", "increase", "delta", "idelta", "deriv"})
ABSENT = frozenset({"absent", "absent_over_time"})
_SETS = frozenset({"and", "or", "unless"})
# aggregations that return series as they are
_PICKING = frozenset({"topk", "bottomk", "limitk", "limit_ratio"})
# functions whose second argument is the label that they set
_RENAMING = frozenset({"label_replace", "label_join"})
# functions without any label
_BARE = frozenset({"vector", "scalar", "time", *ABSENT})


class Kept(NamedTuple):
    """The labels that a query's series can have: these, or all but these."""

    names: frozenset[str]
    is_all_but: bool = False

    def has(self, label: str) -> bool:
        """Return whether a series can have the label."""
        return (label in self.names) != self.is_all_but


def parsed(query: str) -> Any:
    """Parse PromQL; raise ValueError."""
    return promql.parse(query)


def require_promql(thresholds: Iterable[Threshold], path: Path) -> None:
    """Raise ConfigurationInvalid naming each threshold with invalid PromQL."""
    problems = []
    for each in thresholds:
        for query in filter(None, (each.expr, each.expr and each.when)):
            try:
                parsed(query)
            except ValueError as error:
                problems.append(f"{each.id}: {query!r} is not PromQL: {error}")
    if problems:
        raise ConfigurationInvalid(
            where=path, problem="; ".join(problems), fix="Correct the thresholds named here"
        )


def condition(threshold: Threshold) -> str:
    """Return the query of which each series is a breach."""
    text = threshold.expr or ""
    if threshold.comparison is not None:
        value = repr(threshold.value).removesuffix(".0")
        text = f"{_group(text)} {threshold.comparison} {value}"
    return f"{_group(text)} and on () {_group(threshold.when)}" if threshold.when else text


def absence(threshold: Threshold) -> str:
    """Return the query that has a series while there is no value."""
    text = f"absent({_group(threshold.expr or '')})"
    return f"{text} and on () {_group(threshold.when)}" if threshold.when else text


def _group(text: str) -> str:
    # a comment would hide the bracket
    return f"({text}\n)" if "#" in text else f"({text})"


def normal(query: str) -> str:
    """Return one form of all queries that differ in spelling only; the text if it is not PromQL."""
    try:
        return _form(parsed(query))
    except ValueError:
        return query.strip()


def _form(node: Any) -> str:
    return repr(promql.transform(node, post_visit=_inner))


def _inner(node: Any) -> Any:
    return node.expr if isinstance(node, promql.ParenExpr) else None


def _bare(node: Any) -> Any:
    return _bare(node.expr) if isinstance(node, promql.ParenExpr) else node


def nodes(node: Any) -> Iterator[Any]:
    """Yield a query and all its parts, outer ones first."""
    yield node
    for part in _parts(node):
        yield from nodes(part)


def _parts(node: Any) -> list[Any]:
    if isinstance(node, promql.BinaryExpr):
        return [node.lhs, node.rhs]
    if isinstance(node, promql.Call):
        return list(node.args)
    if isinstance(node, promql.MatrixSelector):
        return [node.vector_selector]
    inner = getattr(node, "expr", None)
    return [] if inner is None else [inner]


def operator_of(node: Any) -> str:
    """Return the operator of a binary or aggregating part."""
    return str(node.op).partition(" ")[0]


def compares(node: Any) -> bool:
    """Return whether the query leaves series out, as each alert has to."""
    return any(
        (isinstance(part, promql.Call) and part.func.name in ABSENT)
        or (isinstance(part, promql.BinaryExpr) and _filters(part))
        for part in nodes(node)
    )


def _filters(part: Any) -> bool:
    is_bool = part.modifier is not None and part.modifier.return_bool
    return operator_of(part) == "unless" or (operator_of(part) in COMPARISONS and not is_bool)


def split_comparison(query: str) -> tuple[str, str | None, float | None]:
    """Return the query's left side, comparison and number; the query itself without such an end."""
    node = _bare(parsed(query))
    if not isinstance(node, promql.BinaryExpr) or operator_of(node) not in COMPARISONS:
        return query, None, None
    left, limit = _bare(node.lhs), _bare(node.rhs)
    text = " ".join(left.prettify().split())
    # a string in it may have lost blanks
    is_same = isinstance(limit, promql.NumberLiteral) and normal(text) == _form(left)
    return (
        (text, operator_of(node), limit.val) if is_same and _filters(node) else (query, None, None)
    )


def is_scalar(node: Any) -> bool:
    """Return whether a part is a number without series."""
    node = _bare(node)
    if isinstance(node, promql.Call):
        return node.func.name in ("scalar", "time", "pi")
    if isinstance(node, promql.BinaryExpr):
        return is_scalar(node.lhs) and is_scalar(node.rhs)
    if isinstance(node, promql.UnaryExpr):
        return is_scalar(node.expr)
    return isinstance(node, promql.NumberLiteral)


def kept_labels(node: Any) -> Kept:
    """Return the labels that the query's series can have."""
    if isinstance(node, promql.AggregateExpr):
        return _kept_by(node)
    if isinstance(node, promql.BinaryExpr):
        return _kept_of_two(node)
    if isinstance(node, promql.Call):
        return _kept_by_function(node)
    if isinstance(node, promql.VectorSelector | promql.MatrixSelector):
        return Kept(frozenset({"__name__"}), is_all_but=True)
    inner = _parts(node)
    return kept_labels(inner[0]) if inner else Kept(frozenset())


def _kept_by(node: Any) -> Kept:
    inner = kept_labels(node.expr)
    if operator_of(node) in _PICKING:
        return inner
    if node.modifier is None:
        return Kept(frozenset())
    names = frozenset(node.modifier.labels)
    if node.modifier.type == promql.AggModifierType.By:
        return Kept(frozenset(filter(inner.has, names)))
    return _without(inner, names)


def _kept_by_function(node: Any) -> Kept:
    name = node.func.name
    if name in ABSENT:
        selectors = filter(_is_selector, nodes(node))
        equal = (m.name for one in selectors for m in one.matchers.matchers if _is_equal(m))
        return Kept(frozenset(equal))
    vectors = [one for one in node.args if not isinstance(one, promql.StringLiteral)]
    series = [one for one in vectors if not is_scalar(one)]
    if name in _BARE or not series:
        return Kept(frozenset())
    inner = kept_labels(series[0])
    if name in _RENAMING:
        return _with(inner, frozenset({node.args[1].val}))
    return _without(inner, frozenset({"le"})) if name == "histogram_quantile" else inner


def _kept_of_two(node: Any) -> Kept:
    if is_scalar(node.lhs) or is_scalar(node.rhs):
        return kept_labels(node.rhs if is_scalar(node.lhs) else node.lhs)
    left, right, how = kept_labels(node.lhs), kept_labels(node.rhs), node.modifier
    if operator_of(node) == "or":
        return left if left.is_all_but else _with(right, left.names)
    if operator_of(node) in _SETS or how is None:
        return left
    more = frozenset(how.group_labels or ())
    if how.card == promql.VectorMatchCardinality.ManyToOne:
        return _with(left, more)
    if how.card == promql.VectorMatchCardinality.OneToMany:
        return _with(right, more)
    if how.matching is None:
        return left
    names = frozenset(how.matching.labels)
    if how.matching.type == promql.LabelModifierType.Include:
        return Kept(frozenset(filter(left.has, names)))
    return _without(left, names)


def _with(kept: Kept, names: frozenset[str]) -> Kept:
    return kept._replace(names=kept.names - names if kept.is_all_but else kept.names | names)


def _without(kept: Kept, names: frozenset[str]) -> Kept:
    return kept._replace(names=kept.names | names if kept.is_all_but else kept.names - names)


def _is_equal(matcher: Any) -> bool:
    return bool(matcher.op == promql.MatchOp.Equal and matcher.value)


def needed_labels(node: Any, labels: frozenset[str]) -> Iterator[tuple[Any, frozenset[str]]]:
    """Yield each selector with the labels that its series need for these of the result."""
    if isinstance(node, promql.VectorSelector):
        yield node, labels
    elif isinstance(node, promql.AggregateExpr):
        how = node.modifier
        if how is None:
            labels = labels if operator_of(node) in _PICKING else frozenset()
        elif how.type == promql.AggModifierType.By:
            labels = frozenset(how.labels)
        yield from needed_labels(node.expr, labels)
    elif isinstance(node, promql.BinaryExpr):
        yield from _needed_of_two(node, labels)
    elif isinstance(node, promql.Call) and node.func.name in ABSENT:
        yield from ((one, frozenset()) for one in nodes(node) if _is_selector(one))
    elif isinstance(node, promql.Call) and node.func.name in _RENAMING:
        yield from needed_labels(node.args[0], labels - {node.args[1].val})
    else:
        for part in _parts(node):
            yield from needed_labels(part, labels)


def _needed_of_two(node: Any, labels: frozenset[str]) -> Iterator[tuple[Any, frozenset[str]]]:
    how = node.modifier
    is_on = how and how.matching and how.matching.type == promql.LabelModifierType.Include
    matched = frozenset(how.matching.labels if is_on else ())
    more = frozenset((how and how.group_labels) or ())
    sides = [node.lhs, node.rhs]
    if how and how.card == promql.VectorMatchCardinality.OneToMany:
        sides.reverse()
    yield from needed_labels(sides[0], (labels - more) | matched)
    yield from needed_labels(sides[1], matched | more)


def _is_selector(node: Any) -> bool:
    return isinstance(node, promql.VectorSelector)


def selector_text(node: Any) -> str:
    """Return a selector as of now: without offset and @."""
    text = str(node.prettify())
    end = text.rfind("}")
    return text[: end + 1] if end >= 0 else text.split(" ")[0]
