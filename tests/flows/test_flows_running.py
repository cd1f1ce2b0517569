"""How a command runs its steps, with Prefect and without, and ends when they do not end well."""

import errno
import os
import subprocess
import sys
from dataclasses import dataclass
from types import SimpleNamespace

import pytest
import typer
from prefect.client.schemas.objects import State
from prefect.states import Completed, Failed

from flows.commands.running import run_command
from tasks.core.errors import LedgerUnavailable
from tests.support.faulty import constant, faulty_prometheus
from tests.support.installation import PLACES, Installation, entry

HOUR = ("--start", "2026-03-01T00:00:00Z", "--stop", "2026-03-01T01:00:00Z")


@dataclass(frozen=True)
class Asked:
    """What a flow without parameters of its own is asked for."""


def command(monkeypatch: pytest.MonkeyPatch, state: State[object]) -> typer.Typer:
    """One that runs a flow of this end, and prints what it answered."""
    monkeypatch.setenv("PREFECT_API_URL", "http://127.0.0.1:9/api")
    monkeypatch.setattr("flows.commands.running.require_server", lambda: None)

    def ended(return_state: bool) -> State[object]:
        return state

    ended.parameters = SimpleNamespace(properties={})  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "flows.ended", SimpleNamespace(ended=ended))
    app = typer.Typer(pretty_exceptions_enable=False)
    app.command()(lambda: print(run_command("ended", Asked())))
    return app


def test_what_the_flow_answered_is_printed(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        command(monkeypatch, Completed(data="a receipt"))([])
    assert ended.value.code == 0
    assert tuple(capsys.readouterr()) == ("a receipt\n", "")


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


COMMAND = """
import sys
from flows.cli import main
try:
    main()
except SystemExit as end:
    assert not end.code, end.code
slow = ("prefect", "matplotlib", "great_expectations", "distributed", "httpx")
print([name for name in slow if name in sys.modules], file=sys.stderr)
"""


def imported(here: Installation, *arguments: str) -> list[str]:
    """What the command says on standard error, the slow modules that it imported at the end."""
    done = subprocess.run(
        [sys.executable, "-c", COMMAND, *arguments],
        env={**here.environment, "PYTHONPATH": os.getcwd()},
        cwd=here.folder,
        capture_output=True,
        text=True,
        check=True,
    )
    return PLACES.sub("", done.stderr).splitlines()


@pytest.mark.slow
@pytest.mark.promise("Prefect: without Prefect a run lands, loads and reports as a flow run does")
def test_without_prefects_address_nothing_of_prefect_is_imported_and_a_line_says_so(
    bare: Installation,
) -> None:
    line = "fedvitals: not recorded in Prefect (PREFECT_API_URL is not set)"
    with faulty_prometheus() as prometheus:
        prometheus.queries["a"] = [constant()]
        bare.variables["PROMETHEUS_URL"] = prometheus.url
        bare.configure({"m": entry("a")})
        first = imported(bare, "collect", *HOUR)
        idle = imported(bare, "collect", *HOUR)

    # what a report and a suite need, and no more
    assert first == [line, "['matplotlib', 'great_expectations']"]
    assert idle == [line, "[]"]
    assert bare.files("prefect") == []


@pytest.mark.parametrize(("level", "shown"), [("INFO", True), ("WARNING", False), ("", False)])
def test_the_lines_of_a_run_are_shown_when_asked_for(
    bare: Installation, level: str, shown: bool
) -> None:
    bare.variables |= {"PROMETHEUS_URL": "http://127.0.0.1:9", "PREFECT_LOGGING_LEVEL": level}
    bare.configure({"m": entry("a")})
    ran = bare.here("collect", *HOUR)
    assert ("in production: 1 measurements, 2026-03-01T00:00:00Z to" in ran.err) == shown
    # warnings are there in any case
    assert ran.places.count("is a new home") == 1


def test_another_flows_on_pythonpath_does_not_take_the_place_of_ours(bare: Installation) -> None:
    for name in ("flows", "tasks"):
        (bare.folder / name).mkdir()
        (bare.folder / name / "__init__.py").touch()
    bare.variables["PYTHONPATH"] = "."
    assert bare.run("--version").code == 0
    # they are in the way indeed
    code = [sys.executable, "-c", "import flows.cli"]
    done = subprocess.run(code, cwd=bare.folder, env=bare.environment, capture_output=True)
    assert b"No module named 'flows.cli'" in done.stderr


@pytest.mark.slow
@pytest.mark.parametrize("name", ["replay", "reconcile", "maintain", "federated", "backfill"])
def test_no_other_command_needs_prefect_either(bare: Installation, name: str) -> None:
    """An installation of which each command has something to do, and nothing answers."""
    address = "http://127.0.0.1:9"
    bare.variables |= {"PROMETHEUS_URL": address, "FED_VIT_API_URL": address}
    bare.variables |= {"INFLUXDB_URL": address, "INFLUXDB_TOKEN": "planted"}
    bare.configure({"m": entry("a"), "f": {**entry("b"), "type": "federated"}})
    more = {"replay": ("--sink", "influxdb"), "backfill": HOUR}.get(name, ())
    code = COMMAND.replace("assert not end.code, end.code", "pass")
    done = subprocess.run(
        [sys.executable, "-c", code, name, "--json", *more],
        env={**bare.environment, "PYTHONPATH": os.getcwd()},
        cwd=bare.folder,
        capture_output=True,
        text=True,
        check=True,
    )
    assert f'"flow": "{name}"' in done.stdout
    assert "prefect" not in done.stderr.splitlines()[-1]
