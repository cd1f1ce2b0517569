"""Back-test thresholds, whether or not a rule ran, and learn limits from history."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from tasks.analysis.rules.backtest import BackTest, firings
from tasks.analysis.rules.firing import Alert
from tasks.analysis.rules.learn import Learned, learn
from tasks.core.errors import FedvitalsError, UsageInvalid
from tasks.core.services import Environment
from tasks.core.settings import Settings
from tasks.core.thresholds import NO_DATA, Threshold
from tasks.core.window import Window
from tasks.runs.base.thresholds import thresholds_in_force
from tasks.runs.rules.edit import named
from tasks.runs.rules.history import History


def backtest(
    settings: Settings, environment: Environment, names: Sequence[str], window: Window
) -> list[BackTest]:
    """Test the named thresholds, or all of the environment, and their alerts on missing data."""
    file = thresholds_in_force(settings)
    chosen = _chosen(settings, environment, names)
    with History.opened(settings, environment, file.interval) as history:
        return [found for each in chosen for found in tested(history, each, window)]


def _chosen(settings: Settings, environment: Environment, names: Sequence[str]) -> list[Threshold]:
    chosen = [named(settings, name) for name in names] or [
        each
        for each in thresholds_in_force(settings).thresholds.values()
        if each.applies_in(environment.name)
    ]
    for each in chosen:
        if not each.applies_in(environment.name):
            problem = f"{each.id} is a threshold of {each.environment}, not of {environment.name}"
            raise UsageInvalid(argument="ID", problem=problem, fix=f"Add -e {each.environment}")
    return chosen


def tested(history: History, threshold: Threshold, window: Window) -> Iterator[BackTest]:
    """Yield the back-test of a threshold, and of its alert on missing data if it has one."""
    keep = threshold.keep_firing_for
    yield _tested(history, threshold, window, threshold.id, (threshold.for_, keep))
    if threshold.no_data_after is not None:
        held = threshold.no_data_after, timedelta(0)
        yield _tested(history, threshold, window, threshold.id + NO_DATA, held)


def _tested(
    history: History,
    threshold: Threshold,
    window: Window,
    name: str,
    held: tuple[timedelta, timedelta],
) -> BackTest:
    interval, source = history.interval(threshold), history.breaches
    if name != threshold.id:
        source = history.absences
    environment = history.environment.name
    try:
        window = history.known(threshold, window)
        # what began before the window may fire at its start
        earlier = Window(window.start - sum(held, interval), window.stop)
        found = firings(source(threshold, earlier), Alert(*held, interval), window)
        days = history.days(threshold, window)
    except FedvitalsError as error:
        problem = str(error)
        return BackTest(name, threshold, environment, window, interval, problem=problem)
    return BackTest(name, threshold, environment, window, interval, found, days)


@dataclass(frozen=True)
class Lesson:
    """A limit proposed for a threshold, beside the back-test of the present one."""

    learned: Learned
    present: BackTest
    proposed: BackTest | None

    @property
    def threshold(self) -> Threshold:
        """Return the threshold as it is."""
        return self.present.threshold

    def row(self) -> dict[str, Any]:
        """Return it as a row of a table."""
        present = self.present.row()
        proposed = self.proposed.row() if self.proposed else dict.fromkeys(present)
        return {
            "rule": self.threshold.id,
            "limit": present["limit"],
            "fired": present["fired"],
            "firing": present["firing"],
            "learned": proposed["limit"],
            "would fire": proposed["fired"],
            "for": proposed["firing"],
            "days": self.learned.days,
            "reached": self.learned.reached or None,
        }

    def document(self) -> dict[str, Any]:
        """Return it as a JSON document."""
        return {
            "rule": self.threshold.id,
            "days": self.learned.days,
            "reached": self.learned.reached,
            "learned": self.learned.limit,
            "reason": self.learned.reason,
            "present_backtest": self.present.document(),
            "learned_backtest": self.proposed.document() if self.proposed else None,
        }


def learn_limits(
    settings: Settings, environment: Environment, names: Sequence[str], window: Window
) -> list[Lesson]:
    """Propose a limit for the named thresholds, or for all of the environment."""
    file = thresholds_in_force(settings)
    chosen = _chosen(settings, environment, names)
    with History.opened(settings, environment, file.interval) as history:
        return [_lesson(history, each, window) for each in chosen]


def _lesson(history: History, threshold: Threshold, window: Window) -> Lesson:
    present = next(tested(history, threshold, window))
    try:
        window = history.known(threshold, window)
        chunks = history.values(threshold, window)
        learned = learn(threshold, chunks, history.interval(threshold), window.stop)
    except FedvitalsError as error:
        learned = Learned(reason=str(error))
    if learned.limit is None:
        return Lesson(learned, present, None)
    changed = threshold.model_copy(update={"value": learned.limit})
    return Lesson(learned, present, next(tested(history, changed, window)))
