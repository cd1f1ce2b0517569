"""Whether the Prefect server that runs are told to answers."""

import os

from tasks.core.checks import ServiceCheck
from tasks.core.errors import ConfigurationInvalid

VARIABLE = "PREFECT_API_URL"
TIMEOUT_SECONDS = 10
MEND = f"Start it (prefect server start), or correct {VARIABLE}"


def check_server() -> ServiceCheck | None:
    """The check of the server that PREFECT_API_URL names; None when none is named."""
    import requests

    url = os.environ.get(VARIABLE)
    if not url:
        return None
    try:
        # any answer shows that somebody is there; who may do what is the server's business
        requests.get(f"{url.rstrip('/')}/health", timeout=TIMEOUT_SECONDS)
    except requests.RequestException:
        return ServiceCheck("prefect", "reachable", False, "no server answers", MEND)
    return ServiceCheck("prefect", "reachable", True, f"named by {VARIABLE}")


def require_server() -> None:
    """Refuses a named server that does not answer; without one, Prefect starts one for the run.

    Raises:
        ConfigurationInvalid: naming the variable.
    """
    check = check_server()
    if check is not None and not check.ok:
        raise ConfigurationInvalid(where=VARIABLE, problem=check.detail, mend=check.mend)
