"""How a command ends when its flow does not end well."""

import errno
import os
import sys
from types import SimpleNamespace

import pytest
import typer
from prefect.client.schemas.objects import State
from prefect.states import Completed, Failed

from flows.commands.running import run_flow
from tasks.core.errors import LedgerUnavailable


def command(monkeypatch: pytest.MonkeyPatch, state: State[object]) -> typer.Typer:
    """One that runs a flow of this end, and prints what it answered."""
    monkeypatch.delenv("PREFECT_API_URL", raising=False)
    monkeypatch.setitem(
        sys.modules, "flows.ended", SimpleNamespace(ended=lambda return_state: state)
    )
    app = typer.Typer(pretty_exceptions_enable=False)
    app.command()(lambda: print(run_flow("ended")))
    return app


def test_what_the_flow_answered_is_printed(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        command(monkeypatch, Completed(data="a receipt"))([])
    assert (ended.value.code, capsys.readouterr().out) == (0, "a receipt\n")


@pytest.mark.parametrize(
    "error", [LedgerUnavailable(url="sqlite://", problem="locked"), OSError(errno.EIO, "failed")]
)
def test_what_ended_the_flow_is_raised(monkeypatch: pytest.MonkeyPatch, error: Exception) -> None:
    with pytest.raises(type(error)) as raised:
        command(monkeypatch, Failed(data=error))([])
    assert raised.value is error


def test_a_connection_that_broke_off_is_no_silent_end(monkeypatch: pytest.MonkeyPatch) -> None:
    """The command line takes a broken pipe for its reader's wish for no more."""
    error = BrokenPipeError(errno.EPIPE, os.strerror(errno.EPIPE))
    with pytest.raises(RuntimeError, match=r"a connection of the run broke off: .*Broken pipe"):
        command(monkeypatch, Failed(data=error))([])
