"""PromQL of a threshold: its text as a rule, its selectors, the labels that it keeps."""

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, NamedTuple, Self

import promql_parser as promql

from tasks.core.errors import ConfigurationInvalid
from tasks.core.thresholds import COMPARISONS, Threshold

# functions that need two samples of each series
RATES = frozenset({"rate", "irate", "increase", "delta", "idelta", "deriv"})
ABSENT = frozenset({"absent", "absent_over_time"})
# aggregations that return series as they are
_PICKING = frozenset({"topk", "bottomk", "limitk", "limit_ratio"})
# functions whose second argument is the label that they set
_RENAMING = frozenset({"label_replace", "label_join"})
Labels = frozenset[str]


class Kept(NamedTuple):
    """The labels that a query's series can have: these, or all but these."""

    names: Labels = frozenset()
    is_all_but: bool = False

    def has(self, label: str) -> bool:
        """Return whether a series can have the label."""
        return (label in self.names) != self.is_all_but

    def only(self, names: Iterable[str]) -> Self:
        """Return those of the names that a series can have."""
        return type(self)(frozenset(filter(self.has, names)))

    def plus(self, names: Iterable[str]) -> Self:
        """Return it with more labels."""
        names = frozenset(names)
        return self._replace(names=self.names - names if self.is_all_but else self.names | names)

    def minus(self, names: Iterable[str]) -> Self:
        """Return it without these labels."""
        names = frozenset(names)
        return self._replace(names=self.names | names if self.is_all_but else self.names - names)


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
        fix = "Correct the thresholds named here"
        raise ConfigurationInvalid(where=path, problem="; ".join(problems), fix=fix)


def condition(threshold: Threshold) -> str:
    """Return the query of which each series is a breach."""
    text = threshold.expr or ""
    if threshold.comparison is not None:
        value = repr(threshold.value).removesuffix(".0")
        text = f"{_group(text)} {threshold.comparison} {value}"
    return _while(text, threshold)


def absence(threshold: Threshold) -> str:
    """Return the query that has a series while there is no value."""
    return _while(f"absent({_group(threshold.expr or '')})", threshold)


def _while(text: str, threshold: Threshold) -> str:
    return f"({text}) and on () {_group(threshold.when)}" if threshold.when else text


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
    return repr(promql.transform(node, post_visit=_without_brackets))


def _without_brackets(node: Any) -> Any:
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
    inner = getattr(node, "expr", None) or getattr(node, "vector_selector", None)
    return [] if inner is None else [inner]


def is_call(node: Any, names: frozenset[str]) -> bool:
    """Return whether a part calls one of these functions."""
    return isinstance(node, promql.Call) and node.func.name in names


def _operator(node: Any) -> str:
    return str(node.op).partition(" ")[0]


def compares(node: Any) -> bool:
    """Return whether the query leaves series out, as each alert has to."""
    return any(is_call(part, ABSENT) or _filters(part) for part in nodes(node))


def _filters(node: Any) -> bool:
    if not isinstance(node, promql.BinaryExpr):
        return False
    is_bool = node.modifier is not None and node.modifier.return_bool
    return _operator(node) in {*COMPARISONS, "unless"} and not is_bool


def split_comparison(query: str) -> tuple[str, str | None, float | None]:
    """Return the query's left side, comparison and number; the query itself without such an end."""
    node = _bare(parsed(query))
    if _filters(node) and isinstance(limit := _bare(node.rhs), promql.NumberLiteral):
        text = " ".join(_bare(node.lhs).prettify().split())
        # a string in it may have lost blanks
        if normal(text) == _form(node.lhs):
            return text, _operator(node), limit.val
    return query, None, None


def kept_labels(node: Any) -> Kept:
    """Return the labels that the query's series can have."""
    if isinstance(node, promql.AggregateExpr):
        return _kept_by(node)
    if isinstance(node, promql.BinaryExpr):
        return _kept_of_two(node)
    if is_call(node, ABSENT):
        matchers = [
            one for part in nodes(node) if _is_selector(part) for one in part.matchers.matchers
        ]
        return Kept(frozenset(one.name for one in matchers if one.op == promql.MatchOp.Equal))
    if isinstance(node, promql.VectorSelector):
        return Kept(frozenset({"__name__"}), is_all_but=True)
    inner = next((kept_labels(part) for part in _parts(node) if _has_series(part)), Kept())
    if is_call(node, _RENAMING):
        return inner.plus({node.args[1].val})
    return inner.minus({"le"}) if is_call(node, frozenset({"histogram_quantile"})) else inner


def _kept_by(node: Any) -> Kept:
    inner, how = kept_labels(node.expr), node.modifier
    if _operator(node) in _PICKING:
        return inner
    if how is None:
        return Kept()
    return inner.only(how.labels) if _is_by(how) else inner.minus(how.labels)


def _kept_of_two(node: Any) -> Kept:
    if not (_has_series(node.lhs) and _has_series(node.rhs)):
        return kept_labels(node.lhs if _has_series(node.lhs) else node.rhs)
    left, right, how = kept_labels(node.lhs), kept_labels(node.rhs), node.modifier
    if _operator(node) == "or":
        return left if left.is_all_but else right.plus(left.names)
    more = (how and how.group_labels) or ()
    if how and how.card == promql.VectorMatchCardinality.OneToMany:
        return right.plus(more)
    is_one_to_one = how and how.card == promql.VectorMatchCardinality.OneToOne
    if is_one_to_one and how.matching:
        names = how.matching.labels
        return left.only(names) if _is_on(how) else left.minus(names)
    return left.plus(more)


def _has_series(node: Any) -> bool:
    is_scalar = is_call(_bare(node), frozenset({"scalar"}))
    return not is_scalar and any(map(_is_selector, nodes(node)))


def _is_selector(node: Any) -> bool:
    return isinstance(node, promql.VectorSelector)


def _is_by(how: Any) -> bool:
    return bool(how and how.type == promql.AggModifierType.By)


def _is_on(how: Any) -> bool:
    return bool(how and how.matching and how.matching.type == promql.LabelModifierType.Include)


def needed_labels(node: Any, labels: Labels) -> Iterator[tuple[Any, Labels]]:
    """Yield each selector with the labels that its series need for these of the result."""
    if _is_selector(node):
        yield node, labels
        return
    how: Any = getattr(node, "modifier", None)
    if isinstance(node, promql.AggregateExpr) and _operator(node) not in _PICKING:
        labels = frozenset(how.labels) if _is_by(how) else labels if how else frozenset()
    elif is_call(node, ABSENT):
        labels = frozenset()
    elif is_call(node, _RENAMING):
        labels -= {node.args[1].val}
    of_parts = [labels] * len(_parts(node))
    if isinstance(node, promql.BinaryExpr):
        on = frozenset(how.matching.labels if _is_on(how) else ())
        more = frozenset((how and how.group_labels) or ())
        # one side gives the labels, and the other is matched with it
        of_parts = [(labels - more) | on, more | on]
        if how and how.card == promql.VectorMatchCardinality.OneToMany:
            of_parts.reverse()
    for part, needed in zip(_parts(node), of_parts, strict=True):
        yield from needed_labels(part, needed)


def selector_text(node: Any) -> str:
    """Return a selector as of now: without offset and @."""
    text = str(node.prettify())
    end = text.rfind("}")
    return text[: end + 1] if end >= 0 else text.split(" ")[0]
