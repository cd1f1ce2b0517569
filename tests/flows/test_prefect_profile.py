"""What `doctor` says of Prefect where no PREFECT_API_URL is set: runs are not recorded, and why not."""

from pathlib import Path

import pytest

from tests.support.installation import Installation

NAMED = """
active = "local"
[profiles.local]
PREFECT_API_URL = "http://127.0.0.1:4200/api"
[profiles.other]
"""


def doctor_says(installation: Installation) -> str:
    checks = installation.here("doctor", "--json").document["checks"]
    (found,) = [each for each in checks if each["service"] == "prefect"]
    assert (found["what"], found["ok"]) == ("recorded", True)
    return str(found["detail"])


def test_a_profile_that_names_a_server_is_reported_with_what_to_do(
    bare: Installation, tmp_path: Path
) -> None:
    (tmp_path / ".prefect").mkdir()
    (tmp_path / ".prefect" / "profiles.toml").write_text(NAMED)
    bare.variables["HOME"] = str(tmp_path)

    assert doctor_says(bare) == (
        "not recorded in Prefect (PREFECT_API_URL is not set); the profile local in "
        f"{tmp_path}/.prefect/profiles.toml names http://127.0.0.1:4200/api. "
        "Fix: export PREFECT_API_URL=http://127.0.0.1:4200/api"
    )


@pytest.mark.parametrize("content", ["", 'active = "other"\n' + NAMED[17:], "no toml ["])
def test_without_one_it_says_that_runs_are_not_recorded(
    bare: Installation, tmp_path: Path, content: str
) -> None:
    (tmp_path / "profiles.toml").write_text(content)
    bare.variables["PREFECT_PROFILES_PATH"] = str(tmp_path / "profiles.toml")

    assert doctor_says(bare) == "not recorded in Prefect (PREFECT_API_URL is not set)"
