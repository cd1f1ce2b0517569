"""Fixtures of the tests of tasks."""

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.tasks.workbench import Bench


@pytest.fixture
def bench(tmp_path: Path) -> "Iterator[Bench]":
    """Tools on the local disk for one measurement with the fields share_ratio and size_bytes."""
    # most tests below here need none of what it imports
    from tests.tasks.workbench import a_bench

    bench = a_bench(tmp_path)
    yield bench
    bench.ledger.close()
