"""kill -9 between each pair of writes: nothing is missing, and at most one double, which is marked."""

import importlib.util
import json
import os
import signal
import sys
from contextlib import closing
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

import pytest

from tasks.core.incidents import AlertMessage
from tasks.ledger.ledger import Ledger
from tasks.ledger.outbox import LEASE
from tests.support.fakes.alert_channel import FakeChannel
from tests.support.incident_samples import ended, firing
from tests.support.nursery import FAULT_POINT
from tests.tasks.alerts.conftest import Desk

CHANNELS = ("pagerduty", "slack", "email")
OUTBOX, INCIDENTS, DELIVERY = (
    "tasks.ledger.outbox",
    "tasks.ledger.incidents",
    "tasks.alerts.delivery",
)
# of the opening, of the step to e-mail, and of the end: what is written, and what is sent
POINTS = [
    f"{place}:{when}:{number}"
    for place, last in (
        (f"{INCIDENTS}:keep", 3),
        (f"{OUTBOX}:add", 2),
        (f"{OUTBOX}:lease", 6),
        (f"{DELIVERY}:Sender._send", 6),
        (f"{OUTBOX}:show", 6),
    )
    for when in ("before", "after")
    for number in (range(1, last + 1))
]


@dataclass
class Written(FakeChannel):
    """Keeps its effects in a file, which survives its process."""

    file: Path = Path()

    def send(self, message: AlertMessage, reference: str) -> str:
        effect = [self.name, message.action, message.is_repeat]
        descriptor = os.open(self.file, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        os.write(descriptor, f"{json.dumps(effect)}\n".encode())
        os.close(descriptor)
        return reference or f"{self.name}-{message.incident_id}"


def work(folder: Path) -> None:
    """Open an incident, let it escalate, and end it; done again, it goes on where it was."""
    with closing(Ledger(f"sqlite:///{folder / 'ledger.db'}")) as ledger:
        file = folder / "effects"
        desk = Desk(ledger, {name: Written(name, file=file) for name in CHANNELS})
        desk.take(firing(0))
        for seconds in (LEASE.total_seconds(), 15 * 60, LEASE.total_seconds()):
            desk.now += timedelta(seconds=seconds)
            desk.deliver()
        minutes = (desk.now - firing(0).starts_at) / timedelta(minutes=1)
        desk.take(ended(0, minutes))
        desk.wait(6)
        desk.now += LEASE
        desk.deliver()
        assert desk.open() == []


def die_at(folder: Path, point: str) -> None:
    """Do the work in a process that dies at the point, as by kill -9."""
    pid = os.fork()
    if not pid:
        try:
            spec = importlib.util.spec_from_file_location(
                "sitecustomize", FAULT_POINT / "sitecustomize.py"
            )
            assert spec is not None
            assert spec.loader is not None
            module = importlib.util.module_from_spec(spec)
            sys.modules["sitecustomize"] = module
            spec.loader.exec_module(module)
            module.arm(point)
            work(folder)
        finally:
            os._exit(70)
    assert os.waitpid(pid, 0)[1] == signal.SIGKILL, f"the work never came to {point}"


def check(effects: list[tuple[str, str, bool]]) -> None:
    doubles = 0
    for name in CHANNELS:
        firsts: list[str] = []
        for action, is_repeat in [effect[1:] for effect in effects if effect[0] == name]:
            if firsts[-1:] != [action]:
                firsts.append(action)
                continue
            doubles += 1
            # a service with a key of ours shows it once
            assert is_repeat or name == "pagerduty"
        assert firsts == ["open", "resolve"], name
    assert doubles <= 1


@pytest.mark.promise(
    "Alerts: kill -9 at any moment leaves no message out, and shows at most one twice, marked"
)
@pytest.mark.parametrize("point", POINTS)
def test_a_death_leaves_no_message_out(point: str, tmp_path: Path) -> None:
    die_at(tmp_path, point)
    work(tmp_path)
    lines = (tmp_path / "effects").read_text("utf-8").splitlines()
    check([tuple(json.loads(line)) for line in lines])


WHOLE = [(name, action, False) for name in CHANNELS for action in ("open", "resolve")]


@pytest.mark.parametrize(
    "effects",
    [
        WHOLE[:-1],
        WHOLE[1:],
        [*WHOLE, ("slack", "resolve", False)],
        [*WHOLE, ("slack", "resolve", True), ("email", "resolve", True)],
    ],
    ids=["an end is missing", "an opening is missing", "no mark", "two doubles"],
)
def test_the_check_sees_what_is_wrong_after_a_death(effects: list[tuple[str, str, bool]]) -> None:
    check(WHOLE)
    with pytest.raises(AssertionError):
        check(effects)
