"""Back-test thresholds, whether or not a rule ran, and learn limits from history."""

from collections.abc import Iterable, Iterator
from contextlib import closing
from datetime import timedelta

from tasks.analysis.rules.backtest import BackTest, days_of, firings
from tasks.analysis.rules.firing import Alert
from tasks.analysis.rules.learn import Learned, learn
from tasks.analysis.rules.promql import absence, condition
from tasks.core.alert_report import LimitLine
from tasks.core.catalogue import Catalogue
from tasks.core.errors import ConfigurationInvalid, FedvitalsError, SourceUnavailable, UsageInvalid
from tasks.core.evaluations import Chunk
from tasks.core.services import Environment
from tasks.core.settings import Settings
from tasks.core.thresholds import NEVER, NO_DATA, Threshold
from tasks.core.window import Window
from tasks.lake.tables import Lake
from tasks.runs.base.observe import Landed
from tasks.runs.base.thresholds import thresholds_in_force
from tasks.runs.rules.edit import named
from tasks.sources.prometheus_rules import RulesClient

DAY, TEN_MINUTES = timedelta(days=1), timedelta(minutes=10)


class Past:
    """An environment's history: Prometheus's for an expr, the lake's for a field."""

    def __init__(self, settings: Settings, environment: Environment) -> None:
        self._settings, self._environment = settings, environment
        self._file = thresholds_in_force(settings)
        self._catalogue = Catalogue.read(settings.config / "metrics.yaml")
        self._lake, service = Lake(settings.lake_url), environment.services.get("prometheus")
        self._client = RulesClient(service) if service else None

    def close(self) -> None:
        """Release the connections."""
        if self._client:
            self._client.close()

    def chosen(self, names: Iterable[str]) -> list[Threshold]:
        """Return the named thresholds, or all of the environment."""
        name, chosen = self._environment.name, [named(self._settings, each) for each in names]
        for each in chosen:
            if not each.applies_in(name):
                problem = f"{each.id} is a threshold of {each.environment}, not of {name}"
                raise UsageInvalid(argument="ID", problem=problem, fix=f"Add -e {each.environment}")
        return chosen or [each for each in self._file.thresholds.values() if each.applies_in(name)]

    def tests(self, threshold: Threshold, window: Window) -> Iterator[BackTest]:
        """Test a threshold, then its alert on missing data; raise SourceUnavailable.

        Any other error is the test's problem.
        """
        alert = Alert(threshold.for_, threshold.keep_firing_for, self._interval(threshold))
        yield self._test(threshold, window, alert)
        if after := threshold.no_data_after:
            yield self._test(threshold, window, Alert(after, NEVER, alert.interval), NO_DATA)

    def learn(self, threshold: Threshold, window: Window) -> tuple[Learned, list[BackTest]]:
        """Propose a limit; return it with tests of the present one and of it."""
        present = next(self.tests(threshold, window))
        if present.problem:
            return Learned(threshold.id, reason=present.problem), [present]
        if threshold.expr:
            values = self._queried(threshold, condition(_unlimited(threshold)), present.window)
        else:
            values = (chunk for chunk, _ in self._landed(threshold).evaluations(present.window))
        learned = learn(threshold, values, present.interval, present.window.stop)
        if learned.limit is None:
            return learned, [present]
        changed = threshold.model_copy(update={"value": learned.limit})
        return learned, [present, next(self.tests(changed, window))]

    def _test(
        self, threshold: Threshold, window: Window, alert: Alert, suffix: str = ""
    ) -> BackTest:
        of = f"{threshold.id}{suffix}", threshold, self._environment.name, alert.interval
        days: set[int] = set()
        try:
            if threshold.field:
                # what has not landed is not missing
                newest = self._landed(threshold).newest(window.stop) or window.stop
                window = Window(window.start, min(newest + timedelta.resolution, window.stop))
            # what began before the window may fire at its start
            earlier = window.start - alert.for_ - alert.keep_firing_for - alert.interval
            part = self._queries if threshold.expr else self._rows
            chunks = part(threshold, Window(earlier, window.stop), bool(suffix), days)
            found = firings(chunks, alert, window)
        except SourceUnavailable:
            raise
        except FedvitalsError as error:
            return BackTest(*of, window, problem=str(error))
        number = sum(day * DAY < window.length for day in days)
        return BackTest(*of, window, found, number if threshold.comparison else None)

    def _interval(self, threshold: Threshold) -> timedelta:
        return self._landed(threshold).measurement.step if threshold.field else self._file.interval

    def _landed(self, threshold: Threshold) -> Landed:
        return Landed(threshold, self._catalogue, self._lake, self._environment.name)

    def _rows(
        self, threshold: Threshold, window: Window, is_absence: bool, days: set[int]
    ) -> Iterator[Chunk]:
        """Yield the breaches, or where no value came, and add the days with a value."""
        for chunk, absent in self._landed(threshold).evaluations(window):
            days |= days_of(chunk, window.stop)
            broken = {labels: threshold.breaches(part) for labels, part in chunk.items()}
            yield {(): absent} if is_absence else broken

    def _queries(
        self, threshold: Threshold, window: Window, is_absence: bool, days: set[int]
    ) -> Iterator[Chunk]:
        """Do the same in Prometheus, where each tenth minute of a long window shows the days."""
        if threshold.comparison:
            step = TEN_MINUTES if window.length > DAY else None
            query = f"count({condition(_unlimited(threshold))})"
            for chunk in self._queried(threshold, query, window, step):
                days |= days_of(chunk, window.stop)
        query = absence(threshold) if is_absence else condition(threshold)
        yield from self._queried(threshold, query, window)

    def _queried(
        self, threshold: Threshold, query: str, window: Window, step: timedelta | None = None
    ) -> Iterator[Chunk]:
        if self._client is None:
            where = self._environment.setting("prometheus_url")
            problem = "no Prometheus is configured"
            raise ConfigurationInvalid(where=where, problem=problem, fix="Set it")
        what, step = f"rule {threshold.id}", step or self._file.interval
        return self._client.evaluations(query, window, step, what)


def learned_limits(
    settings: Settings, environment: Environment, window: Window
) -> Iterator[LimitLine]:
    """Yield the limits that history would set elsewhere; raise SourceUnavailable."""
    with closing(Past(settings, environment)) as past:
        for each in past.chosen(()):
            if each.mode != "alert" or each.value is None:
                continue
            learned, tests = past.learn(each, window)
            if learned.limit is not None and learned.limit != each.value:
                fires = len(tests[-1].firings)
                yield LimitLine(rule=each.id, limit=each.value, learned=learned.limit, fires=fires)


def _unlimited(threshold: Threshold) -> Threshold:
    """Return it with all numbers as breaches, where it applies; a quotient of nothing is NaN."""
    return threshold.model_copy(update={"comparison": ">=", "value": float("-inf")})
