"""Back-test thresholds, whether or not a rule ran, and learn limits from history."""

from collections.abc import Iterable, Iterator
from datetime import timedelta
from typing import Literal

from tasks.analysis.rules.backtest import BackTest, days_of, firings
from tasks.analysis.rules.firing import Alert
from tasks.analysis.rules.learn import Learned, learn
from tasks.analysis.rules.promql import absence, condition
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

HOUR = timedelta(hours=1)
Kind = Literal["values", "breaches", "absences"]


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
        chunks = self._chunks(threshold, present.window, "values")
        learned = learn(threshold, chunks, present.interval, present.window.stop)
        if learned.limit is None:
            return learned, [present]
        changed = threshold.model_copy(update={"value": learned.limit})
        return learned, [present, next(self.tests(changed, window))]

    def _test(
        self, threshold: Threshold, window: Window, alert: Alert, suffix: str = ""
    ) -> BackTest:
        of = f"{threshold.id}{suffix}", threshold, self._environment.name, alert.interval
        try:
            if threshold.field:
                # what has not landed is not missing
                newest = self._landed(threshold).newest(window.stop) or window.stop
                window = Window(window.start, min(newest + timedelta.resolution, window.stop))
            # what began before the window may fire at its start
            earlier = window.start - alert.for_ - alert.keep_firing_for - alert.interval
            kind: Kind = "absences" if suffix else "breaches"
            breaches = self._chunks(threshold, Window(earlier, window.stop), kind)
            found = firings(breaches, alert, window)
            return BackTest(*of, window, found, self._days(threshold, window))
        except SourceUnavailable:
            raise
        except FedvitalsError as error:
            return BackTest(*of, window, problem=str(error))

    def _interval(self, threshold: Threshold) -> timedelta:
        return self._landed(threshold).measurement.step if threshold.field else self._file.interval

    def _landed(self, threshold: Threshold) -> Landed:
        return Landed(threshold, self._catalogue, self._lake, self._environment.name)

    def _chunks(self, threshold: Threshold, window: Window, kind: Kind) -> Iterator[Chunk]:
        if threshold.expr:
            bare = threshold.model_copy(update={"comparison": None, "value": None})
            queries = {"values": condition(bare), "breaches": condition(threshold)}
            query = queries.get(kind) or absence(threshold)
            yield from self._queried(threshold, query, window, self._file.interval)
            return
        for chunk, absent in self._landed(threshold).evaluations(window):
            if kind == "breaches":
                yield {labels: threshold.breaches(part) for labels, part in chunk.items()}
            else:
                yield chunk if kind == "values" else {(): absent}

    def _days(self, threshold: Threshold, window: Window) -> int | None:
        """Count the days with a value, looked at each hour in Prometheus; None when unknown."""
        if threshold.comparison is None:
            return None
        if threshold.expr:
            chunks = self._queried(threshold, f"count({threshold.expr}\n)", window, HOUR)
        else:
            always = threshold.model_copy(update={"when": None})
            chunks = self._chunks(always, window, "values")
        return len(set[int]().union(*(days_of(chunk, window.stop) for chunk in chunks)))

    def _queried(
        self, threshold: Threshold, query: str, window: Window, step: timedelta
    ) -> Iterator[Chunk]:
        if self._client is None:
            where, problem = (
                self._environment.setting("prometheus_url"),
                "no Prometheus is configured",
            )
            raise ConfigurationInvalid(where=where, problem=problem, fix="Set it")
        return self._client.evaluations(query, window, step, f"rule {threshold.id}")
