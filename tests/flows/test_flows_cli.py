"""The commands: what they say, with and without --json, and how they end."""

import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytest
from pytest_httpserver import HTTPServer
from typer.main import get_command

from flows.cli import COMMANDS, app
from tests.support.fakes.influxdb import FakeInfluxDB, fake_influxdb
from tests.support.fakes.pagerduty import FakePagerDuty
from tests.support.fakes.raw_http import RawServer
from tests.support.fakes.slack import FakeSlack
from tests.support.faulty import FaultyPrometheus, constant, faulty_prometheus
from tests.support.installation import Installation, Ran, entry


def helps() -> dict[tuple[str, ...], str]:
    """Every command and group by the words that call it, with its help text."""
    found: dict[tuple[str, ...], str] = {}

    def walk(words: tuple[str, ...], command: Any) -> None:
        found[words] = command.help or ""
        for name, inner in getattr(command, "commands", {}).items():
            walk((*words, name), inner)

    walk((), get_command(app))
    return found


HELPS = list(helps())
LEAVES = [words for words in HELPS if not any(other[:-1] == words for other in HELPS if other)]
SLOW_MODULES = ("great_expectations", "prefect", "matplotlib", "pandas", "deltalake", "sklearn")
IMPORTED = """
import sys
from flows.cli import main
for command in {commands!r}:
    sys.argv = ["fedvitals", *command, "--help"]
    try:
        main()
    except SystemExit as end:
        assert not end.code, (command, end.code)
sys.exit(repr([name for name in {slow!r} if name in sys.modules]))
"""


@pytest.mark.slow
def test_help_of_every_command_is_there_and_imports_little() -> None:
    code = IMPORTED.format(commands=HELPS, slow=SLOW_MODULES)
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        check=False,
        cwd=Path(__file__).parents[2],
    )

    assert done.stderr.strip() == "[]"
    assert done.stdout.count("Usage: ") == len(HELPS)
    assert {command[0] for command in HELPS if command} == set(COMMANDS)


@pytest.mark.parametrize("words", LEAVES, ids=" ".join)
def test_the_help_of_a_command_shows_how_it_is_called(words: tuple[str, ...]) -> None:
    assert f"fedvitals {' '.join(words)}" in " ".join(helps()[words].split())


@pytest.mark.parametrize("words", [(), ("collect",), ("lake", "query")], ids=" ".join)
def test_the_help_is_short_to_ask_for_and_names_no_type_of_a_flag(
    bare: Installation, words: tuple[str, ...]
) -> None:
    ran = bare.here(*words, "-h")
    assert ran.code == 0
    assert "Usage: fedvitals" in ran.out
    assert "bool" not in ran.out
    assert ran.out == bare.here(*words, "--help").out
    assert "<str>" in ran.out or words != ("collect",)


def test_version(bare: Installation) -> None:
    assert bare.here("--version") == Ran(0, f"fedvitals {version('fedvitals')}\n", "")


def test_an_unknown_command(bare: Installation) -> None:
    ran = bare.here("colect")

    assert (ran.code, ran.out) == (2, "")
    assert "No such command 'colect'" in ran.err


def checks_of(ran: Ran) -> dict[tuple[str, str], dict[str, Any]]:
    return {(each["service"], each["what"]): each for each in ran.document["checks"]}


def test_doctor_with_nothing_configured(bare: Installation) -> None:
    ran = bare.here("doctor", "--json")

    assert (ran.code, ran.err) == (1, "")
    assert ran.document["environment"] == "production"
    checks = checks_of(ran)
    bad = {key: each for key, each in checks.items() if not each["ok"]}
    assert list(bad) == [("source", "is configured")]
    assert bad["source", "is configured"]["fix"] == (
        "Set PROMETHEUS_URL, or FED_VIT_API_URL to read the service's /metrics directly"
    )
    assert checks["settings", "prometheus"]["detail"] == "not configured"
    assert checks["influxdb", "is configured"]["detail"].startswith("not configured: the lake")
    assert (
        checks["lake", "can be read and written"]["detail"]
        == f"0 tables, 0 rows in {bare.home}/lake"
    )


@pytest.mark.parametrize(
    ("url", "detail"),
    [
        ("", "not configured: Prefect shows host and path of a report, and no link"),
        ("http://h:8/r/", "http://h:8/r (from FEDVITALS_REPORT_URL), for {home}/reports"),
    ],
)
def test_doctor_says_where_reports_are_shown(bare: Installation, url: str, detail: str) -> None:
    bare.variables["FEDVITALS_REPORT_URL"] = url
    check = checks_of(bare.here("doctor", "--json"))["settings", "report url"]
    assert (check["ok"], check["detail"]) == (True, detail.format(home=bare.home))


def test_a_wrong_report_url_ends_a_command_at_once(bare: Installation) -> None:
    bare.variables["FEDVITALS_REPORT_URL"] = "file:///reports"
    ran = bare.here("doctor")
    assert ran.code == 2
    assert ran.complaint.startswith("FEDVITALS_REPORT_URL: is not an http or https URL. Fix: give ")


def test_doctor_tells_people_the_same(bare: Installation) -> None:
    ran = bare.here("doctor")

    assert (ran.code, ran.err) == (1, "")
    marks = [line[:4].strip() for line in ran.out.splitlines()]
    assert marks.count("BAD") == 1
    assert (
        "     " + " " * 12 + " → Set PROMETHEUS_URL, or FED_VIT_API_URL to read the service's /metrics directly\n"
        "ok   influxdb     is configured: not configured: the lake keeps everything, and a later "
        "InfluxDB can be filled from it\n"
    ) in ran.out  # fmt: skip


@pytest.fixture
def prometheus() -> Iterator[FaultyPrometheus]:
    with faulty_prometheus(token="planted-token") as running:
        running.queries |= {"a": [constant()]}
        yield running


@pytest.fixture
def influxdb() -> Iterator[FakeInfluxDB]:
    with fake_influxdb(token="planted-influx", bucket=None) as running:
        yield running


@pytest.fixture
def whole(bare: Installation, prometheus: FaultyPrometheus, influxdb: FakeInfluxDB) -> Installation:
    """Everything configured, but that the bucket is missing."""
    bare.variables |= {
        "PROMETHEUS_URL": prometheus.url,
        "PROMETHEUS_API_TOKEN": "planted-token",
        "INFLUXDB_URL": influxdb.url,
        "INFLUXDB_TOKEN": "planted-influx",
    }
    return bare.configure({"a": entry("a")})


class Dated:
    """An answer by a clock that is so many seconds ahead."""

    def __init__(self, seconds: int) -> None:
        self.ahead = timedelta(seconds=seconds)

    def __iter__(self) -> Iterator[bytes]:
        date = format_datetime(datetime.now(UTC) + self.ahead, usegmt=True)
        yield f"HTTP/1.1 404 Not Found\r\nDate: {date}\r\nContent-Length: 0\r\n\r\n".encode()


@pytest.mark.parametrize(
    ("seconds", "is_ok", "detail"),
    [
        (-3 * 3600, False, r"it is (10799|1080[01]) s behind this machine's"),
        (2 * 3600, False, r"it is (7199|720[01]) s ahead of this machine's"),
        (-30, True, r"it is (29|3[01]) s behind this machine's"),
        (0, True, r"it is [01] s "),
    ],
)
def test_doctor_notices_a_clock_that_is_off(
    bare: Installation, seconds: int, is_ok: bool, detail: str
) -> None:
    """The service's is off, which is the same from here."""
    with RawServer(Dated(seconds), connections=9) as server:
        bare.variables["FED_VIT_API_URL"] = server.url
        checks = checks_of(bare.here("doctor", "--json"))

    found = checks["clock", "agrees with api"]
    assert found["ok"] == is_ok
    # a fix makes it a warning, which clocks that agree are not
    assert bool(found["fix"]) == bool(seconds)
    assert re.match(detail, found["detail"])


def test_doctor_creates_the_bucket(whole: Installation, influxdb: FakeInfluxDB) -> None:
    before, creating, after = (
        whole.here("doctor", *more, "--json") for more in ((), ("--create",), ())
    )

    assert (before.code, creating.code, after.code) == (1, 0, 0)
    bucket = checks_of(before)["influxdb", "bucket"]
    assert bucket["fix"] == "Make the bucket fedvitals: fedvitals doctor --create"
    assert influxdb.bucket == "fedvitals"
    assert all(each["ok"] for each in checks_of(after).values())
    assert "planted" not in before.out + creating.out + after.out


BROKEN: dict[str, tuple[dict[str, str], set[tuple[str, str]]]] = {
    "wrong tokens": (
        {"PROMETHEUS_API_TOKEN": "planted-x", "INFLUXDB_TOKEN": "planted-y"},
        {("Prometheus", "authorised"), ("influxdb", "token")},
    ),
    "nobody there": (
        {
            "PROMETHEUS_URL": "http://127.0.0.1:9",
            "INFLUXDB_URL": "http://127.0.0.1:9",
            "FED_VIT_API_URL": "http://127.0.0.1:9",
            "PREFECT_API_URL": "http://127.0.0.1:9/api",
        },
        {
            ("Prometheus", "reachable"),
            ("influxdb", "reachable"),
            ("the service's API", "reachable"),
            ("prefect", "reachable"),
        },
    ),
    "no home": (
        {"FEDVITALS_HOME": "/dev/null/x"},
        {
            ("catalogue", "catalogue and suites are sound"),
            ("home", "can be written"),
            ("ledger", "answers"),
            ("influxdb", "bucket"),
        },
    ),
}  # fmt: skip


@pytest.mark.parametrize(("variables", "bad"), BROKEN.values(), ids=BROKEN.keys())
def test_doctor_says_what_to_fix_of_everything_that_is_broken(
    whole: Installation, variables: dict[str, str], bad: set[tuple[str, str]]
) -> None:
    whole.variables |= variables

    ran = whole.here("doctor", "--json")

    assert (ran.code, ran.err) == (1, "")
    failed = {key: each for key, each in checks_of(ran).items() if not each["ok"]}
    assert set(failed) == bad
    assert all(each["fix"] for each in failed.values())
    assert "planted" not in ran.out


def test_doctor_with_a_broken_suite(whole: Installation) -> None:
    with whole.changed_suite("a") as content:
        content["expectations"].pop(0)

    failed = checks_of(whole.here("doctor", "--json"))[
        "catalogue", "catalogue and suites are sound"
    ]

    assert not failed["ok"]
    assert "a.json: lacks expect_table_row_count_to_be_between" in failed["fix"]


@pytest.mark.parametrize(
    ("name", "content", "problem"),
    [
        ("alert-thresholds.yaml", {"thresholds": {"x": {"expr": "up"}}}, "thresholds.x.severity"),
        (
            "slos.yaml",
            {"slos": {"x": {"objective": 1, "ratio": {"total": "a", "bad": "b"}, "summary": "s"}}},
            "100 % leaves no budget",
        ),
    ],
)
def test_doctor_with_broken_limits(
    whole: Installation, name: str, content: dict[str, Any], problem: str
) -> None:
    what = ("alerts", "thresholds and SLOs are sound")
    assert checks_of(whole.here("doctor", "--json"))[what]["ok"]
    whole.write_yaml(name, content)

    failed = checks_of(whole.here("doctor", "--json"))[what]

    assert not failed["ok"]
    assert name in failed["fix"]
    assert problem in failed["fix"]


def test_catalogue_lists_what_is_shipped(bare: Installation) -> None:
    ran = bare.here("catalogue", "--json")

    assert (ran.code, ran.err) == (0, "")
    listed = {each["name"]: each for each in ran.document["measurements"]}
    assert len(listed) >= 12
    assert listed["training"] == {
        "name": "training",
        "type": "federated",
        "source": "prometheus",
        "tags": [],
        "fields": ["training_loss", "model_accuracy_ratio"],
        "suite": "training",
    }


def test_catalogue_for_people(bare: Installation) -> None:
    ran = bare.configure({"a": entry("x", "y", tags=("k",))}).here("catalogue")

    assert ran == Ran(
        0,
        "name  type         source      tags  fields  suite\n"
        "a     performance  prometheus  k     x, y    a\n",
        "",
    )


def test_catalogue_refuses_a_wrong_one(bare: Installation) -> None:
    bare.configure({"a": entry("x")})
    (bare.expectations / "a.json").unlink()

    ran = bare.here("catalogue")

    assert ran.code == 2
    assert ran.complaint.startswith(f"suite {bare.expectations}/a.json: the file is missing")


def test_catalogue_live_lists_what_is_not_ok_in_a_terminals_width(
    whole: Installation, prometheus: FaultyPrometheus
) -> None:
    empty = [f"a_field_of_some_length_{number}" for number in range(9)]
    prometheus.queries |= {name: [] for name in empty}
    whole.configure({"a": entry("a"), "b": entry(*empty)})

    ran = whole.here("catalogue", "--live")

    lines = ran.out.splitlines()
    assert (ran.code, lines[-1]) == (0, "1 field ok")
    assert lines[0].startswith("no_data          b: a_field_of_some_length_0, ")
    assert max(map(len, lines)) <= 100
    assert all(name in ran.out for name in empty)
    assert ran.out.count("series now. Fix: check the metric's name") == 1
    assert "a: a: 1 series" not in ran.out
    assert "ok               a: a: 1 series" in whole.here("catalogue", "--live", "--verbose").out


def test_catalogue_live_without_any_source(bare: Installation) -> None:
    ran = bare.configure({"a": entry("x")}).here("catalogue", "--live")

    assert ran.code == 2
    assert ran.complaint == (
        "environment production: no source is configured. "
        "Fix: set PROMETHEUS_URL, or FED_VIT_API_URL to read the service's /metrics directly"
    )


@pytest.mark.parametrize(
    "kind", ["404 Not Found\r\ncontent-type: application/json", "200 OK\r\ncontent-type: text/html"]
)
@pytest.mark.parametrize("command", [("serve",), ("collect",)])
def test_an_address_that_is_no_prefect_api(
    whole: Installation, command: tuple[str, ...], kind: str
) -> None:
    with RawServer([f"HTTP/1.1 {kind}\r\ncontent-length: 2\r\n\r\n{{}}".encode()]) as other:
        whole.variables["PREFECT_API_URL"] = other.url
        ran = whole.here(*command)

    assert (ran.code, ran.out) == (2, "")
    assert ran.complaint == (
        f"PREFECT_API_URL: the address does not answer as a Prefect API (HTTP {kind[:3]}). "
        "Fix: correct PREFECT_API_URL; its path is /api, as in http://127.0.0.1:4200/api"
    )


def test_serve_without_a_prefect_server(bare: Installation) -> None:
    ran = bare.here("serve")

    assert ran.code == 2
    assert ran.complaint.startswith(
        "PREFECT_API_URL: is not set, so there is no server to serve the flows for."
    )


EMPTY: dict[tuple[str, ...], tuple[str, dict[str, Any]]] = {
    ("lake", "ls"): ("the lake is empty\n", {"tables": []}),
    ("quarantine", "ls"): ("nothing is in quarantine\n", {"quarantine": []}),
}


@pytest.mark.parametrize("command", EMPTY)
def test_nothing_is_there_yet(bare: Installation, command: tuple[str, ...]) -> None:
    words, document = EMPTY[command]

    assert bare.here(*command) == Ran(0, words, "")
    as_json = bare.here(*command, "--json")
    assert (as_json.code, as_json.document) == (0, document)


def test_quarantine_of_what_is_not_there(bare: Installation) -> None:
    ran = bare.here("quarantine", "show", "a")

    assert ran.code == 2
    assert ran.complaint == (
        "MEASUREMENT: the lake has no table 'a'. Fix: see the tables: fedvitals lake ls"
    )


STOPPED = """
import atexit, os, sys
from flows import cli

@cli.app.command("stopped")
def stopped():
    atexit.register(print, "what it started is stopped")
    os.kill(os.getpid(), {signal})

sys.argv = ["fedvitals", "stopped"]
cli.main()
"""


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_stop_from_outside_leaves_nothing_behind(number: int, code: int) -> None:
    done = subprocess.run(
        [sys.executable, "-c", STOPPED.format(signal=int(number))],
        capture_output=True,
        text=True,
        check=False,
        cwd=Path(__file__).parents[2],
    )

    assert (done.returncode, done.stdout) == (code, "what it started is stopped\n")
    assert done.stderr.strip() == ("fedvitals: stopped. Landed data stays; the next run continues")


def test_catalogue_and_doctor_name_a_query_that_is_not_promql(bare: Installation) -> None:
    bare.configure({"a": entry("a")})
    assert bare.here("catalogue").code == 0
    with bare.changed("metrics.yaml") as content:
        (field,) = content["measurements"]["a"]["fields"].values()
        field["query"] = "sum by ("

    assert "is not PromQL" in bare.here("catalogue").complaint
    checks = bare.here("doctor", "--json").document["checks"]
    (found,) = [each for each in checks if each["service"] == "catalogue"]
    assert (found["ok"], "is not PromQL" in found["fix"]) == (False, True)


def test_doctor_checks_where_incidents_are_shown(
    bare: Installation, httpserver: HTTPServer
) -> None:
    slack, pager = FakeSlack(httpserver), FakePagerDuty(httpserver)
    bare.variables |= {**slack.variables, **pager.variables}
    checks = checks_of(bare.here("doctor", "--json"))
    assert checks["Slack", "answers"]["ok"]
    known = checks["PagerDuty", "is set"]
    assert known["detail"] == "acknowledgements made there are unknown"
    assert known["fix"].startswith("Set PAGERDUTY_API_TOKEN")
    bare.variables["SLACK_BOT_TOKEN"] = "wr0ng"
    ran = bare.here("doctor", "--json")
    failed = checks_of(ran)["Slack", "answers"]
    assert (failed["ok"], "SLACK_BOT_TOKEN" in failed["fix"]) == (False, True)
    assert "wr0ng" not in ran.out
    # a check shows no message and pages for nothing
    assert (slack.messages, pager.incidents) == ({}, [])
