"""What an environment's sources give of the catalogue now: a look before anything is collected."""

import time
from collections.abc import Iterator
from contextlib import ExitStack, closing
from datetime import datetime, timedelta

from tasks.core.batch import Batch
from tasks.core.errors import FedvitalsError, SeriesExceeded, SourceUnavailable
from tasks.core.measurement import Measurement, SourceName
from tasks.core.ports import Source
from tasks.core.settings import Environment
from tasks.core.window import Window, floor
from tasks.sources.discovery import FieldFinding, probe
from tasks.sources.federated import FederatedSource
from tasks.sources.rest import RestSource
from tasks.sources.scrape import ScrapeSource, fetch_page

# a training that ended yesterday still shows what its rounds have
BACK = timedelta(days=1)
# of two metrics pages, between which a counter grows
APART_SECONDS = 1.0
WHOLE = ""
"""In place of a field's name: the finding is about the whole measurement."""


class Live:
    """Looks at an environment's sources, at each address once; close it afterwards."""

    def __init__(self, environment: Environment, now: datetime, settle_delay: timedelta) -> None:
        """Prometheus is asked for what it has `settle_delay` before `now`, the others for now."""
        self._environment = environment
        self._now = now
        self._settled = now - settle_delay
        self._samplers: dict[SourceName, Source] = {}
        self._open = ExitStack()

    def close(self) -> None:
        """Gives back what was opened."""
        self._open.close()

    def findings(self, measurement: Measurement) -> tuple[FieldFinding, ...]:
        """Find one for each field, or one of the field WHOLE without an answer; none without a source.

        Raises:
            SourceUnavailable, SourceRefused, AnswerInvalid: for what concerns all of Prometheus.
        """
        prometheus = self._environment.prometheus
        if measurement.source == "prometheus" and prometheus is not None:
            return probe(prometheus, measurement, self._settled)
        if measurement.source == "receipt" or self._environment.api is None:
            return ()
        return tuple(self._sampled(measurement))

    def _sampled(self, measurement: Measurement) -> Iterator[FieldFinding]:
        every = measurement.every
        window = Window(floor(self._now - BACK, every), floor(self._now, every) + every)
        try:
            sampler = self._sampler(measurement.source)
            batch = sampler.extract(measurement, self._environment.name, window)
        except SeriesExceeded as error:
            yield FieldFinding(measurement.name, WHOLE, "too_many_series", 0, str(error))
        except FedvitalsError as error:
            # the metrics page is to its measurements what a Prometheus would be
            if isinstance(error, SourceUnavailable) and measurement.source == "prometheus":
                raise
            yield FieldFinding(measurement.name, WHOLE, "refused", 0, str(error))
        else:
            yield from (_of_field(batch, field) for field in measurement.fields)

    def _sampler(self, name: SourceName) -> Source:
        if name not in self._samplers:
            self._samplers[name] = self._opened(name)
        return self._samplers[name]

    def _opened(self, name: SourceName) -> Source:
        api = self._environment.api
        assert api is not None, "without an API nothing is sampled"
        if name == "rest":
            return self._open.enter_context(closing(RestSource(api, now=self._now)))
        if name == "tls":
            # the reader of certificates is needed by few
            from tasks.sources.tls import TlsSource

            return TlsSource(api, now=self._now)
        if name == "federated":
            return self._open.enter_context(closing(FederatedSource(api, lambda *_: None)))
        before = fetch_page(api)
        time.sleep(APART_SECONDS)
        return ScrapeSource(fetch_page(api), before, self._now)


def _of_field(batch: Batch, field: str) -> FieldFinding:
    name = batch.measurement.name
    unfit = batch.rejected[batch.rejected["field"] == field]
    if len(unfit):
        fix = "Give the field the type that the service has"
        return FieldFinding(name, field, "refused", 0, str(unfit["reason"].iloc[0]), fix)
    count = int(batch.frame[field].notna().sum())
    if count:
        return FieldFinding(name, field, "ok", count, f"{count} rows" if count > 1 else "1 row")
    if field in batch.not_served:
        fix = "Give it a `scrape`, or set PROMETHEUS_URL"
        return FieldFinding(name, field, "no_data", 0, "the metrics page does not serve it", fix)
    fix = "Nothing when the service does not have it; else fix the catalogue's entry"
    return FieldFinding(name, field, "no_data", 0, _why_empty(batch, field), fix)


def _why_empty(batch: Batch, field: str) -> str:
    """The warning about the field, else the first that is about no field."""
    parted = [(text, *text.partition(": ")) for text in batch.warnings]
    reported = {name: rest for _, name, _, rest in parted}
    general = (text for text, name, *_ in parted if name not in batch.measurement.fields)
    return reported.get(field) or next(general, "no value now")
