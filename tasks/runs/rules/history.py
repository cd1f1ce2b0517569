"""The past that thresholds are tested on: Prometheus's for an expr, the lake's for a field."""

from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Self

from tasks.analysis.rules.backtest import days_of
from tasks.analysis.rules.promql import absence, condition
from tasks.core.catalogue import Catalogue
from tasks.core.errors import ConfigurationInvalid, SourceUnavailable
from tasks.core.evaluations import Chunk, Evaluations
from tasks.core.measurement import Measurement
from tasks.core.services import Environment
from tasks.core.settings import Settings
from tasks.core.thresholds import Threshold
from tasks.core.window import Window
from tasks.lake.tables import Lake
from tasks.runs.base.observe import history_in_lake, landed_until
from tasks.sources.prometheus_rules import RulesClient

HOUR = timedelta(hours=1)


@dataclass
class History:
    """Evaluations of an environment's thresholds, in chunks, oldest first.

    The limits and `for` need no rule to have run: the queries are evaluated anew.
    """

    environment: Environment
    every: timedelta
    catalogue: Catalogue
    lake: Lake
    client: RulesClient | None
    unavailable: SourceUnavailable | None = None

    @classmethod
    @contextmanager
    def opened(
        cls, settings: Settings, environment: Environment, every: timedelta
    ) -> Iterator[Self]:
        """Open it; `every` is the distance of two evaluations in Prometheus."""
        catalogue = Catalogue.read(settings.config / "metrics.yaml")
        lake, service = Lake(settings.lake_url), environment.services.get("prometheus")
        if service is None:
            yield cls(environment, every, catalogue, lake, None)
            return
        with closing(RulesClient(service)) as client:
            yield cls(environment, every, catalogue, lake, client)

    def interval(self, threshold: Threshold) -> timedelta:
        """Return the distance of two evaluations."""
        if threshold.expr is not None:
            return self.every
        return self._measurement(threshold).step

    def known(self, threshold: Threshold, window: Window) -> Window:
        """Return the window up to what has landed, which is as late as the last run."""
        if threshold.expr is not None:
            return window
        of = threshold, self._measurement(threshold), self.lake, self.environment.name
        return Window(window.start, landed_until(*of, window.stop))

    def values(self, threshold: Threshold, window: Window) -> Iterator[Chunk]:
        """Yield the values where the threshold applies."""
        if threshold.expr is None:
            return (values for values, _ in self._landed(threshold, window))
        bare = threshold.model_copy(update={"comparison": None, "value": None})
        return self._queried(condition(bare), threshold, window, self.every)

    def breaches(self, threshold: Threshold, window: Window) -> Iterator[Chunk]:
        """Yield the evaluations that break the limit."""
        if threshold.expr is not None:
            return self._queried(condition(threshold), threshold, window, self.every)
        chunks = self.values(threshold, window)
        return ({key: threshold.breaches(part) for key, part in one.items()} for one in chunks)

    def absences(self, threshold: Threshold, window: Window) -> Iterator[Chunk]:
        """Yield the evaluations without any value."""
        if threshold.expr is None:
            return ({(): absent} for _, absent in self._landed(threshold, window))
        return self._queried(absence(threshold), threshold, window, self.every)

    def days(self, threshold: Threshold, window: Window) -> int | None:
        """Count the days with a value, looked at each hour in Prometheus; None when unknown."""
        if threshold.comparison is None:
            return None
        if threshold.expr is None:
            chunks = self.values(threshold.model_copy(update={"when": None}), window)
        else:
            chunks = self._queried(f"count({threshold.expr}\n)", threshold, window, HOUR)
        return len(set().union(*(days_of(chunk, window.stop) for chunk in chunks)))

    def _landed(self, threshold: Threshold, window: Window) -> Iterator[tuple[Chunk, Evaluations]]:
        of = threshold, self._measurement(threshold), self.lake, self.environment.name
        return history_in_lake(*of, window)

    def _measurement(self, threshold: Threshold) -> Measurement:
        return self.catalogue[threshold.of_field[0]]

    def _queried(
        self, query: str, threshold: Threshold, window: Window, step: timedelta
    ) -> Iterator[Chunk]:
        if self.client is None:
            raise ConfigurationInvalid(
                where=self.environment.setting("prometheus_url"),
                problem="no Prometheus is configured",
                fix="Set it",
            )
        # a server that does not answer is asked once
        if self.unavailable is not None:
            raise self.unavailable
        try:
            yield from self.client.evaluations(query, window, step, f"rule {threshold.id}")
        except SourceUnavailable as error:
            self.unavailable = error
            raise
