"""`fedvitals demo` in an empty folder: with the servers of this machine, and with none."""

import json
import re
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import psutil
import pytest

from tasks.core.window import floor, iso
from tests.support.installation import COMMAND, FOREIGN, Installation
from tests.support.process import environment, program

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]

LONGEST_SECONDS = 480
# of the demo's configuration
SETTLE_DELAY = STEP = timedelta(seconds=1)


@dataclass
class Demo:
    """One demo, and all processes that it was seen to have."""

    folder: Path
    variables: dict[str, str]
    children: set[psutil.Process] = field(default_factory=set)
    process: psutil.Popen | None = None

    def start(self) -> None:
        kept = {k: v for k, v in environment().items() if not k.startswith(FOREIGN)}
        self.process = psutil.Popen(
            [str(COMMAND), "demo", "--json"],
            cwd=self.folder,
            env={**kept, **self.variables},
            stdin=subprocess.DEVNULL,
            stdout=(self.folder / "out").open("wb"),
            stderr=(self.folder / "err").open("wb"),
        )

    def look(self) -> bool:
        """Notes its processes; whether it still runs."""
        assert self.process is not None
        if self.process.poll() is not None:
            return False
        self.children |= set(self.process.children(recursive=True))
        return True

    def stop(self) -> None:
        if self.process is not None and self.process.poll() is None:
            self.process.terminate()
            self.process.wait(60)

    @property
    def code(self) -> int | None:
        assert self.process is not None
        return int(self.process.returncode)

    @property
    def receipt(self) -> Any:
        return json.loads((self.folder / "out").read_text("utf-8"))

    @property
    def said(self) -> list[str]:
        return (self.folder / "err").read_text("utf-8").splitlines()

    @property
    def home(self) -> Path:
        return self.folder / ".fedvitals" / "demo"

    def learnt(self, before: str = "2100-01-01T00:00:00Z") -> list[float]:
        """The accuracies in the lake, by time."""
        here = Installation(self.folder, {"FEDVITALS_HOME": str(self.home)})
        sql = (
            f"SELECT model_accuracy_ratio AS x FROM training WHERE time < '{before}' ORDER BY time"
        )
        rows = here.here("lake", "query", sql, "--json").document["rows"]
        return [row["x"] for row in rows]


@pytest.fixture(scope="module")
def demos(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Demo]]:
    """Both at the same time: each mostly waits for its training."""
    nothing = tmp_path_factory.mktemp("nothing")
    bare = {"PATH": str(COMMAND.parent), "XDG_CACHE_HOME": str(nothing)}
    made = {
        "servers": Demo(tmp_path_factory.mktemp("servers"), {}),
        "embedded": Demo(tmp_path_factory.mktemp("embedded"), bare),
    }
    end = time.monotonic() + LONGEST_SECONDS
    with ExitStack() as stack:
        for demo in made.values():
            stack.callback(demo.stop)
            demo.start()
        while any([demo.look() for demo in made.values()]):
            assert time.monotonic() < end, {name: demo.said for name, demo in made.items()}
            time.sleep(0.5)
        yield made


@pytest.fixture(params=["servers", "embedded"])
def demo(demos: dict[str, Demo], request: pytest.FixtureRequest) -> Demo:
    return demos[request.param]


def test_it_ends_well_and_says_where_the_report_is(demo: Demo) -> None:
    assert (demo.code, demo.receipt["status"]) == (0, "ok"), demo.said
    assert Path(demo.receipt["report"]).is_relative_to(demo.home / "reports")
    assert Path(demo.receipt["report"]).is_file()
    twin = Path(demo.receipt["report"]).parent / "training" / "convergence-analysis.json"
    (judged,) = json.loads(twin.read_text("utf-8"))["runs"]
    assert (judged["verdict"] != "too_short", judged["rounds_seen"]) == (True, 60)
    assert judged["privacy"]["budget"] is not None
    assert twin.with_name("convergence-report.html").is_file()
    assert all(line.startswith("demo: ") for line in demo.said)


def test_its_one_alarm_is_the_planted_one(demo: Demo) -> None:
    found = [each for each in demo.receipt["findings"] if each["severity"] != "info"]
    assert [each["evidence"]["check"] for each in found] == ["packet_loss_ratio_within_limit"]
    assert "more series" not in demo.receipt["sentence"]
    assert demo.receipt["sentence"].startswith("1 warning: edge_devices: packet loss of ")
    assert any(line.startswith("demo: planted: ") for line in demo.said)


def test_it_shows_the_health_of_its_training(demo: Demo) -> None:
    (found,) = (line for line in demo.said if line.startswith("demo: health: "))
    assert "healthy: 7 of 7 checks are well" in found
    assert "training finished, round 60" in found


def test_it_shows_an_incident_that_opens_and_resolves(demo: Demo) -> None:
    lines = [line.split() for line in demo.said if line.startswith("demo: incident ")]
    changes = [(line[2], line[3]) for line in lines]
    incident = changes[0][0]
    assert changes == [(incident, "opened:"), (incident, "resolved:")]
    page = Path(demo.receipt["report"]).read_text("utf-8")
    (row,) = (row for row in page.split("<tr>") if f"alerts show {incident}" in row)
    assert "model-export" in row
    assert "<td>resolved</td>" in row


def test_it_shows_the_slos_of_its_training(demos: dict[str, Demo]) -> None:
    program("prometheus", "apt install prometheus")
    said = demos["servers"].said
    lines = [line.removeprefix("demo: slo: ") for line in said if line.startswith("demo: slo: ")]
    states = {line.split(":")[0]: line for line in lines}

    assert list(states) == [
        "availability", "latency", "training_rounds", "freshness", "participation",
    ]  # fmt: skip
    assert not any("failed" in line for line in lines)
    # it has been watched for minutes of 30 days
    assert states["availability"].startswith("availability: partial (0.00")
    assert "100.0000% good" in states["availability"]
    assert "too_little_data" in states["availability"]
    (path,) = (line.partition("slo page: ")[2] for line in said if "slo page: " in line)
    page = Path(path).read_text("utf-8")
    assert page.count('<svg class="budget"') == 5
    # the failing twin: without a Prometheus there is none
    assert not any("slo" in line for line in demos["embedded"].said)


def test_the_report_needs_nothing_else(demo: Demo) -> None:
    page = Path(demo.receipt["report"]).read_text("utf-8")

    assert re.findall(r'(?:src|href)="(?!#|data:)[^"]*"', page) == []
    assert not any(text in page for text in ("<script", "@import", "url(http"))
    assert page.count("<svg") > 5
    twin = json.loads(Path(demo.receipt["report"]).with_suffix(".json").read_text("utf-8"))
    (training,) = [each for each in twin["measurements"] if each["name"] == "training"]
    # the training is followed after this report, which adds to the lake what had not settled
    stop = datetime.fromisoformat(demo.receipt["window"]["stop"])
    settled = stop if demo.variables else floor(stop - SETTLE_DELAY, STEP)
    in_lake = demo.learnt(before=iso(settled))
    assert training["fields"]["model_accuracy_ratio"]["n"] == len(in_lake)


def test_the_training_is_seen_to_learn(demo: Demo) -> None:
    accuracies = demo.learnt()

    assert len(accuracies) >= 5
    assert accuracies[-1] > 0.8
    assert accuracies[-1] > accuracies[0]


def test_every_look_landed_something(demo: Demo) -> None:
    rounds = [line for line in demo.said if line.startswith("demo: round ")]

    assert len(rounds) >= 3
    assert not any("; 0 values landed" in line for line in rounds)


def test_all_that_was_started_is_gone(demo: Demo) -> None:
    assert len(demo.children) >= 2
    assert [child for child in demo.children if child.is_running()] == []
    addresses = re.findall(r"http://\S+", "\n".join(demo.said))
    assert addresses
    for address in addresses:
        parts = urlsplit(address)
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection((str(parts.hostname), int(parts.port or 0)), timeout=5)


def test_nothing_is_left_outside_its_own_folder(demo: Demo) -> None:
    assert sorted(path.name for path in demo.folder.iterdir()) == [".fedvitals", "err", "out"]


def test_the_servers_of_this_machine_are_used(demos: dict[str, Demo]) -> None:
    program("prometheus", "apt install prometheus")
    said = "\n".join(demos["servers"].said)

    assert "metrics come from a Prometheus started at http://127.0.0.1:" in said
    if "no InfluxDB here" not in said:
        assert "values are loaded into an InfluxDB started at http://127.0.0.1:" in said
        counts = demos["servers"].receipt["sinks"]["influxdb"]
        assert counts["loaded"] == counts["owed"] > 1_000


def test_without_servers_the_embedded_defaults_do(demos: dict[str, Demo]) -> None:
    said = "\n".join(demos["embedded"].said)

    assert "no Prometheus here: the training's /metrics is read directly" in said
    assert "no InfluxDB here: the lake keeps everything" in said
    assert demos["embedded"].receipt["sinks"] == {}
    states = {each["name"]: each["state"] for each in demos["embedded"].receipt["measurements"]}
    assert states["training"] == states["http_latency"] == "landed"
