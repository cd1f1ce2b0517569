"""Clocks of services: what an answer's date says of them, and what it does not."""

from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from itertools import count

import pytest

from tasks.core import clocks
from tasks.core.clocks import Skew, clock_findings, note_date, skews
from tasks.core.services import Environment, Service

urls = (f"http://127.0.0.1:9/clocks/{number}" for number in count())


@pytest.fixture
def service() -> Service:
    return Service(url=next(urls), origin="here")


def of(service: Service) -> Environment:
    return Environment(name="staging", services={"prometheus": service})


def date(seconds: float) -> str:
    return format_datetime(datetime.now(UTC) + timedelta(seconds=seconds), usegmt=True)


def note(service: Service, seconds: float, took: float = 0.0, **headers: str) -> None:
    note_date(service.url, {"Date": date(seconds), **headers}, timedelta(seconds=took))


@pytest.mark.promise("Health: a service's clock that is not ours is a finding")
@pytest.mark.parametrize(
    ("seconds", "severity"),
    [(4, None), (-4, None), (8, "warning"), (-8, "warning"), (58, "warning"), (63, "high"), (-63, "high")],
)  # fmt: skip
def test_a_difference_is_judged_in_both_directions(
    service: Service, seconds: float, severity: str | None
) -> None:
    note(service, seconds)

    ((_, skew),) = skews(of(service))
    assert skew.severity == severity
    assert skew.ahead == pytest.approx(seconds, abs=1)
    found = list(clock_findings(of(service)))
    assert [(each.severity, each.subject) for each in found] == (
        [(severity, "staging: prometheus")] if severity else []
    )


def test_a_slow_answer_says_little(service: Service) -> None:
    note(service, -20, took=60)
    assert list(clock_findings(of(service))) == []

    note(service, -20, took=1)
    assert [each.severity for each in clock_findings(of(service))] == ["warning"]

    # the faster one stays
    note(service, 0, took=60)
    assert [each.severity for each in clock_findings(of(service))] == ["warning"]


def test_a_reading_does_not_hold_for_ever(
    service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    note(service, 90)
    monkeypatch.setattr(clocks, "_FRESH_SECONDS", -1.0)

    assert list(skews(of(service))) == []


@pytest.mark.parametrize("headers", [{"Date": "yesterday"}, {"Date": ""}, {"Age": "70"}])
def test_no_clock_is_read_from_no_date_nor_from_a_cache(
    service: Service, headers: dict[str, str]
) -> None:
    note(service, 90, **headers)

    assert list(skews(of(service))) == []


def test_words_say_which_clock_is_ahead() -> None:
    assert Skew(75.2, 0.5, 0).words == "75 s ahead of this machine's"
    assert Skew(-75.2, 0.5, 0).words == "75 s behind this machine's"
