"""A service's own /metrics page, where no Prometheus keeps its history."""

import re
from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import cached_property

import numpy as np
from prometheus_client.parser import text_string_to_metric_families

from tasks.core.batch import Batch
from tasks.core.checks import ServiceCheck
from tasks.core.errors import AnswerInvalid, FedvitalsError
from tasks.core.measurement import Measurement, Scrape
from tasks.core.outside import shortened
from tasks.core.ports import History
from tasks.core.services import Service
from tasks.core.window import Window, floor, micros
from tasks.http import Limits
from tasks.sources.histogram import quantile_of
from tasks.sources.http import API, Client, Request, service_checks
from tasks.sources.wide_frame import Key, Wide, key_of

LIMITS = Limits(silence=15.0, total=30.0, largest=32 * 2**20)
MOST_SAMPLES, MOST_LABELS, LONGEST_LINE = 500_000, 3_000_000, 16_384
# its parser takes the square of the time
TOO_LONG = f"a line of more than {LONGEST_LINE} characters"
TEXT_FORMAT = "text/plain;version=0.0.4"
_MALFORMED = (ValueError, IndexError, OverflowError)
# all before a # outside of quotes: what follows is an exemplar of OpenMetrics
_SAMPLE = re.compile(r'(?:[^"#\n]++|"(?:\\.|[^"\\\n])*+")++(?=#)')
MOST_NAMED = 3
Labels = tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class Page:
    """A /metrics page: the service's URL, the time of the scrape (UTC), and the text.

    `skipped` are the lines left out of the text, with number and reason.
    """

    url: str
    time: datetime
    text: str
    skipped: tuple[str, ...] = ()

    @property
    def warnings(self) -> tuple[str, ...]:
        """Return one warning for all skipped lines."""
        if not self.skipped:
            return ()
        named = "; ".join([*self.skipped[:MOST_NAMED], *["…"][: len(self.skipped) - MOST_NAMED]])
        return (f"malformed lines of the metrics page are skipped ({len(self.skipped)}): {named}",)

    @property
    def request(self) -> Request:
        """Return the facts for errors about this page."""
        return Request(service=API.name, url=self.url, what="its metrics page")

    @cached_property
    def samples(self) -> Mapping[str, Mapping[Labels, float]]:
        """Parse, once, the value of each sample, by its name and sorted labels.

        A counter exposed without `_total` is found under both names. Raises AnswerInvalid where the text
        is not in Prometheus's exposition format.
        """
        found: defaultdict[str, dict[Labels, float]] = defaultdict(dict)
        try:
            if any(len(line) > LONGEST_LINE for line in self.text.split("\n")):
                raise ValueError(TOO_LONG)
            for family in text_string_to_metric_families(self.text):
                for sample in family.samples:
                    labels = tuple(sorted(sample.labels.items()))
                    found[sample.name][labels] = float(sample.value)
                if family.type == "counter":
                    found[family.name] = found[f"{family.name}_total"]
        except _MALFORMED as error:
            problem = f"it cannot be parsed: {str(error) or 'a malformed line'}"
            raise self.request.invalid(problem) from error
        return dict(found)


def fetch_page(service: Service, path: str = "/metrics", limits: Limits | None = None) -> Page:
    """Fetch and parse the present page; a malformed line is skipped.

    Raises SourceUnavailable, SourceRefused as Client.ask; AnswerInvalid when it has no line in
    Prometheus's exposition format.
    """
    with Client(service, API, limits or LIMITS) as client:
        time = datetime.now(UTC)
        request = client.request("its metrics page")
        answer = client.ask(path, request.what, accept=TEXT_FORMAT)
        if answer.status >= 300:
            raise client.unexpected(answer, request, f"; the page should be at {path}")
    if "html" in answer.headers.get("Content-Type", ""):
        raise request.invalid("it is an HTML page")
    text = answer.body.decode("utf-8-sig", "surrogateescape")
    if text.count("\n") > MOST_SAMPLES or text.count("=") > MOST_LABELS:
        raise request.invalid(f"it has more than {MOST_SAMPLES} lines or {MOST_LABELS} labels")
    # refused here and once, not in each measurement
    return _readable(Page(service.url, time, "\n".join(map(_without_exemplar, text.split("\n")))))


def _without_exemplar(line: str) -> str:
    found = None if line.startswith("#") or "#" not in line else _SAMPLE.match(line)
    return found[0] if found else line


def _readable(page: Page) -> Page:
    """Return the page without its malformed lines; raise AnswerInvalid if nothing is left."""
    try:
        page.text.encode()
        _ = page.samples
    except (UnicodeEncodeError, AnswerInvalid) as error:
        lines = page.text.split("\n")
        bad = {at: problem for at, line in enumerate(lines) if (problem := _problem(line))}
        text = "\n".join("" if at in bad else line for at, line in enumerate(lines))
        skipped = tuple(f"line {at + 1}: {problem}" for at, problem in bad.items())
        rest = replace(page, text=text, skipped=skipped)
        if not rest.samples:
            raise page.request.invalid(f"it cannot be parsed: {'; '.join(skipped[:1])}") from error
        return rest
    return page


def _problem(line: str) -> str:
    """Return why the line alone cannot be read; empty if it can."""
    if len(line) > LONGEST_LINE:
        return TOO_LONG
    try:
        line.encode()
        list(text_string_to_metric_families(line))
    except UnicodeEncodeError:
        return "it is not UTF-8"
    except _MALFORMED as error:
        return shortened(str(error)) or "a malformed line"
    return ""


def check_api(service: Service, limits: Limits | None = None) -> tuple[ServiceCheck, ...]:
    """Check that the metrics page is reachable, authorises us, and can be parsed."""
    found: str | FedvitalsError
    try:
        page = fetch_page(service, limits=limits)
        found = "; ".join((f"{len(page.samples)} sample names", *page.warnings))
    except FedvitalsError as error:
        found = error
    return service_checks(API, service, "metrics page", found)


class ScrapeSource:
    """Takes one sample of a measurement from a page and, for rates, the one before.

    As in PromQL, a counter that fell was reset: its present value grew from 0. A series that the
    page before lacks has no rate yet.
    """

    name = "scrape"
    history: History = "sample"

    def __init__(self, page: Page, previous: Page | None, now: datetime | None = None) -> None:
        """`now` dates the sample: the run's time, by default the page's."""
        self._page = page
        self._previous = previous
        self._now = now or page.time

    def close(self) -> None:
        """Do nothing: nothing is open."""

    def extract(self, measurement: Measurement, environment: str, window: Window) -> Batch:
        """Return one row a series at the sample's time, floored to `every`.

        Outside the window there are no rows. Fields without a `scrape`, and fields of text, are
        null and listed in `not_served`. A value that is NaN, +Inf or -Inf is dropped and counted.
        Raises AnswerInvalid when the page cannot be parsed, or a value does not fit the field's
        type; SeriesExceeded when there are more series than the measurement may have.
        """
        served = {
            name: spec.scrape
            for name, spec in measurement.fields.items()
            if spec.scrape is not None and spec.type != "string"
        }
        slot = floor(self._now, measurement.every)
        reading = _Reading(measurement, window, self._page, self._previous)
        if window.start <= slot < window.stop:
            for name, scrape in served.items():
                reading.take(name, scrape)
        return Batch(
            measurement=measurement,
            environment=environment,
            window=window,
            frame=reading.wide.frame(environment, np.array([micros(slot)], dtype="int64")),
            dropped=dict(reading.wide.dropped),
            warnings=(*self._page.warnings, *reading.warnings),
            not_served=tuple(name for name in measurement.fields if name not in served),
            unmeasured=frozenset(reading.unmeasured),
        )


class _Reading:
    """The fields of one measurement so far."""

    def __init__(
        self, measurement: Measurement, window: Window, page: Page, previous: Page | None
    ) -> None:
        self.wide = Wide(measurement, window)
        self.warnings: list[str] = []
        self.unmeasured: set[str] = set()
        self._measurement = measurement
        self._page = page
        # without an earlier page there are no rates
        self._previous = previous if previous and previous.time < page.time else None

    def take(self, field: str, scrape: Scrape) -> None:
        """Add one field."""
        sampled = f"{scrape.metric}_bucket" if scrape.as_ == "quantile" else scrape.metric
        if sampled not in self._page.samples:
            self.warnings.append(f"{field}: the page has no {sampled}")
        elif scrape.as_ != "value" and self._previous is None:
            self.warnings.append(f"{field}: needs two scrapes")
            self.unmeasured.add(field)
        elif scrape.as_ == "quantile":
            self._put(field, self._quantiles(sampled, scrape))
        else:
            self._put(field, self._combined(sampled, scrape))

    def _combined(self, sampled: str, scrape: Scrape) -> dict[Key, float]:
        groups: defaultdict[Key, list[float]] = defaultdict(list)
        read = self._values if scrape.as_ == "value" else self._rates
        for labels, value in read(sampled, scrape):
            groups[key_of(labels, self._measurement)].append(value)
        return {key: _combine(values, scrape) * scrape.scale for key, values in groups.items()}

    def _quantiles(self, sampled: str, scrape: Scrape) -> dict[Key, float]:
        groups: defaultdict[Key, dict[float, float]] = defaultdict(lambda: defaultdict(float))
        for labels, growth in self._growths(sampled, scrape):
            try:
                bound = float(labels.get("le", ""))
            except ValueError as error:
                problem = f"{sampled} has the bucket {labels.get('le')!r}"
                raise self._page.request.invalid(problem) from error
            # buckets can only be summed: the catalogue's `combine` has no meaning here
            groups[key_of(labels, self._measurement)][bound] += growth
        quantile = scrape.quantile or 0.0
        found = {key: quantile_of(quantile, buckets) for key, buckets in groups.items()}
        return {key: value * scrape.scale for key, value in found.items() if value is not None}

    def _values(self, sampled: str, scrape: Scrape) -> Iterator[tuple[dict[str, str], float]]:
        for labels, value in self._page.samples[sampled].items():
            named = dict(labels)
            if scrape.labels.items() <= named.items():
                yield named, value

    def _growths(self, sampled: str, scrape: Scrape) -> Iterator[tuple[dict[str, str], float]]:
        before = self._previous.samples.get(sampled, {}) if self._previous else {}
        for labels, value in self._values(sampled, scrape):
            old = before.get(tuple(labels.items()))
            if old is not None:
                yield labels, value - old if value >= old else value

    def _rates(self, sampled: str, scrape: Scrape) -> Iterator[tuple[dict[str, str], float]]:
        if self._previous is not None:
            seconds = (self._page.time - self._previous.time).total_seconds()
            for labels, growth in self._growths(sampled, scrape):
                yield labels, growth / seconds

    def _put(self, field: str, found: dict[Key, float]) -> None:
        values = np.array(list(found.values()), dtype="float64")
        index = self.wide.index(list(found))
        self.wide.put(field, index, np.zeros_like(index), values, self._page.request)


def _combine(values: list[float], scrape: Scrape) -> float:
    """Combine values; as in PromQL, max and min ignore NaN if they can."""
    if scrape.combine == "max":
        return float(np.fmax.reduce(values))
    if scrape.combine == "min":
        return float(np.fmin.reduce(values))
    return sum(values) / (len(values) if scrape.combine == "mean" else 1)
