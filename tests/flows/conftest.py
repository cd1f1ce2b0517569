from pathlib import Path

import pytest

from tests.flows.installation import Installation
from tests.real.servers import PrefectServer


@pytest.fixture
def bare(tmp_path: Path) -> Installation:
    """An installation without configuration, and without a Prefect server."""
    return Installation(tmp_path)


@pytest.fixture
def installed(tmp_path: Path, prefect_server: PrefectServer) -> Installation:
    """An installation whose runs are told to the session's Prefect server."""
    return Installation(tmp_path, {"PREFECT_API_URL": prefect_server.api_url})
