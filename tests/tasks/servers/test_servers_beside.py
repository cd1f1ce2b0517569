"""What runs beside `fedvitals serve`: the loop of health checks, where there is something to check."""

import time
from pathlib import Path

import pytest

from tasks.core.settings import load_settings
from tasks.servers.beside import beside, commands


@pytest.mark.parametrize(
    ("variables", "names"),
    [({}, []), ({"FED_VIT_API_URL": "http://127.0.0.1:9"}, ["health watch"])],
)
def test_the_loop_runs_where_something_is_checked(
    tmp_path: Path, variables: dict[str, str], names: list[str]
) -> None:
    settings = load_settings({"FEDVITALS_HOME": str(tmp_path), **variables})

    assert list(commands(settings)) == names


@pytest.mark.slow
def test_the_loop_is_started_and_ended(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("FEDVITALS_HOME", str(tmp_path))
    monkeypatch.setenv("FED_VIT_API_URL", "http://127.0.0.1:9")
    said = ""
    with beside(load_settings()):
        for _ in range(300):
            said += capfd.readouterr().err
            if "sampling the checks" in said:
                break
            time.sleep(0.1)
    said += capfd.readouterr().err

    assert "health watch | fedvitals: sampling the checks of production every 30 s" in said
    assert "health watch | fedvitals: stopped" in said
