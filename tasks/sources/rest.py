"""A service's REST API: what the paths of the catalogue select in its JSON answers."""

import threading
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from tasks.core.batch import Batch
from tasks.core.json_path import kind_of, obstacle, values_at
from tasks.core.measurement import Measurement, Rest
from tasks.core.ports import History
from tasks.core.settings import Service
from tasks.core.window import Window, floor
from tasks.http import Limits
from tasks.sources.http import API, Client, Request
from tasks.sources.json_body import fetch_json
from tasks.sources.json_rows import MISSING, JsonRows
from tasks.sources.json_values import tag_text
from tasks.sources.sample import Shared, nothing, too_late

LIMITS = Limits(connect=5.0, silence=15.0, total=30.0, largest=16 * 2**20)


class RestSource:
    """Makes one sample of a measurement from the endpoint that it names.

    Each endpoint is asked once, whoever needs it first; use one source a run. Safe between threads.
    """

    name = "rest"
    history: History = "sample"

    def __init__(
        self, service: Service, limits: Limits | None = None, now: datetime | None = None
    ) -> None:
        """`now` is what the samples are dated with: the run's time, by default the asking's."""
        self._now = now
        self._client = Client(service, API, limits or LIMITS)
        self._documents: dict[str, Shared[_Document]] = {}
        self._guard = threading.Lock()

    def close(self) -> None:
        """Gives the connections back."""
        self._client.close()

    def extract(self, measurement: Measurement, environment: str, window: Window) -> Batch:
        """One row, or one an item of `rest.rows`, at the sample's time, floored to `every`.

        Outside the window there are no rows, and nothing is asked. An endpoint or place that the
        service does not have gives nulls and a warning; values are fitted as JsonRows says. Rows
        with the same tags stay: that only one can be true is for the suite to say.

        Raises:
            SourceUnavailable, SourceRefused, CertificateInvalid: as Client.ask says.
            AnswerInvalid: it is not JSON, too large, or not an object or a list where one should be.
            SeriesExceeded: there are more different rows than the measurement may have.
        """
        rest = measurement.rest
        assert rest is not None, "a measurement of this source says where its rows are"
        look = self._document(rest.endpoint).within(window, measurement.every)
        if look is None:
            return too_late(measurement, environment, window)
        if look.seen.content is MISSING:
            warning = f"{rest.endpoint} is not offered by this service"
            return nothing(measurement, environment, window, warning)
        reading = _Reading(measurement, environment, look.seen.request)
        reading.reported.warnings.extend(look.warnings(measurement.every))
        reading.take(look.seen.content, rest, floor(look.time, measurement.every))
        return reading.reported.batch(window)

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
    """What an endpoint answered; its content is MISSING when the service does not offer it."""

    request: Request
    content: Any


class _Reading:
    """Finds a measurement's rows in a body, and hands them to what tells them."""

    def __init__(self, measurement: Measurement, environment: str, request: Request) -> None:
        self.reported = JsonRows(measurement, environment)
        self._measurement = measurement
        self._request = request

    def take(self, content: Any, rest: Rest, time: datetime) -> None:
        """Put in what an endpoint answered, all of it at this time; may raise AnswerInvalid."""
        for row in self._rows(content, rest):
            tags = tuple(self._tag(rest.tags[tag], row) for tag in self._measurement.tags)
            values = {name: self._field(name, row) for name in self._measurement.fields}
            self.reported.add(time, tags, values)

    def _rows(self, content: Any, rest: Rest) -> list[dict[str, Any]]:
        """The objects that are the rows."""
        if rest.rows is None:
            return [self._object(content, "the body")]
        found = self._value_at(rest.rows, content)
        if found is None:
            warning = f"{rest.endpoint} has no {rest.rows}: not offered by this service"
            self.reported.warnings.append(warning)
            return []
        if not isinstance(found, list):
            raise self._request.invalid(f"{rest.rows} is {kind_of(found)}, not a list")
        return [self._object(item, f"an item of {rest.rows}") for item in found]

    def _object(self, value: Any, what: str) -> dict[str, Any]:
        if not isinstance(value, dict):
            raise self._request.invalid(f"{what} is {kind_of(value)}, not an object")
        return value

    def _value_at(self, path: str, row: Any) -> Any:
        """What the path selects; None for null and for nothing."""
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
            raise self._request.invalid(f"{wrong}, so that it has no {path}")
        return MISSING

    def _tag(self, path: str, row: dict[str, Any]) -> str | None:
        try:
            return tag_text(self._value_at(path, row))
        except TypeError as error:
            raise self._request.invalid(f"the tag at {path} is {error}") from error

    def _field(self, name: str, row: dict[str, Any]) -> Any:
        path = self._measurement.fields[name].path
        assert path is not None, "a field of this source says where it is"
        return self._look(path, row)
