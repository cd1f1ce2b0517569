from collections.abc import Iterator

import pytest

from tests.support.nursery import Nursery, a_nursery


@pytest.fixture(scope="session")
def nursery(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Nursery]:
    """Runs that are processes of their own, born of one that has imported everything."""
    with a_nursery(tmp_path_factory.mktemp("nursery") / "log") as nursery:
        yield nursery
