"""A delivery that fails is noted; one that meets a defect makes the run degraded."""

import errno
import re
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from pathlib import Path
from typing import NoReturn
from unittest.mock import patch

import pytest

from tasks.core.clocks import note_date
from tasks.core.errors import ChannelUnavailable, ConfigurationInvalid
from tasks.core.maintenance_windows import Maintenance
from tasks.core.receipt import Outcome, Receipt, Values
from tasks.core.services import Environment, Service
from tasks.core.settings import load_settings
from tasks.ledger.health import start_maintenance
from tasks.runs.base.run import Run

DOWN = ChannelUnavailable(channel="pager", url="http://127.0.0.1:9", problem="no answer")


@pytest.fixture
def run(tmp_path: Path) -> Iterator[Run]:
    with Run("collect", load_settings({"FEDVITALS_HOME": str(tmp_path)})) as opened:
        yield opened


def ended(run: Run, *errors: Exception, state: str = "landed") -> Receipt:
    """The receipt of a run of which each error ended a delivery, and one more went well."""
    run.outcomes.append(Outcome("loads", state, values=Values(extracted=1, landed=1)))  # type: ignore[arg-type]
    receipt = run.account(None)
    for error in errors:
        with run.delivery("pager"):
            raise error
    with run.delivery("last"):
        pass
    return run.complete(receipt)


def test_a_failed_delivery_changes_neither_status_nor_exit_code(run: Run) -> None:
    receipt = ended(run, DOWN)

    assert (receipt.status, receipt.exit_code) == ("ok", 0)
    assert [(each.what, each.ok) for each in receipt.deliveries] == [
        ("pager", False), ("last", True),
    ]  # fmt: skip


def test_a_defect_in_a_delivery_makes_the_run_degraded(run: Run) -> None:
    receipt = ended(run, KeyError("planted-secret"))

    assert (receipt.status, receipt.exit_code) == ("degraded", 3)
    (lost, last) = receipt.deliveries
    assert (lost.ok, last.ok) == (False, True)
    assert lost.message.startswith("unexpected KeyError at test_run.py:")
    assert "planted-secret" not in receipt.model_dump_json()
    (kept,) = run.ledger.last_runs("collect", "production", "99999999", 1)
    assert Receipt.model_validate_json(kept) == receipt


def test_a_defect_does_not_hide_that_work_failed(run: Run) -> None:
    run.outcomes.append(Outcome("other", "failed"))

    assert ended(run, KeyError()).exit_code == 1


def test_problems_that_a_delivery_collects_are_one_message(run: Run) -> None:
    with run.delivery("self metrics", "incomplete: ") as problems:
        problems += ["one", "two"]

    assert [each.message for each in run.deliveries] == ["incomplete: one; two"]


@pytest.mark.parametrize(("seconds", "severity"), [(0, None), (-9, "warning"), (90, "high")])
def test_a_clock_that_is_not_ours_is_a_finding(run: Run, seconds: int, severity: str) -> None:
    url = f"http://127.0.0.1:9/{seconds}"
    run.environment = Environment(name="production", services={"api": Service(url=url, origin="")})
    date = format_datetime(datetime.now(UTC) + timedelta(seconds=seconds), usegmt=True)
    note_date(url, {"Date": date}, timedelta())
    receipt = ended(run)

    assert [(each.kind, each.severity) for each in receipt.findings] == (
        [("clock", severity)] if severity else []
    )
    assert receipt.exit_code == (severity == "high")
    if seconds < 0:
        assert re.search("the clock of api is (8|9|10) s behind this machine's", receipt.sentence)


@pytest.mark.parametrize(
    ("environment", "check", "is_found"),
    [("production", "", False), ("", "clock", False), ("staging", "", True), ("", "/health", True)],
)
def test_a_clock_in_maintenance_is_none(
    run: Run, environment: str, check: str, is_found: bool
) -> None:
    url = "http://127.0.0.1:9/maintained"
    run.environment = Environment(name="production", services={"api": Service(url=url, origin="")})
    note_date(
        url, {"Date": format_datetime(run.now + timedelta(hours=1), usegmt=True)}, timedelta()
    )
    hour = timedelta(hours=1)
    planned = Maintenance(run.now - hour, run.now + hour, environment, check, "deploy", "ann")
    start_maintenance(run.ledger, planned)
    assert bool(ended(run).findings) is is_found


def raising(error: OSError) -> Callable[[object], NoReturn]:
    def do(_: object) -> NoReturn:
        raise error

    return do


def test_a_full_disk_fails_the_measurement_and_names_the_folder(run: Run, tmp_path: Path) -> None:
    run.work("one", raising(OSError(errno.ENOSPC, "No space left on device")))

    (outcome,) = run.outcomes
    assert outcome.state == "failed"
    assert outcome.problems[0].startswith(f"the disk is full: {tmp_path} has ")


def test_another_error_of_the_system_is_none_of_a_full_disk(run: Run) -> None:
    with pytest.raises(PermissionError):
        run.work("one", raising(PermissionError(errno.EACCES, "Permission denied")))
    assert run.outcomes == []


def test_a_wrong_health_file_takes_no_receipt(run: Run) -> None:
    """What maintenance there is cannot be known then: the clock is a finding."""
    url = "http://127.0.0.1:9/wrong"
    run.environment = Environment(name="production", services={"api": Service(url=url, origin="")})
    note_date(
        url, {"Date": format_datetime(run.now + timedelta(hours=1), usegmt=True)}, timedelta()
    )
    wrong = ConfigurationInvalid(where="health.yaml", problem="wrong", fix="Correct it")
    with patch("tasks.runs.base.run.read_health", side_effect=wrong):
        assert [one.kind for one in ended(run).findings] == ["clock"]
