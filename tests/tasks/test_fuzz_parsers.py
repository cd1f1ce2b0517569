"""Every parser of what comes from outside: whatever it is given, it knows only our errors."""

import json
import unicodedata
from collections.abc import Callable
from contextlib import suppress
from datetime import timedelta
from pathlib import Path
from typing import Any
from unittest import mock

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from tasks.core.errors import FedvitalsError
from tasks.core.outside import read_json, shortened, shown
from tasks.core.retry import seconds_asked
from tasks.http import Answer
from tasks.sinks import influxdb_http, influxdb_read
from tasks.sources import answers, discovery, federated, rest
from tasks.sources.files import read_file
from tasks.sources.http import Request
from tasks.sources.json_body import json_of
from tasks.sources.run_files.table import moment
from tasks.sources.scrape import Page, ScrapeSource
from tests.support.fakes.hostile_calls import (
    ALWAYS,
    CATALOGUE,
    LAST_MINUTES,
    NOW,
    influxdb,
    service,
)

FUZZ = settings(
    max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
HUGE = int("9" * 4000)
DATES = [
    "0001-01-01T00:00:00+14:00", "9999-12-31T23:59:59-14:00", "9999-12-31", "0001-01-01", "",
    "2026-01-01T00:00:00", "20260101", "\ud800", "99999-01-01", "9" * 5000,
]  # fmt: skip
leaves = (
    st.none() | st.booleans() | st.integers() | st.just(HUGE) | st.just(-HUGE)
    | st.floats() | st.text(max_size=8) | st.sampled_from([*DATES, "\ud800", "\x1b[2J", "1e999"])
)  # fmt: skip


def documents(*keys: str) -> st.SearchStrategy[Any]:
    """JSON of these keys and some others, nested a little."""
    names = st.sampled_from(keys) | st.text(max_size=4)
    return st.recursive(
        leaves, lambda inner: st.lists(inner, max_size=5) | st.dictionaries(names, inner), max_leaves=12
    )  # fmt: skip


def answer_of(content: Any, status: int = 200) -> Answer:
    return Answer(status, json.dumps(content).encode(), {"Content-Type": "application/json"})


def is_clean(text: str) -> bool:
    """Return whether a terminal shows the text as it is: no controls, and no half characters."""
    turns = set("\u061c\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")
    return not any(c in turns or unicodedata.category(c) in ("Cc", "Cs", "Zl") for c in text)


def survives(parse: Callable[[], object]) -> None:
    """Fail for any error that is not ours; ours is one clean line."""
    try:
        parse()
    except FedvitalsError as error:
        message = str(error)
    else:
        message = ""
    assert is_clean(message)
    assert len(message) < 2000


REQUEST = Request(service="a service", url="http://h", what="it")


@FUZZ
@given(body=st.binary(max_size=60) | st.text(max_size=60).map(str.encode))
@example(body=b"[" * 100_000)
@example(body=b'{"a":' * 100_000)
@example(body=b"9" * 5000)
@example(body=b'{"rounds":"\\ud800"}')
def test_json(body: bytes) -> None:
    with suppress(ValueError):
        read_json(body)
    survives(lambda: json_of(Answer(200, body), REQUEST))
    survives(lambda: answers.read_matrix(body, REQUEST))
    survives(lambda: answers.read_build(body, REQUEST))
    answers.read_refusal(body)
    answer = influxdb_http.Answer(400, body, {})
    assert isinstance((answer.short, answer.dropped, answer.names_lines), tuple)
    with suppress(ValueError):
        influxdb_http.found(answer)


@FUZZ
@given(header=st.text(max_size=40) | st.sampled_from(DATES))
@example(header="Mon, 01 Jan 99999999999999 00:00:00 GMT")
@example(header="Fri, 31 Dec 9999 23:59:59 -2359")
@example(header="Mon, 01 Jan 0001 00:00:00 +2359")
@example(header="Mon, 01 Jan 2026 00:00:00 +999999999999")
@example(header="9" * 5000)
@example(header="\u0661")
def test_retry_after(header: str) -> None:
    seconds = seconds_asked(header)
    assert seconds is None or seconds >= 0.0


@FUZZ
@given(message=st.text(max_size=30) | st.just("partial write: dropped=" + "9" * 5000))
def test_what_influxdb_says_of_a_write(message: str) -> None:
    answer = influxdb_http.Answer(422, json.dumps({"message": f"partial write:{message}"}).encode())
    assert answer.dropped is None or answer.dropped >= 0
    assert isinstance(answer.conflicting_field, str | None)


VALUES = ["1", "9" * 5000, "nan", "", "x", "-1", "1e999", '"', "\x00"]
ROWS = st.lists(
    st.tuples(st.sampled_from(["2026-01-01T00:00:00Z", *DATES]), st.sampled_from(VALUES)), max_size=4
)  # fmt: skip


@FUZZ
@given(
    rows=ROWS,
    kind=st.sampled_from(["double", "long", "boolean", "string", "unsignedLong", "x"]),
    noise=st.text(max_size=20),
)
def test_what_influxdb_holds(rows: list[tuple[str, str]], kind: str, noise: str) -> None:
    head = f"#datatype,string,long,dateTime:RFC3339,{kind},string\r\n,result,table,_time,_value,_field\r\n"
    lines = "".join(f",,0,{time},{value},f\r\n" for time, value in rows)
    body = (head + lines + noise).encode("utf-8", "replace")
    reader = influxdb_read.InfluxReader(influxdb("http://h"), mock.Mock(timeout=timedelta(1)), 0.0)
    entry, hour = CATALOGUE["fl_rounds"], timedelta(hours=1)
    asked = [
        lambda: reader.counts(entry, "production", LAST_MINUTES, hour),
        lambda: reader.sums(entry, "production", LAST_MINUTES, hour),
        lambda: reader.points(entry, "production", LAST_MINUTES),
        lambda: reader.last(entry, "production", "loss", LAST_MINUTES),
        reader.retention,
    ]
    with mock.patch.object(
        influxdb_http.InfluxHttp, "ask", return_value=influxdb_http.Answer(200, body)
    ):
        for ask in asked:
            survives(ask)


@FUZZ
@given(content=documents("rounds", "round", "run_id", "started", "clients", "loss", "accuracy"))
@example(content={"run_id": "\ud800", "rounds": []})
@example(content={"rounds": [{"round": HUGE, "started": DATES[0], "clients": [{"id": HUGE}]}]})
@example(content={"rounds": [{"round": 1, "started": "2026-01-01", "loss": HUGE}]})
def test_a_history(content: Any) -> None:
    with mock.patch(
        "tasks.sources.federated.fetch_json", return_value=read_json(json.dumps(content))
    ):
        for name in ("fl_rounds", "fl_round_clients"):
            source = federated.FederatedSource(service("http://h"), lambda *_: None)
            survives(lambda s=source, n=name: s.extract(CATALOGUE[n], "production", ALWAYS))  # type: ignore[misc]


RESTS = [entry for entry in CATALOGUE.values() if entry.rest is not None]


@FUZZ
@given(content=documents(*{name for entry in RESTS for name in entry.fields}, "clients", "status"))
def test_a_rest_answer(content: Any) -> None:
    with mock.patch("tasks.sources.rest.fetch_json", return_value=read_json(json.dumps(content))):
        for entry in RESTS:
            source = rest.RestSource(service("http://h"), now=NOW)
            survives(lambda s=source, e=entry: s.extract(e, "production", ALWAYS))  # type: ignore[misc]


@FUZZ
@given(result=documents("metric", "value", "values", "histogram"))
@example(result=[{"metric": {"a": "b"}, "value": [1, "x"]}])
@example(result=[{"metric": 1}])
@example(result=[{"metric": "\ud800"}])
@example(result=[{"metric": {"__name__": "x"}, "value": [1, HUGE]}, 7])
def test_an_instant_query(result: Any) -> None:
    entry = next(one for one in CATALOGUE.values() if one.source == "prometheus")
    with mock.patch.object(
        discovery.Client,
        "ask",
        return_value=answer_of({"status": "success", "data": {"result": result}}),
    ):
        survives(lambda: discovery.probe(service("http://h"), entry, NOW))


@FUZZ
@given(text=st.text(st.sampled_from('ab_{}="\\,# \n1.eE+-\x1b0'), max_size=60))
@example(text="a{" + 'b="",' * 100_000 + "} 1\n")
@example(text="# TYPE a histogram\n# HELP\na_bucket{le=} 1\n")
@example(text="a 1 " + "9" * 5000 + "\n")
def test_a_metrics_page(text: str) -> None:
    page = Page("http://h", NOW, text)
    survives(lambda: page.samples)
    entry = next(one for one in CATALOGUE.values() if any(f.scrape for f in one.fields.values()))
    survives(lambda: ScrapeSource(page, None).extract(entry, "production", ALWAYS))


@FUZZ
@given(content=documents("round", "loss", "accuracy", "history", "losses_distributed", "metrics"))
@example(content=[{"round": HUGE, "loss": HUGE, "started": DATES[0]}])
@example(content={"losses_distributed": [[HUGE, 1], [1, HUGE]]})
@example(content={"s": {"m": {"accuracy": HUGE}}})
@example(content=[{"round": 1, "loss": 1, "time": "9999-12-31T23:59:59-14:00"}])
def test_a_file_of_json(tmp_path: Path, content: Any) -> None:
    path = tmp_path / "run.json"
    path.write_text(json.dumps(content), "utf-8", "surrogatepass")
    survives(lambda: read_file(path))


@FUZZ
@given(text=st.text(st.sampled_from('round,loss;\t|"\n\r1.5-#\x0b\u2028'), max_size=80))
@example(text='round,loss\n1,"0.5\n2,3')
@example(text="round,loss\n" + "9" * 5000 + "," + "9" * 5000)
@example(text="round,loss,time\n1,2,9999-12-31T23:59:59-14:00\n")
@example(text="round,loss\n1," + '"' * 200_001)
def test_a_file_of_csv(tmp_path: Path, text: str) -> None:
    path = tmp_path / "run.csv"
    path.write_text(text, "utf-8", newline="")
    survives(lambda: read_file(path))


@FUZZ
@given(data=st.binary(max_size=80))
def test_an_event_file(tmp_path: Path, data: bytes) -> None:
    pytest.importorskip("tensorboard", reason="pip install 'fedvitals[tensorboard]'")
    path = tmp_path / "x.tfevents.1"
    path.write_bytes(data)
    survives(lambda: read_file(path))


@pytest.mark.parametrize("cell", [*DATES, HUGE, float("nan"), None, [], 1e300])
def test_a_moment(cell: Any) -> None:
    found = moment(cell)
    assert found is None or 1 < found.year < 9999


@FUZZ
@given(text=st.text(max_size=400))
@example(text="\x1b[31m\x9b\u202e\u2066\ud800")
@example(text="x" * 10**6)
def test_text_of_others_is_clean_and_short(text: str) -> None:
    line = shortened(text)
    assert len(line) <= 300
    assert is_clean(line)
    assert shown([text] * 10**6)[-1] == "… and 999990 more"
