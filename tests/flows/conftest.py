from collections.abc import Iterator
from pathlib import Path

import pytest
from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.settings import PREFECT_API_URL, temporary_settings

from tests.flows.installation import Installation
from tests.real.servers import PrefectServer


@pytest.fixture
def bare(tmp_path: Path) -> Installation:
    """An installation without configuration, and without a Prefect server."""
    return Installation(tmp_path)


@pytest.fixture
def installed(tmp_path: Path, prefect_server: PrefectServer) -> Installation:
    """An installation whose runs are recorded in the session's Prefect server."""
    return Installation(tmp_path, {"PREFECT_API_URL": prefect_server.api_url})


@pytest.fixture
def client(prefect_server: PrefectServer) -> Iterator[SyncPrefectClient]:
    """A client of the session's Prefect server."""
    with (
        temporary_settings({PREFECT_API_URL: prefect_server.api_url}),
        get_client(sync_client=True) as made,
    ):
        yield made
