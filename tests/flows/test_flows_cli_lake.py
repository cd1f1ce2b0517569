"""The commands that look at what a run left: collect's summary, lake, quarantine."""

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass

import pytest

from tests.support.fakes.prometheus import FakeSeries
from tests.support.faulty import constant, faulty_prometheus
from tests.support.installation import Installation, Ran, entry
from tests.support.servers import PrefectServer

pytestmark = pytest.mark.slow

WINDOW = ("--start", "2026-03-01T00:00:00Z", "--stop", "2026-03-01T01:00:00Z")
# of 60 minutes
SPIKE_EVERY = 10 * 60_000


@dataclass(frozen=True)
class Collected:
    """An installation after a run that found bad values, with what it said to people."""

    installation: Installation
    ran: Ran


def spiky(time: int) -> str:
    return "1.5" if time % SPIKE_EVERY == 0 else "0.5"


@pytest.fixture(scope="module")
def collected(
    tmp_path_factory: pytest.TempPathFactory, prefect_server: PrefectServer
) -> Iterator[Collected]:
    folder = tmp_path_factory.mktemp("collected")
    installation = Installation(folder, {"PREFECT_API_URL": prefect_server.api_url})
    ratio = entry("share", tags=("room",))
    ratio["fields"]["share"]["unit"] = "ratio"
    installation.configure({"shares": ratio, "none": entry("none")})
    with faulty_prometheus() as prometheus:
        prometheus.queries |= {
            "share": [FakeSeries({"room": "a"}, spiky), constant("1.25", room="b\x1b[31m\n")],
            "none": [],
        }
        installation.variables["PROMETHEUS_URL"] = prometheus.url
        yield Collected(installation, installation.here("collect", *WINDOW))


def test_collect_tells_people_what_it_did(collected: Collected) -> None:
    home = re.escape(str(collected.installation.home))
    expected = rf"""shares: share of b\\u001b\[31m\\u000a was as high as 125 % \(limit 100\), 1 Mar 00:00 to 1 Mar 00:59, where its data end; 66 values quarantined
run      collect (\S+) in production: work ok, data critical
window   2026-03-01T00:00:00Z to 2026-03-01T01:00:00Z
values   120 extracted: 54 landed, 66 quarantined, 0 dropped by rule, 0 unchanged; 0 retained
  shares  54 landed, 66 quarantined: share_possible \(critical\)
  1 without data
report   {home}/reports/\1/metrics-report.html
"""

    assert collected.ran.code == 1
    assert re.fullmatch(expected, collected.ran.out)


def test_lake_ls(collected: Collected) -> None:
    ran = collected.installation.here("lake", "ls", "--json")

    tables = {table["name"]: table for table in ran.document["tables"]}
    assert set(tables) == {"shares", "none", "fedvitals_pipeline"}
    facts = tables["shares"]
    assert (facts["rows"], facts["files"]) == (54, 1)
    assert (facts["first"], facts["last"]) == ("2026-03-01T00:01:00Z", "2026-03-01T00:59:00Z")


def test_lake_query(collected: Collected) -> None:
    sql = "SELECT room, count(share) AS n, max(share) AS most FROM shares GROUP BY room"

    as_json = collected.installation.here("lake", "query", sql, "--json")
    for_people = collected.installation.here("lake", "query", sql)

    assert as_json.document == {"rows": [{"room": "a", "n": 54, "most": 0.5}]}
    assert for_people == Ran(0, "room  n   most\na     54  0.5\n", "")


@pytest.mark.parametrize(
    ("sql", "problem"),
    [
        ("DROP TABLE shares", "only one SELECT is allowed"),
        ("SELECT 1; SELECT 2", "only one SELECT is allowed"),
        ("SELECT nothing FROM shares", "Binder Error"),
        ("SELECT * FROM read_csv('/etc/passwd')", "Permission Error"),
        ("SELEC", "Parser Error"),
    ],
)
def test_lake_query_refuses(collected: Collected, sql: str, problem: str) -> None:
    ran = collected.installation.here("lake", "query", sql)

    assert ran.code == 2
    assert ran.complaint.startswith(f"lake query: {problem}")


def test_quarantine_ls(collected: Collected) -> None:
    ran = collected.installation.here("quarantine", "ls", "--json")

    first, last = "2026-03-01T00:00:00Z", "2026-03-01T00:59:00Z"
    base = {"measurement": "shares", "environment": "production", "severity": "critical"}
    found = {"stage": "suite", "check_id": "share_possible", "values": 66}
    assert ran.document["quarantine"] == [{**base, **found, "first": first, "last": last}]


def test_quarantine_show(collected: Collected) -> None:
    window = ("--start", "2026-03-01T00:10:00Z", "--stop", "2026-03-01T00:10:01Z")
    ran = collected.installation.here("quarantine", "show", "shares", *window, "--json")

    spike, other = ran.document["values"]
    assert spike == {
        "time": "2026-03-01T00:10:00Z",
        "environment": "production",
        "tags": '{"room": "a"}',
        "field": "share",
        "value": "1.5",
        "check_id": "share_possible",
        "severity": "critical",
        "limit": "0 to 1",
        "reason": "share_possible is why",
    }
    assert json.loads(other["tags"]) == {"room": "b\x1b[31m\n"}
    assert other["value"] == "1.25"


def test_quarantine_show_limits_and_draws_nothing(collected: Collected) -> None:
    ran = collected.installation.here("quarantine", "show", "shares", "--limit", "2")

    assert ran.code == 0
    assert len(ran.out.splitlines()) == 3
    assert "\x1b" not in ran.out


@pytest.mark.promise("Twice: a second run over the same time commits and posts nothing")
def test_nothing_is_due_twice(collected: Collected) -> None:
    again = collected.installation.here("collect", *WINDOW, "--json")

    assert again.document["values"]["landed"] == 0
    assert [line["state"] for line in again.document["measurements"]] == ["unchanged", "no_data"]
