"""Week over week, with the hour of the week taken out."""

from typing import Any

import numpy as np
import pytest

from tasks.analysis.slo.forecast import Past
from tasks.analysis.slo.weekly import weeks

HOURS = np.arange(336)
# a busy hour of 100 a day, and the others with 10
TRAFFIC = np.where(HOURS % 24 == 12, 1000.0, 100.0)


def past(bad: Any, total: Any = TRAFFIC) -> Past:
    return Past(np.asarray(bad, float) * np.ones(336), np.asarray(total, float), 0)


def test_equal_weeks_do_not_differ() -> None:
    found = weeks(past(TRAFFIC * 0.01))

    assert found is not None
    assert found[:2] == pytest.approx((0, 0.01))
    assert not found.is_changed


def test_more_traffic_in_bad_hours_is_no_change() -> None:
    # at noon a tenth is bad, else nothing; in the second week noon has twice the traffic
    total = np.where((HOURS % 24 == 12) & (HOURS >= 168), 2000.0, TRAFFIC)
    bad = np.where(HOURS % 24 == 12, total * 0.1, 0)
    found = weeks(past(bad, total))

    assert found is not None
    assert found.now == pytest.approx(found.before)
    assert found.traffic > 0.2
    plain = [bad[part].sum() / total[part].sum() for part in (slice(168), slice(168, 336))]
    assert plain[1] > 1.2 * plain[0]


@pytest.mark.parametrize(("share", "is_changed"), [(0.011, False), (0.02, True), (0.005, True)])
def test_a_change_is_one_when_chance_does_not_make_it(share: float, is_changed: bool) -> None:
    found = weeks(past(np.where(HOURS < 168, TRAFFIC * 0.01, TRAFFIC * share)))

    assert found is not None
    assert found.is_changed == is_changed


def test_without_two_weeks_or_common_hours_there_is_nothing_to_compare() -> None:
    assert weeks(Past(np.ones(335), np.ones(335), 0)) is None
    assert weeks(past(0, np.where((HOURS < 168) == (HOURS % 2 == 0), 1.0, 0.0))) is None
