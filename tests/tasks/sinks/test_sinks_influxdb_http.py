import subprocess
import sys
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from tasks.core.errors import SinkUnavailable
from tasks.sinks.influxdb_http import Answer, InfluxHttp, quoted
from tests.support.fakes.influxdb import Fault, fake_influxdb
from tests.support.sink_samples import service_of

CONFLICT = (
    b'{"code":"unprocessable entity","message":"failure writing points to database: partial write: '
    b'field type conflict: input field \\"f\\" on measurement \\"m\\" is type integer, already exists '
    b'as type float dropped=2"}'
)
RETENTION = (
    b'{"code":"unprocessable entity","message":"failure writing points to database: partial write: '
    b"dropped 3 points outside retention policy of duration 1h0m0s - oldest point m at "
    b"2026-11-24T04:46:25Z dropped because it violates a Retention Policy Lower Bound at "
    b'2026-11-24T05:46:25Z dropped=3 for database: e0 for retention policy: autogen"}'
)
RETENTION_OF_2_0 = (
    b'{"code":"internal error","message":"unexpected error writing points to database: partial '
    b'write: points beyond retention policy dropped=1"}'
)
UNPARSED = (
    b"""{"code":"invalid","message":"unable to parse 'm,a=partial write: dropped=9 f=': no"}"""
)


@pytest.mark.parametrize(
    ("answer", "dropped", "field", "past_retention"),
    [
        (Answer(422, CONFLICT), 2, "f", False),
        (Answer(400, CONFLICT), 2, "f", False),
        (Answer(422, RETENTION), 3, None, True),
        (Answer(500, RETENTION_OF_2_0), 1, None, True),
        (Answer(400, UNPARSED), None, None, False),
    ],
)
def test_reads_answers_that_name_lines(
    answer: Answer, dropped: int | None, field: str | None, past_retention: bool
) -> None:
    assert answer.names_lines
    assert not answer.written
    assert answer.dropped == dropped
    assert answer.conflicting_field == field
    assert answer.past_retention == past_retention


@pytest.mark.parametrize(
    "answer",
    [
        Answer(204, b""),
        Answer(503, CONFLICT),
        Answer(500, b'{"message":"engine is closed"}'),
        Answer(400, b'{"message":"invalid precision"}'),
        Answer(400, b"<html>Bad Request</html>"),
    ],
)
def test_other_answers_name_no_lines(answer: Answer) -> None:
    assert not answer.names_lines


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (b'{"code":"invalid","message":"no"}', "no"),
        (b'{"error":"no"}', "no"),
        (b'["no"]', '["no"]'),
        (b"<html>no</html>", "<html>no</html>"),
        (b"\xff", "\ufffd"),
        (b"", "HTTP 400"),
    ],
)
def test_finds_the_message_in_any_body(body: bytes, message: str) -> None:
    assert Answer(400, body).message == message


def test_a_message_is_shortened_to_one_line_that_keeps_its_cause() -> None:
    assert Answer(400, b"a\n  b").short == "a b"
    assert Answer(400, b"x" * 300).short == "x" * 300
    long = Answer(400, b"unable to parse '" + b"x" * 70_000 + b"': max key length exceeded")
    assert long.short.startswith("unable to parse 'xxx")
    assert long.short.endswith("xxx': max key length exceeded")
    assert len(long.short) == 300


@pytest.mark.parametrize(
    ("text", "literal"),
    [("a", '"a"'), ('say "hi"', r'"say \"hi\""'), ("a\\b", r'"a\\b"'), ("it's", '"it\'s"')],
)
def test_quotes_a_literal(text: str, literal: str) -> None:
    assert quoted(text) == literal


def test_asks_and_gives_the_servers_answer() -> None:
    with fake_influxdb() as fake:
        http = InfluxHttp(service_of(fake), timedelta(seconds=5))
        answer = http.ask("GET", "/api/v2/buckets", {"org": "fedvitals", "name": "none & such"})
        http.close()
    assert (answer.status, answer.message) == (404, 'bucket "none & such" not found')


@pytest.mark.parametrize("kind", ["cut", "die"])
def test_an_answer_that_is_cut_off_is_none(kind: Any) -> None:
    with fake_influxdb(always=Fault(kind)) as fake:
        http = InfluxHttp(service_of(fake), timedelta(seconds=5))
        with pytest.raises(SinkUnavailable, match="no answer"):
            http.write(b"m f=1\n", "s")
        http.close()


# a little apart, so that some begin while the first one imports
THREADS_OF_A_FRESH_PROCESS = """
import sys, threading, time
from datetime import timedelta
from tasks.core.services import InfluxService
from tasks.sinks.influxdb_http import InfluxHttp

service = InfluxService(url=sys.argv[1], origin="x", org="o", bucket="b")
http = InfluxHttp(service, timedelta(seconds=5))
assert "influxdb_client" not in sys.modules

def ask(number):
    time.sleep(number * 0.05)
    print(f"{http.ask('GET', '/health').status}\\n", end="", flush=True)

threads = [threading.Thread(target=ask, args=(number,)) for number in range(8)]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
"""


@pytest.mark.slow
def test_threads_may_be_the_first_to_ask_together() -> None:
    with fake_influxdb() as fake:
        done = subprocess.run(
            [sys.executable, "-c", THREADS_OF_A_FRESH_PROCESS, fake.url],
            cwd=Path(__file__).parents[3], capture_output=True, text=True, check=False,
        )  # fmt: skip
    assert (done.stderr, done.stdout.split()) == ("", ["200"] * 8)
