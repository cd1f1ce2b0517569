"""`slo check` against a Prometheus: retention, scrapes, traffic, and an absent service."""

from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import pytest

from tasks.core.settings import Settings, load_settings
from tasks.core.slos import Slo
from tasks.core.window import Window
from tasks.runs.slo import check as checks
from tasks.sources.wide_frame import Grid
from tests.support.installation import Installation

AT = datetime(2026, 11, 30, 7, 20, 15, tzinfo=UTC)


class Client:
    """A Prometheus that scrapes one job, with so many events a minute."""

    def __init__(self, scrape: str, events: float = 1000) -> None:
        self.scrape, self.events = scrape, events

    def __call__(self, service: Any) -> "Client":
        return self

    def close(self) -> None:
        pass

    def retention(self) -> timedelta:
        return timedelta(days=60)

    def scrape_intervals(self) -> dict[str, timedelta]:
        return {"": timedelta(seconds=15), "s": timedelta(seconds=int(self.scrape))}

    def now(self, query: str, at: datetime, what: str) -> dict[Any, float]:
        return {(("job", "s"),): 2.0} if self.scrape != "0" else {}

    def table(self, query: str, window: Window, step: timedelta, what: str) -> dict[Any, Any]:
        values = np.arange(Grid.of(window, step).slots) * self.events
        return {(("instance", "a"), ("job", "s")): values} if self.scrape != "0" else {}


@pytest.fixture
def settings(tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> Settings:
    installed = Installation(tmp_path, {"PROMETHEUS_URL": "http://127.0.0.1:9"})
    for name, value in installed.variables.items():
        monkeypatch.setenv(name, value)
    one = Slo.model_validate(
        {"id": "mine", "objective": 0.99, "ratio": {"total": "t", "bad": "b"}, "summary": "s"}
    )
    monkeypatch.setattr(checks, "slos_in_force", lambda _: (one,))
    return load_settings()


@pytest.mark.parametrize(
    ("client", "problems"),
    [
        (Client("15"), []),
        (Client("75"), []),
        # 5 minutes are fewer than 4 scrapes of 76 s
        (Client("76"), [("mine fast", "short_window")]),
        (Client("600"), [("mine fast", "short_window"), ("mine slow", "short_window")]),
        (Client("0"), [("mine", "no_indicator")]),
        # 4 events are needed in an hour, and there are 3
        (Client("15", 0.05), [("mine fast", "traffic")]),
    ],
    ids=["good", "just", "slow", "slower", "absent", "idle"],
)
def test_what_is_wrong_is_named(
    settings: Settings,
    monkeypatch: pytest.MonkeyPatch,
    client: Client,
    problems: list[tuple[str, str]],
) -> None:
    monkeypatch.setattr(checks, "RulesClient", client)

    _, found = checks.check(settings, settings.environment(None), AT)

    assert [(one.rule, one.check) for one in found] == problems
