"""What an environment's sources give of the catalogue now: a look before anything is collected."""

import time
from collections.abc import Iterator
from contextlib import ExitStack, closing
from datetime import datetime, timedelta

from tasks.core.batch import Batch, check_series
from tasks.core.errors import FedvitalsError, SeriesExceeded, SourceUnavailable
from tasks.core.measurement import Measurement
from tasks.core.ports import Source, SourceKind, SourceOpening
from tasks.core.services import Environment
from tasks.core.window import Window, floor
from tasks.runs.base.registry import API, source_in
from tasks.sources.discovery import FieldFinding
from tasks.sources.scrape import fetch_page

# a training that ended yesterday still shows what its rounds have
BACK = timedelta(days=1)
# of two metrics pages, between which a counter grows
APART_SECONDS = 1.0
WHOLE = ""
"""In place of a field's name: the finding is about the whole measurement."""


class Live:
    """Looks at an environment's sources, at each address once; close it afterwards."""

    def __init__(self, environment: Environment, now: datetime) -> None:
        """All are asked for now: a look right after `init` shows what a later run collects."""
        self._environment = environment
        self._now = now
        self._samplers: dict[str, Source] = {}
        self._open = ExitStack()

    def close(self) -> None:
        """Gives back what was opened."""
        self._open.close()

    def findings(self, measurement: Measurement) -> tuple[FieldFinding, ...]:
        """Find one for each field, or one of the field WHOLE without an answer; none without a source.

        Raises:
            SourceUnavailable, SourceRefused, AnswerInvalid: for what concerns all of Prometheus.
        """
        kind = None if measurement.is_own else source_in(measurement.source, self._environment)
        if kind is None:
            return ()
        if kind.probe is not None:
            service = self._environment.services[kind.service_name]
            return kind.probe(service, measurement, self._now)
        return tuple(self._sampled(measurement, kind))

    def _sampled(self, measurement: Measurement, kind: SourceKind) -> Iterator[FieldFinding]:
        every = measurement.every
        window = Window(floor(self._now - BACK, every), floor(self._now, every) + every)
        try:
            sampler = self._sampler(kind)
            batch = sampler.extract(measurement, self._environment.name, window)
            if kind.history == "sample":
                check_series(batch.frame, measurement, window)
        except SeriesExceeded as error:
            yield FieldFinding(measurement.name, WHOLE, "too_many_series", 0, str(error))
        except FedvitalsError as error:
            # a stand-in is to its measurements what the source itself would be
            if isinstance(error, SourceUnavailable) and kind.name != measurement.source:
                raise
            yield FieldFinding(measurement.name, WHOLE, "refused", 0, str(error))
        else:
            yield from (_of_field(batch, field) for field in measurement.fields)

    def _sampler(self, kind: SourceKind) -> Source:
        if kind.name not in self._samplers:
            opening = SourceOpening(
                service=self._environment.services.get(kind.service_name),
                retry_timeout=timedelta(0),
                environment=self._environment.name,
                now=self._now,
                last_page=self._page_before,
            )
            self._samplers[kind.name] = self._open.enter_context(closing(kind.open(opening)))
        return self._samplers[kind.name]

    def _page_before(self, url: str) -> tuple[datetime, bytes]:
        """Return a page of a moment ago, so that what grows can be seen."""
        api = self._environment.services[API]
        page = fetch_page(api)
        time.sleep(APART_SECONDS)
        return page.time, page.text.encode()


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
