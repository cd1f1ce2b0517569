"""A query that is not PromQL is refused before a server is asked."""

from pathlib import Path

import pytest

from tasks.core.catalogue import Catalogue
from tasks.core.errors import ConfigurationInvalid
from tasks.core.settings import shipped
from tasks.sources.promql import check_queries

PATH = Path("metrics.yaml")
SHIPPED = Catalogue.read(shipped("config") / "metrics.yaml")


def test_the_shipped_queries_are_promql() -> None:
    check_queries(SHIPPED.values(), PATH)


@pytest.mark.parametrize(
    ("query", "problem"),
    [
        ("sum by (", "is not PromQL: unclosed left parenthesis"),
        ("rate(x)", "is not PromQL: expected type matrix in call to function 'rate', got vector"),
        ("a b", "is not PromQL: "),
        ("x[5m]", "returns ranges, not values"),
        ("rate(x[1m])[1h:1m]", "returns ranges, not values"),
    ],
)
def test_another_query_is_named(query: str, problem: str) -> None:
    entry = SHIPPED["availability"]
    wrong = {name: spec.model_copy(update={"query": query}) for name, spec in entry.fields.items()}
    with pytest.raises(ConfigurationInvalid) as refused:
        check_queries([entry.model_copy(update={"fields": wrong})], PATH)

    assert all(f"availability.{name}: {query!r} {problem}" in str(refused.value) for name in wrong)
