"""A service's REST API: values selected by the catalogue's paths in JSON answers."""

import threading
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from tasks.core.batch import Batch
from tasks.core.json_path import kind_of, obstacle, values_at
from tasks.core.measurement import Measurement, Rest
from tasks.core.ports import History
from tasks.core.services import Service
from tasks.core.window import Window, floor
from tasks.http import Limits
from tasks.sources.http import API, Client, Request
from tasks.sources.json_body import MISSING, fetch_json
from tasks.sources.json_rows import JsonRows
from tasks.sources.json_values import tag_text
from tasks.sources.sample import Shared, nothing, too_late

LIMITS = Limits(connect=5.0, silence=15.0, total=30.0, largest=16 * 2**20)


class RestSource:
    """Takes one sample of a measurement from its endpoint.

    Each endpoint is queried once, on first use; use one source a run. Thread-safe.
    """

    name = "rest"
    history: History = "sample"

    def __init__(
        self, service: Service, limits: Limits | None = None, now: datetime | None = None
    ) -> None:
        """`now` dates the samples: the run's time, by default that of the query."""
        self._now = now
        self._client = Client(service, API, limits or LIMITS)
        self._documents: dict[str, Shared[_Document]] = {}
        self._guard = threading.Lock()

    def close(self) -> None:
        """Release the connections."""
        self._client.close()

    def extract(self, measurement: Measurement, environment: str, window: Window) -> Batch:
        """Return one row, or one per item of `rest.rows`, at the sample's floored time.

        Outside the window there are no rows, and no query. A missing endpoint or path gives nulls
        and a warning; values are fitted as in JsonRows. Rows with equal tags stay, for the suite to
        reject. Raises SourceUnavailable, SourceRefused, CertificateInvalid as Client.ask;
        AnswerInvalid when it is not JSON, too large, or has another type where an object or a list
        belongs.
        """
        rest = measurement.rest
        assert rest is not None, "a measurement of this source has the place of its rows"
        sample = self._document(rest.endpoint).within(window, measurement.every)
        if sample is None:
            return too_late(measurement, environment, window)
        if sample.seen.content is MISSING:
            warning = f"{rest.endpoint} is not offered by this service"
            return nothing(measurement, environment, window, warning)
        reading = _Reading(measurement, environment, sample.seen.request)
        reading.rows.warnings.extend(sample.warnings(measurement.every))
        reading.take(sample.seen.content, rest, floor(sample.time, measurement.every))
        return reading.rows.batch(window)

    def _document(self, endpoint: str) -> "Shared[_Document]":
        with self._guard:
            shared = Shared(lambda: self._fetch(endpoint), self._now)
            return self._documents.setdefault(endpoint, shared)

    def _fetch(self, endpoint: str) -> "_Document":
        request = self._client.request(endpoint)
        hint = ", and rest.endpoint in the catalogue"
        return _Document(request, fetch_json(self._client, endpoint, request, hint))


@dataclass(frozen=True)
class _Document:
    """An endpoint's answer; its content is MISSING when the service does not offer it."""

    request: Request
    content: Any


class _Reading:
    """Finds a measurement's rows in a body."""

    def __init__(self, measurement: Measurement, environment: str, request: Request) -> None:
        self.rows = JsonRows(measurement, environment)
        self._measurement = measurement
        self._request = request

    def take(self, content: Any, rest: Rest, time: datetime) -> None:
        """Add an endpoint's answer, dated with this time; may raise AnswerInvalid."""
        for row in self._rows(content, rest):
            tags = tuple(self._tag(rest.tags[tag], row) for tag in self._measurement.tags)
            values = {name: self._field(name, row) for name in self._measurement.fields}
            self.rows.add(time, tags, values)

    def _rows(self, content: Any, rest: Rest) -> list[dict[str, Any]]:
        if rest.rows is None:
            return [self._object(content, "the body")]
        found = self._value_at(rest.rows, content)
        if found is None:
            warning = f"{rest.endpoint} has no {rest.rows}: not offered by this service"
            self.rows.warnings.append(warning)
            return []
        if not isinstance(found, list):
            raise self._request.invalid(f"{rest.rows} is {kind_of(found)}, not a list")
        return [self._object(item, f"an item of {rest.rows}") for item in found]

    def _object(self, value: Any, what: str) -> dict[str, Any]:
        if not isinstance(value, dict):
            raise self._request.invalid(f"{what} is {kind_of(value)}, not an object")
        return value

    def _value_at(self, path: str, row: Any) -> Any:
        """Return the value that the path selects; None for null and for nothing."""
        found = self._look(path, row)
        return None if found is MISSING else found

    def _look(self, path: str, row: Any) -> Any:
        found = values_at(path, row)
        if len(found) > 1:
            raise self._request.invalid(f"{path} selects {len(found)} values, not one")
        if found:
            return found[0]
        wrong = obstacle(path, row)
        if wrong is not None:
            raise self._request.invalid(f"{wrong}, so {path} does not exist")
        return MISSING

    def _tag(self, path: str, row: dict[str, Any]) -> str | None:
        try:
            return tag_text(self._value_at(path, row))
        except TypeError as error:
            raise self._request.invalid(f"the tag at {path} is {error}") from error

    def _field(self, name: str, row: dict[str, Any]) -> Any:
        path = self._measurement.fields[name].path
        assert path is not None, "a field of this source has a path"
        return self._look(path, row)
