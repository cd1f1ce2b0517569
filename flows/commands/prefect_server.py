"""Whether the Prefect server that runs are told to answers."""

import os
from pathlib import Path
from typing import TYPE_CHECKING

from tasks.core.checks import ServiceCheck
from tasks.core.errors import ConfigurationInvalid

if TYPE_CHECKING:
    import requests

VARIABLE = "PREFECT_API_URL"
HOME_VARIABLE = "PREFECT_HOME"
TIMEOUT_SECONDS = 10
MEND = f"Start it (prefect server start), or correct {VARIABLE}"
MEND_ADDRESS = f"Correct {VARIABLE}; its path is /api, as in http://127.0.0.1:4200/api"


def check_server() -> ServiceCheck | None:
    """The check of the server that PREFECT_API_URL names; None when none is named."""
    import requests

    url = os.environ.get(VARIABLE)
    if not url:
        return None
    try:
        answer = requests.get(f"{url.rstrip('/')}/health", timeout=TIMEOUT_SECONDS)
    except requests.RequestException:
        return ServiceCheck("prefect", "reachable", False, "no server answers", MEND)
    # who may do what is the server's business
    if not (answer.status_code in (401, 403) or (answer.ok and _is_json(answer))):
        detail = f"what answers there is no Prefect API (HTTP {answer.status_code})"
        return ServiceCheck("prefect", "reachable", False, detail, MEND_ADDRESS)
    return ServiceCheck("prefect", "reachable", True, f"named by {VARIABLE}")


def _is_json(answer: "requests.Response") -> bool:
    # the page of the UI answers any path that does not begin with /api
    return answer.headers.get("content-type", "").startswith("application/json")


def require_server() -> None:
    """Refuse a named server that does not answer, and a folder that Prefect cannot have.

    Raises:
        ConfigurationInvalid: naming the variable.
    """
    check = check_server()
    if check is not None and not check.ok:
        raise ConfigurationInvalid(where=VARIABLE, problem=check.detail, mend=check.mend)
    home = os.environ.get(HOME_VARIABLE)
    try:
        # Prefect makes no folder above its own, and complains of that on standard error
        Path(home or ".").mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ConfigurationInvalid(
            where=HOME_VARIABLE,
            problem=f"{home} cannot be made: {error.strerror}",
            mend="Name a folder that can be written in it, or in FEDVITALS_HOME",
        ) from error
