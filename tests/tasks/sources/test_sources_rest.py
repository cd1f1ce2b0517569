"""Samples from a service's REST API."""

import json
import math
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from typing import Any

import pandas as pd
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from pytest_httpserver import HTTPServer

from tasks.core.batch import Batch, check_series, empty_frame
from tasks.core.errors import AnswerInvalid, SeriesExceeded
from tasks.core.measurement import Measurement
from tasks.core.quarantine import SCHEMA
from tasks.core.window import Window, floor
from tasks.sources.rest import RestSource
from tests.support.fakes.api import ENDPOINT, TOKEN, Api
from tests.support.rest_samples import HOUR, around_now, rest_measurement, rows_of

MINUTE = timedelta(minutes=1)


@pytest.fixture
def api(httpserver: HTTPServer) -> Api:
    return Api(httpserver)


def extract(api: Api, entry: Measurement, body: Any = None) -> Batch:
    if body is not None:
        api.body = body if isinstance(body, str) else json.dumps(body)
    source = RestSource(api.service())
    batch = source.extract(entry, "production", around_now())
    source.close()
    return batch


def problem_of(api: Api, entry: Measurement, body: Any) -> str:
    with pytest.raises(AnswerInvalid) as caught:
        extract(api, entry, body)
    assert (caught.value.what, caught.value.url) == (ENDPOINT, api.url)
    return str(caught.value.problem)


def test_a_body_is_one_row_of_the_catalogues_types(api: Api) -> None:
    entry = rest_measurement(
        {
            "ratio": "$.deep.ratio",
            "whole": "$.whole",
            "count": {"path": "$.count", "type": "int"},
            "state": {"path": "$['the state']", "type": "string"},
            "is_on": {"path": "$.flags[1]", "type": "bool"},
        }
    )
    before = datetime.now(UTC)
    batch = extract(
        api,
        entry,
        {
            "deep": {"ratio": 0.1},
            "whole": 3,
            "count": 2**62 + 1,
            "the state": "läuft",
            "flags": [False, True],
        },
    )
    assert rows_of(batch) == [(0.1, 3.0, 2**62 + 1, "läuft", True)]
    assert batch.frame.dtypes.astype(str).to_dict() == {
        "time": "datetime64[us, UTC]",
        "environment": "category",
        "ratio": "float64",
        "whole": "float64",
        "count": "Int64",
        "state": "str",
        "is_on": "boolean",
    }
    slots = {floor(before, MINUTE), floor(datetime.now(UTC), MINUTE)}
    assert set(batch.frame["time"]) <= slots
    assert list(batch.frame["environment"]) == ["production"]
    assert (batch.warnings, batch.dropped, batch.rejected_values) == ((), {}, 0)


def test_the_token_and_the_query_go_along(api: Api) -> None:
    extract(api, rest_measurement({"a": "$.a"}, endpoint=f"{ENDPOINT}?since=3"), {"a": 1})
    (request,) = api.asked
    assert request.headers["Authorization"] == f"Bearer {TOKEN}"
    assert request.headers["Accept"] == "application/json"
    assert request.args["since"] == "3"


def test_an_endpoint_is_asked_once_for_all_measurements(api: Api) -> None:
    api.body = '{"a": 1, "b": 2}'
    entries = [rest_measurement({"a": "$.a"}), rest_measurement({"b": "$.b"})] * 8
    source = RestSource(api.service())
    with ThreadPoolExecutor(8) as pool:
        window = around_now()
        batches = list(pool.map(lambda entry: source.extract(entry, "e", window), entries))
    source.close()
    assert [rows_of(batch) for batch in batches] == [[(1.0,)], [(2.0,)]] * 8
    assert len({batch.frame["time"][0] for batch in batches}) == 1
    assert len(api.asked) == 1


def test_a_failure_is_not_shared(api: Api) -> None:
    entry = rest_measurement({"a": "$.a"})
    source = RestSource(api.service())
    api.body = "[]"
    with pytest.raises(AnswerInvalid):
        source.extract(entry, "e", around_now())
    # a body that fits nobody is no failure of the look itself
    with pytest.raises(AnswerInvalid):
        source.extract(entry, "e", around_now())
    assert len(api.asked) == 1
    again = RestSource(api.service())
    api.body = "nonsense"
    with pytest.raises(AnswerInvalid):
        again.extract(entry, "e", around_now())
    api.body = '{"a": 1}'
    assert rows_of(again.extract(entry, "e", around_now())) == [(1.0,)]
    source.close()
    again.close()


@pytest.mark.parametrize("hours", [-2, 2])
def test_outside_the_window_nobody_is_asked(api: Api, hours: int) -> None:
    now = datetime.now(UTC)
    window = Window(now + hours * HOUR, now + (hours + 1) * HOUR)
    entry = rest_measurement({"a": "$.a"})
    batch = RestSource(api.service()).extract(entry, "e", window)
    pd.testing.assert_frame_equal(batch.frame, empty_frame(entry))
    assert batch.warnings[0].startswith("no sample: it is not [")
    assert api.asked == []


@pytest.mark.promise("Sources: a sample has the time at which its run began, so no slot is missed")
def test_a_run_that_began_in_the_slot_before_has_its_sample(api: Api) -> None:
    api.body = '{"a": 1}'
    slot = floor(datetime.now(UTC), MINUTE) - 5 * MINUTE
    source = RestSource(api.service(), now=slot + timedelta(seconds=59))
    batch = source.extract(rest_measurement({"a": "$.a"}), "e", Window(slot, slot + MINUTE))
    assert batch.frame["time"].tolist() == [slot]
    assert batch.warnings[0].startswith("the sample was taken ")


@pytest.mark.promise("Sources: an endpoint or tag that the service does not offer is a warning")
def test_missing_is_reported_and_null_is_not(api: Api) -> None:
    entry = rest_measurement({"a": "$.a", "b": "$.b", "c": "$.c.d", "e": "$.e.f"})
    batch = extract(api, entry, {"a": 1, "b": None, "e": None})
    assert rows_of(batch) == [(1.0, None, None, None)]
    assert batch.warnings == (
        "c: not offered by this service",
        "e: not offered by this service",
    )
    assert batch.rejected_values == 0


def test_nothing_of_it_is_no_row(api: Api) -> None:
    entry = rest_measurement({"a": "$.a", "b": "$.b"})
    batch = extract(api, entry, {"b": None})
    pd.testing.assert_frame_equal(batch.frame, empty_frame(entry))
    assert batch.warnings == ("a: not offered by this service",)


@pytest.mark.promise(
    "Accounts: every value of a REST answer is landed, quarantined or dropped by rule; a wrong JSON type affects only its value"
)
@pytest.mark.parametrize(
    ("kind", "value", "reason", "number", "text"),
    [
        ("float", '"1.5"', "a string where a number belongs", None, "1.5"),
        ("float", "true", "true or false where a number belongs", None, "true"),
        ("float", "[1, 2]", "a list where a number belongs", None, "[1, 2]"),
        ("float", '{"x": null}', "an object where a number belongs", None, '{"x": null}'),
        ("float", f"1{'0' * 400}", "a number beyond 64 bits", None, f"1{'0' * 400}"),
        ("int", "1.5", "a fraction where a whole number belongs", 1.5, "1.5"),
        ("int", "1e16", "a fraction where a whole number belongs", 1e16, "1e+16"),
        ("int", str(2**63), "a number beyond 64 bits", None, str(2**63)),
        ("int", '"7"', "a string where a whole number belongs", None, "7"),
        ("string", "7", "a number where a string belongs", 7.0, "7"),
        ("string", '"\\ud800"', "a string with half a character", None, "\\ud800"),
        ("bool", "1", "a number where true or false belongs", 1.0, "1"),
        ("bool", '"true"', "a string where true or false belongs", None, "true"),
    ],
)
def test_a_value_of_another_type_goes_to_quarantine(
    api: Api, kind: str, value: str, reason: str, number: float | None, text: str
) -> None:
    entry = rest_measurement({"a": {"path": "$.a", "type": kind}, "b": "$.b"})
    batch = extract(api, entry, f'{{"a": {value}, "b": 2}}')
    assert rows_of(batch) == [(None, 2.0)]
    assert list(batch.rejected) == SCHEMA.names
    (record,) = batch.rejected.astype("object").to_dict("records")
    wanted = {"float": "a number", "int": "a whole number", "string": "a string"}
    slot = record.pop("time")
    assert (slot, record.pop("quarantined_at") > slot) == (batch.frame["time"][0], True)
    found = record.pop("number")
    assert (None if pd.isna(found) else found) == number
    assert record == {
        "environment": "production",
        "tags": "{}",
        "field": "a",
        "text": text,
        "stage": "structural",
        "scope": "value",
        "check_id": "json_type",
        "expectation": "json_type",
        "severity": "critical",
        "limit": wanted.get(kind, "true or false"),
        "reason": reason,
    }


@pytest.mark.parametrize(
    ("kind", "value", "found"),
    [
        ("float", "-0.0", 0.0),
        ("float", "1e308", 1e308),
        ("float", str(2**53 + 1), float(2**53)),
        ("int", "3.0", 3),
        ("int", str(2**63 - 1), 2**63 - 1),
        ("int", str(-(2**63)), -(2**63)),
        ("string", '""', ""),
        ("bool", "false", False),
    ],
)
def test_a_value_that_fits_is_taken_exactly(api: Api, kind: str, value: str, found: Any) -> None:
    entry = rest_measurement({"a": {"path": "$.a", "type": kind}})
    batch = extract(api, entry, f'{{"a": {value}}}')
    assert rows_of(batch) == [(found,)]
    assert batch.rejected_values == 0


def test_what_is_not_finite_is_left_out_and_counted(api: Api) -> None:
    entry = rest_measurement(
        {"a": "$.a", "b": {"path": "$.b", "type": "int"}, "c": "$.c", "d": "$.d", "e": "$.e"}
    )
    batch = extract(api, entry, '{"a": NaN, "b": NaN, "c": -Infinity, "d": 1e999, "e": 1}')
    assert rows_of(batch) == [(None, None, None, None, 1.0)]
    assert batch.dropped == {"nan": 2, "inf": 2}


CLIENTS: list[dict[str, Any]] = [
    {"id": "b", "n": 7, "loss": 0.5},
    {"id": "a", "n": 1.5, "loss": None},
    {"id": None, "n": True, "loss": "high"},
    {"n": 8},
]


def test_a_list_has_a_row_an_item(api: Api) -> None:
    entry = rest_measurement(
        {"loss": "$.loss", "is_known": {"path": "$.id", "type": "string"}},
        tags={"client": "$.id", "size": "$.n"},
        rows="$.data.clients",
    )
    batch = extract(api, entry, {"data": {"clients": CLIENTS}})
    assert rows_of(batch) == [("a", "1.5", None, "a"), ("b", "7", 0.5, "b")]
    assert batch.warnings == (
        "loss: not offered by this service in 1 of 4 rows",
        "is_known: not offered by this service in 1 of 4 rows",
    )
    (record,) = batch.rejected.to_dict("records")
    assert (record["tags"], record["field"], record["text"]) == ('{"size": "true"}', "loss", "high")


def test_repeated_keys_stay_for_the_suite_to_see(api: Api) -> None:
    entry = rest_measurement({"n": "$.n"}, tags={"id": "$.id"}, rows="$")
    batch = extract(api, entry, [{"id": "a", "n": 1}, {"id": "b", "n": 3}, {"id": "a", "n": 2}])
    assert rows_of(batch) == [("a", 1.0), ("a", 2.0), ("b", 3.0)]


def test_an_empty_list_is_no_data_without_a_word(api: Api) -> None:
    entry = rest_measurement({"n": "$.n"}, tags={"id": "$.id"}, rows="$.items")
    batch = extract(api, entry, {"items": []})
    pd.testing.assert_frame_equal(batch.frame, empty_frame(entry))
    assert batch.warnings == ()


def test_a_missing_list_is_reported(api: Api) -> None:
    entry = rest_measurement({"n": "$.n"}, rows="$.items")
    batch = extract(api, entry, {"item": []})
    assert (len(batch.frame), batch.warnings) == (
        0,
        (f"{ENDPOINT} has no $.items: not offered by this service",),
    )


def test_rows_are_counted_by_cell_and_not_by_the_source(api: Api) -> None:
    entry = rest_measurement({"n": "$.n"}, tags={"id": "$.id"}, rows="$", max_series=2)
    items = [{"id": name, "n": 1} for name in "aab"]
    assert len(extract(api, entry, items).frame) == 3
    batch = extract(api, entry, [*items, {"id": "c", "n": 1}])
    with pytest.raises(SeriesExceeded) as caught:
        check_series(batch.frame, entry, batch.window)
    assert (caught.value.series, caught.value.label) == (3, "id")


@pytest.mark.parametrize(
    ("rows", "body", "problem"),
    [
        (None, [], "the body is a list, not an object"),
        (None, None, "the body is null, not an object"),
        (None, "up", "the body is a string, not an object"),
        (None, {"a": []}, "$['a'] is a list, so $.a.b does not exist"),
        (None, {"a": 5}, "$['a'] is a number, so $.a.b does not exist"),
        ("$.rows", {"rows": {}}, "$.rows is an object, not a list"),
        ("$.rows", [], "$ is a list, so $.rows does not exist"),
        ("$", [{"a": {"b": 1}}, 5], "an item of $ is a number, not an object"),
        ("$..r", {"r": [], "s": {"r": []}}, "$..r selects 2 values, not one"),
    ],
)
def test_something_else_where_an_object_belongs(
    api: Api, rows: str | None, body: Any, problem: str
) -> None:
    entry = rest_measurement({"a": "$.a.b"}, rows=rows)
    assert problem_of(api, entry, json.dumps(body)) == problem


@pytest.mark.parametrize(
    ("tag", "kind"),
    [
        ("[1]", "a list"),
        ("{}", "an object"),
        ('"\\ud800"', "a string with half a character"),
    ],
)
def test_what_cannot_be_a_tag(api: Api, tag: str, kind: str) -> None:
    entry = rest_measurement({"n": "$.n"}, tags={"id": "$.id"})
    assert problem_of(api, entry, f'{{"id": {tag}, "n": 1}}') == f"the tag at $.id is {kind}"


scalars = st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.just([1])


@pytest.mark.slow
@pytest.mark.promise(
    "Accounts: every value of a REST answer is landed, quarantined or dropped by rule; a wrong JSON type affects only its value"
)
@settings(
    max_examples=50, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@example(items=[{"c": math.nan, "d": math.nan}])
@given(items=st.lists(st.dictionaries(st.sampled_from("abcd"), scalars), max_size=8))
def test_every_value_is_somewhere(api: Api, items: list[dict[str, Any]]) -> None:
    kinds = {"a": "float", "b": "int", "c": "string", "d": "bool"}
    fields = {name: {"path": f"$.{name}", "type": kind} for name, kind in kinds.items()}
    batch = extract(api, rest_measurement(fields, rows="$"), items)
    sent = sum(value is not None for item in items for value in item.values())
    assert batch.values + batch.dropped_values + batch.rejected_values == sent
