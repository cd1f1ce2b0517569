"""The servers that the tests share: started when first needed, stopped at the end."""

from collections.abc import Iterator

import pytest

from tests.support.running_server import RunningServer, started


@pytest.fixture(scope="session")
def testing_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    """In the testing environment, without a token, with HTTPS."""
    folder = str(tmp_path_factory.mktemp("tls"))
    with started("--https-port", "0", "--tls-dir", folder, FED_VIT_AUTORL_ENV="testing") as server:
        yield server


@pytest.fixture(scope="session")
def guarded_server() -> Iterator[RunningServer]:
    """In its default environment, with the token s3cret, without HTTPS."""
    with started(FED_VIT_API_TOKEN="s3cret") as server:
        yield server
