"""The catalogue's entries of each source: what goes with it, and what does not."""

from pathlib import Path
from typing import Any

import pytest
import yaml

from tasks.core.catalogue import Catalogue
from tasks.core.errors import ConfigurationInvalid
from tasks.core.measurement import FACT_TYPES, Fact, Measurement

REST: dict[str, Any] = {
    "type": "business",
    "source": "rest",
    "rest": {"endpoint": "/api/clients?all=1", "rows": "$.clients", "tags": {"id": "$.id"}},
    "tags": ["id"],
    "fields": {"n": {"path": "$.n"}, "state": {"path": "$['state']", "type": "string"}},
}
TLS: dict[str, Any] = {
    "type": "security",
    "source": "tls",
    "tags": ["host", "port"],
    "fields": {"days": {"fact": "days_left"}},
}
ROUNDS: dict[str, Any] = {
    "type": "federated",
    "source": "federated",
    "tags": ["run_id"],
    "fields": {"round": {"history": "round", "type": "int"}},
}
PROMETHEUS: dict[str, Any] = {"type": "performance", "fields": {"a": {"query": "up"}}}


def read(folder: Path, entry: dict[str, Any]) -> Measurement:
    path = folder / "metrics.yaml"
    path.write_text(yaml.safe_dump({"measurements": {"x": entry}}), encoding="utf-8")
    return Catalogue.read(path)["x"]


def test_a_rest_measurement_says_where_everything_is(tmp_path: Path) -> None:
    entry = read(tmp_path, REST)
    assert entry.rest is not None
    assert (entry.rest.endpoint, entry.rest.rows) == ("/api/clients?all=1", "$.clients")
    assert entry.rest.tags == {"id": "$.id"}
    assert [spec.origins for spec in entry.fields.values()] == [("path",), ("path",)]


@pytest.mark.parametrize("fact", FACT_TYPES)
def test_a_fact_has_its_type(tmp_path: Path, fact: Fact) -> None:
    spec = {"fact": fact, "type": FACT_TYPES[fact]}
    assert read(tmp_path, {**TLS, "fields": {"f": spec}}).fields["f"].fact == fact
    with pytest.raises(ConfigurationInvalid, match=f"{fact} is of type {FACT_TYPES[fact]}"):
        read(tmp_path, {**TLS, "fields": {"f": {**spec, "type": "int"}}})


def test_where_a_value_is_decides_what_the_data_look_like(tmp_path: Path) -> None:
    digests = {
        read(tmp_path, entry).digest
        for entry in (
            REST,
            {**REST, "rest": {**REST["rest"], "endpoint": "/other"}},
            {**REST, "rest": {**REST["rest"], "tags": {"id": "$.name"}}},
            {**REST, "fields": {**REST["fields"], "n": {"path": "$.m"}}},
        )
    }
    assert len(digests) == 4


@pytest.mark.parametrize(
    ("entry", "problem"),
    [
        ({**PROMETHEUS, "fields": {"a": {}}}, "measurements.x: field a: needs a `query` or a `scrape`, or both"),
        ({**PROMETHEUS, "fields": {"a": {"path": "$.a"}}}, "measurements.x: field a: `path` does not go with `source: prometheus`"),
        ({**PROMETHEUS, "fields": {"a": {"query": "up", "fact": "trusted"}}}, "measurements.x: field a: `fact` does not go with `source: prometheus`"),
        ({**PROMETHEUS, "rest": REST["rest"]}, "measurements.x: `rest` goes with `source: rest`, and only with it"),
        ({**REST, "fields": {"n": {}}}, "measurements.x: field n: needs a `path`"),
        ({**REST, "fields": {"n": {"path": "$.n", "query": "up"}}}, "measurements.x: field n: `query` does not go with `source: rest`"),
        ({**REST, "rest": None}, "measurements.x: `rest` goes with `source: rest`, and only with it"),
        ({**REST, "tags": []}, "measurements.x: `rest.tags` must have a path for each tag, and nothing else"),
        ({**REST, "tags": ["id", "zone"]}, "measurements.x: `rest.tags` must have a path for each tag, and nothing else"),
        ({**REST, "rest": {**REST["rest"], "row": "$"}}, "unknown key measurements.x.rest.row (did you mean rows?)"),
        ({**REST, "rest": {**REST["rest"], "rows": "clients"}}, "measurements.x.rest.rows: 'clients' is not a JSON path such as $.clients.total: expected 'TOKEN_ROOT', found 'TOKEN_NAME'"),
        ({**REST, "rest": {**REST["rest"], "tags": {"id": "$["}}}, "measurements.x.rest.tags.id: '$[' is not a JSON path such as $.clients.total: unexpected end of query"),
        ({**REST, "fields": {"n": {"path": "n"}}}, "measurements.x.fields.n.path: 'n' is not a JSON path such as $.clients.total: expected 'TOKEN_ROOT', found 'TOKEN_NAME'"),
        ({**TLS, "fields": {"d": {}}}, "measurements.x: field d: needs a `fact`"),
        ({**TLS, "fields": {"d": {"fact": "days"}}}, "measurements.x.fields.d.fact: Input should be 'days_left', 'issuer', 'subject', 'host_matches' or 'trusted'"),
        ({**TLS, "fields": {"d": {"fact": "days_left", "scrape": {"metric": "m", "as": "value"}}}}, "measurements.x: field d: `scrape` does not go with `source: tls`"),
        ({**TLS, "tags": ["host", "issuer"]}, "measurements.x: the tags of a certificate can be host and port"),
    ],
)  # fmt: skip
def test_what_does_not_go_together_is_named(
    tmp_path: Path, entry: dict[str, Any], problem: str
) -> None:
    with pytest.raises(ConfigurationInvalid) as caught:
        read(tmp_path, entry)
    assert str(caught.value.problem) == problem


@pytest.mark.parametrize(
    "endpoint", ["api", "", "http://other/api", "@other/api", "/a b", "/a#b", "/a\\b"]
)
def test_an_endpoint_is_on_the_service(tmp_path: Path, endpoint: str) -> None:
    with pytest.raises(ConfigurationInvalid, match="String should match pattern"):
        read(tmp_path, {**REST, "rest": {**REST["rest"], "endpoint": endpoint}})


def test_a_history_is_of_rounds_or_of_their_clients(tmp_path: Path) -> None:
    entry = read(tmp_path, ROUNDS)
    assert (entry.field_of("round"), entry.field_of("loss"), entry.identity) == (
        "round",
        None,
        None,
    )
    clients = {
        **ROUNDS,
        "tags": ["client"],
        "identity": "client",
        "fields": {**ROUNDS["fields"], "run": {"history": "run_id", "type": "string"}},
    }
    assert read(tmp_path, clients).field_of("run_id") == "run"
    assert read(tmp_path, clients).identity == "client"


@pytest.mark.parametrize(
    ("changed", "problem"),
    [
        ({"tags": []}, "the tags of a training's history are run_id (rounds) or client"),
        ({"tags": ["client"]}, "needs a field with `history: run_id` to distinguish rounds"),
        ({"fields": {"l": {"history": "loss"}}}, "needs a field with `history: round`"),
        ({"fields": {"r": {"history": "round"}}}, "field r: round is of type int"),
        ({"fields": {"r": {"history": "examples"}}}, "field r: with the tags run_id there is no examples"),
        ({"fields": {"r": {"path": "$.r"}}}, "field r: `path` does not go with `source: federated`"),
        ({"identity": "client"}, "`identity` must be one of the tags"),
    ],
    ids=str,
)  # fmt: skip
def test_what_is_no_history_is_refused(
    tmp_path: Path, changed: dict[str, Any], problem: str
) -> None:
    with pytest.raises(ConfigurationInvalid) as caught:
        read(tmp_path, {**ROUNDS, **changed})
    assert problem in str(caught.value)
