"""Fixtures of the tests of sources."""

from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.support.fakes.certificates import Certificates


@pytest.fixture
def certificates(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> "Certificates":
    """Certificates of a CA that is trusted in this test, and alone."""
    # most tests here need none of what it imports
    from tests.support.fakes.certificates import Certificates

    made = Certificates(tmp_path)
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(made.ca_file))
    return made
