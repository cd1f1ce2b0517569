"""The demo's configuration, and what `--keep` says; tests/real/test_demo.py runs it whole."""

import json
import re
import sys
import threading
import tomllib
from contextlib import ExitStack, nullcontext
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from deployments.services import processes
from flows import demo
from flows.commands.demo import EXTRA
from tasks.core.receipt import Receipt, write_receipt
from tasks.core.settings import load_settings, shipped
from tasks.core.window import Window
from tests.support.installation import Installation

ROOT = Path(__file__).parents[2]


def checks(folder: Path, suite: str) -> set[str]:
    content = json.loads((folder / f"{suite}.json").read_text("utf-8"))
    return {each["meta"]["check_id"] for each in content["expectations"]}


def test_the_demo_has_no_limit_that_its_training_must_break_and_the_shipped_suites_do(
    tmp_path: Path,
) -> None:
    demo._write_config(tmp_path)
    for suite, dropped in demo.OF_A_GROWN_TRAINING.items():
        before = checks(shipped("expectations"), suite)
        assert set(dropped) < before
        assert checks(tmp_path / "expectations", suite) == before - set(dropped)
    # what is planted is still looked for
    assert "packet_loss_ratio_within_limit" in checks(tmp_path / "expectations", "edge_devices")


def receipt(report: str | None) -> Receipt:
    now = datetime.now(UTC)
    made = write_receipt("collect", "r", "demo", Window(now - timedelta(hours=1), now), [], {})
    return made.model_copy(update={"report": report})


def test_keep_says_what_to_open_and_waits(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    waited = threading.Event()
    monkeypatch.setattr("flows.demo.signal.pause", waited.set)
    stage = demo.Stage("http://s", {}, ("Prefect: http://p/runs", "InfluxDB: http://i, token t"))
    said: list[str] = []
    demo._wait(stage, receipt(str(tmp_path / "metrics-report.html")), said.append)
    assert said == [
        f"open report: {(tmp_path / 'metrics-report.html').as_uri()}",
        "open Prefect: http://p/runs",
        "open InfluxDB: http://i, token t",
        "the servers stay until you press Ctrl-C",
    ]
    assert waited.is_set()


def test_the_flux_query_is_one_of_the_started_influxdb_and_no_token_of_the_user_is_shown(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    access = processes.InfluxAccess("http://i", "made-token", "o", "bucket-1")
    monkeypatch.setattr(processes, "find_program", lambda _: "influxd")
    monkeypatch.setattr(processes, "influxdb", lambda *_: nullcontext(access))
    told: list[str] = []
    to_open: list[str] = []
    with ExitStack() as stack:
        demo._influxdb(load_settings({}), tmp_path, stack, told.append, to_open)
    assert to_open[0] == "InfluxDB: http://i (demo / fedvitals-demo), token made-token"
    assert 'from(bucket: "bucket-1")' in to_open[1]
    assert 'r.environment == "demo"' in to_open[1]
    own = {"INFLUXDB_URL": "http://own", "INFLUXDB_TOKEN": "own-token"}
    with ExitStack() as stack:
        found: list[str] = []
        demo._influxdb(load_settings(own), tmp_path, stack, told.append, found)
    assert found == []
    assert "own-token" not in "".join(told)


def test_without_its_extra_the_demo_says_which_to_install(
    monkeypatch: pytest.MonkeyPatch, bare: Installation
) -> None:
    """As pip installs it; with the extra it runs (tests/real/test_demo.py)."""
    monkeypatch.setitem(sys.modules, "trustme", None)
    ran = bare.here("demo")
    assert (ran.code, ran.complaint) == (
        2, "demo: lacks the packages trustme. Fix: install them: pip install 'fedvitals[demo]'",
    )  # fmt: skip


def test_the_packages_of_the_extra_are_those_of_the_project() -> None:
    content = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))
    names = {
        re.split("[<>=]", each)[0] for each in content["project"]["optional-dependencies"]["demo"]
    }
    assert {each.replace("-", "_").replace("scikit_learn", "sklearn") for each in names} == {*EXTRA}
