"""`fedvitals ledger`, and a collect whose ledger was deleted."""

from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from tasks.ledger.ledger import Ledger
from tasks.ledger.version import LEDGER_VERSION
from tests.support.fakes.influxdb import fake_influxdb
from tests.support.faulty import constant, faulty_prometheus
from tests.support.installation import Installation, Ran, entry
from tests.support.ledger_behaviours import load, state

WINDOW = ("--start", "2026-03-01T00:00:00Z", "--stop", "2026-03-01T03:00:00Z")
LATER = ("--start", "2026-03-01T05:00:00Z", "--stop", "2026-03-01T06:00:00Z")


def delete_ledger(home: Path) -> None:
    for path in home.glob("ledger.db*"):
        path.unlink()


def of_shares(ran: Ran) -> dict[str, Any]:
    """What is reported of it; a run also watches itself."""
    reported: list[dict[str, Any]] = ran.document["measurements"]
    return next(each for each in reported if each["measurement"] == "shares")


def test_nothing_is_known_of_nothing(bare: Installation) -> None:
    url = f"sqlite:///{bare.home}/ledger.db"
    bare.configure({"shares": entry("share")})
    known = bare.here("ledger", "ls", "--json").document
    assert known == {
        "ledger": url,
        "version": LEDGER_VERSION,
        "id": known["id"],
        "measurements": [],
    }
    assert bare.here("ledger", "ls").out == (
        f"{url}, version {LEDGER_VERSION}, id {known['id']}\nthe ledger has no cells\n"
    )
    assert bare.here("ledger", "rebuild").out == "the lake has no cells\n"


def test_what_is_pending_is_pending_for_the_environments_own_sink(bare: Installation) -> None:
    bare.configure({"m": entry("share")}).variables["INFLUXDB_URL"] = "http://p:8086"
    with bare.changed("environments.yaml") as content:
        content["environments"] = {"staging": {"influxdb_url": "http://s:8086"}}
    production, staging = (f"http://{host}:8086 fedvitals/fedvitals" for host in "ps")
    bare.home.mkdir()
    with closing(Ledger(f"sqlite:///{bare.home}/ledger.db")) as ledger:
        ledger.record(state(environment=name) for name in ("production", "staging"))
        ledger.record_loads([load(sink=production)])

    ran = bare.here("ledger", "ls", "--json")

    pending = {line["environment"]: line["pending"] for line in ran.document["measurements"]}
    assert pending == {"production": {production: 0}, "staging": {staging: 1}}


@pytest.mark.promise(
    "Crash: the ledger is deleted: the next run reads its cells back from the lake"
)
@pytest.mark.slow
def test_a_deleted_ledger_costs_nothing(bare: Installation) -> None:
    bare.configure({"shares": entry("share", tags=("room",))})
    with faulty_prometheus() as prometheus:
        prometheus.queries["share"] = [constant("0.5", room="a")]
        bare.variables["PROMETHEUS_URL"] = prometheus.url
        assert bare.here("collect", *WINDOW).code == 0
    known = of_shares(bare.here("ledger", "ls", "--json"))
    assert (known["cells"], known["values"], known["pending"]) == (3, 180, {})
    delete_ledger(bare.home)

    # the source is gone by now
    rebuilt = bare.here("ledger", "rebuild", "--json")
    assert (rebuilt.code, of_shares(rebuilt)) == (
        0,
        {
            "measurement": "shares", "environment": "production", "cells": 3, "values": 180,
            "corrected": 0, "torn": 0, "lost": 0, "unchecked": "",
        },
    )  # fmt: skip
    assert of_shares(bare.here("ledger", "ls", "--json")) == known

    delete_ledger(bare.home)
    with fake_influxdb() as influxdb:
        bare.variables |= {"INFLUXDB_URL": influxdb.url, "INFLUXDB_TOKEN": influxdb.token}
        ran = bare.here("collect", *LATER, "--json")
        # its own window fails, what is in the lake is loaded all the same
        assert ran.document["sinks"]["influxdb"]["loaded"] >= 180
        lines = {line["name"]: line for line in ran.document["measurements"]}
        reported = " ".join(lines["_windows"]["warnings"])
        assert "the ledger lacked 3 cells of shares in production" in reported
        assert influxdb.count_values("shares") == 180
    again = of_shares(bare.here("ledger", "ls", "--json"))
    assert (again["cells"], list(again["pending"].values())) == (3, [0])
