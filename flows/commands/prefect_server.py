"""The Prefect server that records runs, and the check that it answers."""

import os
import tomllib
from pathlib import Path
from typing import TYPE_CHECKING

from tasks.core.checks import ServiceCheck
from tasks.core.errors import ConfigurationInvalid
from tasks.core.whole_file import make_private

if TYPE_CHECKING:
    import requests

VARIABLE = "PREFECT_API_URL"
NOT_RECORDED = f"not recorded in Prefect ({VARIABLE} is not set)"
HOME_VARIABLE = "PREFECT_HOME"
TIMEOUT_SECONDS = 10
FIX = f"Start it (prefect server start), or correct {VARIABLE}"
FIX_ADDRESS = f"Correct {VARIABLE}; its path is /api, as in http://127.0.0.1:4200/api"


def check_server() -> ServiceCheck:
    """Check the server in PREFECT_API_URL; without one, runs are not recorded."""
    import requests

    url = os.environ.get(VARIABLE)
    if not url:
        return ServiceCheck("prefect", "recorded", True, "; ".join([NOT_RECORDED, *_of_profile()]))
    try:
        answer = requests.get(f"{url.rstrip('/')}/health", timeout=TIMEOUT_SECONDS)
    except requests.RequestException:
        return ServiceCheck("prefect", "reachable", False, "no server answers", FIX)
    # permissions are up to the server
    if not (answer.status_code in (401, 403) or (answer.ok and _is_json(answer))):
        detail = f"the address does not answer as a Prefect API (HTTP {answer.status_code})"
        return ServiceCheck("prefect", "reachable", False, detail, FIX_ADDRESS)
    return ServiceCheck("prefect", "reachable", True, f"set by {VARIABLE}")


def _of_profile() -> list[str]:
    """Report the server of the user's active Prefect profile, which commands ignore."""
    home = Path.home() / ".prefect"
    path = Path(os.environ.get("PREFECT_PROFILES_PATH") or home / "profiles.toml")
    try:
        content = tomllib.loads(path.read_text("utf-8"))
    except (OSError, ValueError):
        return []
    profiles, active = content.get("profiles"), content.get("active")
    profile = profiles.get(active) if isinstance(profiles, dict) else None
    url = profile.get(VARIABLE) if isinstance(profile, dict) else None
    return (
        [f"the profile {active} in {path} names {url}. Fix: export {VARIABLE}={url}"] if url else []
    )


def _is_json(answer: "requests.Response") -> bool:
    # the UI's page answers any path that does not begin with /api
    return answer.headers.get("content-type", "").startswith("application/json")


def require_server() -> None:
    """Raise ConfigurationInvalid for a dead server, or an unusable Prefect folder."""
    check = check_server()
    if not check.ok:
        raise ConfigurationInvalid(where=VARIABLE, problem=check.detail, fix=check.fix)
    home = os.environ.get(HOME_VARIABLE)
    try:
        # Prefect creates no parents of its folder, and prints a traceback
        make_private(Path(home or "."))
    except OSError as error:
        problem = f"{home} cannot be created: {error.strerror}"
        fix = "Name a writable folder in it, or in FEDVITALS_HOME"
        raise ConfigurationInvalid(where=HOME_VARIABLE, problem=problem, fix=fix) from error
