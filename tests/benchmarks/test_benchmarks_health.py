"""A round of 200 checks takes hardly longer than its slowest, and little memory."""

import pytest

from benchmarks.health import ENDPOINTS, MOST_MB, MOST_SECONDS_MORE, measure


@pytest.mark.slow
def test_a_round_of_200_checks_is_quick_and_small() -> None:
    figures = measure()

    assert figures["healthy"] == ENDPOINTS
    assert 0 <= figures["seconds_more"] <= MOST_SECONDS_MORE
    assert 0 < figures["mb_more"] <= MOST_MB
