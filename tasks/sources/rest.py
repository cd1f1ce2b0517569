"""A service's REST API: what the paths of the catalogue select in its JSON answers."""

import math
import threading
from collections import Counter, defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import numpy as np
import pandas as pd

from tasks.core.batch import TIME_TYPE, Batch, build_frame, canonical
from tasks.core.catalogue import Measurement, Rest
from tasks.core.json_path import kind_of, obstacle, values_at
from tasks.core.quarantine import Reason, no_records, records
from tasks.core.settings import Service
from tasks.core.severity import Severity
from tasks.core.window import Window, floor
from tasks.sources.http import API, Asked, Client, Limits
from tasks.sources.json_body import json_of
from tasks.sources.json_values import WANTED, Unfit, fitted, shown, tag_text
from tasks.sources.sample import Shared, nothing, too_late
from tasks.sources.wide import Key, Wide

LIMITS = Limits(connect=5.0, silence=15.0, total=30.0, largest=16 * 2**20)
NOT_OFFERED = 404


class RestSource:
    """Makes one sample of a measurement from the endpoint that it names.

    Each endpoint is asked once, whoever needs it first; use one source a run. Safe between threads.
    """

    name = "rest"

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
        service does not have gives nulls and a warning; a value of another type than the
        catalogue's is in `rejected`; NaN, Infinity and -Infinity are left out and counted. Rows
        with the same tags stay: that only one can be true is for the suite to say.

        Raises:
            SourceUnavailable: no proper answer this time. Fact besides: retry_after (seconds).
            SourceRefused: a redirect, a wrong address or token.
            CertificateInvalid: the TLS certificate is not to be trusted.
            AnswerInvalid: it is not JSON, too large, or something else stands where an object
                or a list should.
            SeriesExceeded: there are more different rows than the measurement may have.
        """
        rest = measurement.rest
        assert rest is not None, "a measurement of this source says where its rows are"
        look = self._document(rest.endpoint).within(window, measurement.every)
        if look is None:
            return too_late(measurement, environment, window)
        if not look.seen.is_offered:
            warning = f"{rest.endpoint} is not offered by this service"
            return nothing(measurement, environment, window, warning)
        reading = _Reading(measurement, environment, look.seen.asked)
        reading.warnings.extend(look.warnings(measurement.every))
        reading.take(look.seen.content, rest)
        return reading.batch(window, floor(look.time, measurement.every))

    def _document(self, endpoint: str) -> "Shared[_Document]":
        with self._guard:
            shared = Shared(lambda: self._fetch(endpoint), self._now)
            return self._documents.setdefault(endpoint, shared)

    def _fetch(self, endpoint: str) -> "_Document":
        asked = self._client.asked(endpoint)
        answer = self._client.ask(endpoint, endpoint)
        if answer.status == NOT_OFFERED:
            return _Document(asked, is_offered=False)
        if answer.status >= 300:
            words = self._client.quoted(answer.body.decode(errors="replace")) or "no reason given"
            mend = f"Check the address in {self._client.service.origin}, and rest.endpoint in the catalogue"
            raise self._client.failure(answer, asked, words, mend)
        return _Document(asked, content=json_of(answer, asked))


@dataclass(frozen=True)
class _Document:
    """What an endpoint answered."""

    asked: Asked
    content: Any = None
    is_offered: bool = True


class _Missing:
    """What stands for a value in a place that the document does not have."""


MISSING = _Missing()


class _Reading:
    """What the rows of one measurement have given so far."""

    def __init__(self, measurement: Measurement, environment: str, asked: Asked) -> None:
        self.warnings: list[str] = []
        self._measurement = measurement
        self._environment = environment
        self._asked = asked
        self._keys: list[Key] = []
        self._columns: dict[str, list[Any]] = {name: [] for name in measurement.fields}
        self._missing: Counter[str] = Counter()
        self._dropped: Counter[str] = Counter()
        # by field and reason: the rows, and what was there
        self._unfit: defaultdict[tuple[str, str], dict[int, Any]] = defaultdict(dict)

    def take(self, content: Any, rest: Rest) -> None:
        """Puts in what an endpoint answered.

        Raises:
            AnswerInvalid, SeriesExceeded.
        """
        rows = self._rows(content, rest)
        for position, row in enumerate(rows):
            self._keys.append(
                tuple(self._tag(rest.tags[tag], row) for tag in self._measurement.tags)
            )
            for name in self._measurement.fields:
                self._columns[name].append(self._field(name, row, position))
        Wide(self._measurement).index(self._keys)
        for name, count in self._missing.items():
            where = "" if count == len(rows) else f" in {count} of {len(rows)} rows"
            self.warnings.append(f"{name}: not offered by this service{where}")

    def batch(self, window: Window, slot: datetime) -> Batch:
        """The rows that hold a value, all at this time."""
        frame = build_frame(self._measurement, {**self._key_columns(slot), **self._columns})
        filled = frame[list(self._measurement.fields)].notna().any(axis=1)
        return Batch(
            measurement=self._measurement,
            environment=self._environment,
            window=window,
            frame=canonical(frame[filled], self._measurement),
            dropped=dict(self._dropped),
            rejected=self._rejected(slot),
            warnings=tuple(self.warnings),
        )

    def _rows(self, content: Any, rest: Rest) -> list[dict[str, Any]]:
        """The objects that are the rows."""
        if rest.rows is None:
            return [self._object(content, "the body")]
        found = self._value_at(rest.rows, content)
        if found is None:
            self.warnings.append(f"{rest.endpoint} has no {rest.rows}: not offered by this service")
            return []
        if not isinstance(found, list):
            raise self._asked.invalid(f"{rest.rows} is {kind_of(found)}, not a list")
        return [self._object(item, f"an item of {rest.rows}") for item in found]

    def _object(self, value: Any, what: str) -> dict[str, Any]:
        if not isinstance(value, dict):
            raise self._asked.invalid(f"{what} is {kind_of(value)}, not an object")
        return value

    def _value_at(self, path: str, row: Any) -> Any:
        """What the path selects; None for null and for nothing."""
        found = self._look(path, row)
        return None if found is MISSING else found

    def _look(self, path: str, row: Any) -> Any:
        found = values_at(path, row)
        if len(found) > 1:
            raise self._asked.invalid(f"{path} selects {len(found)} values, not one")
        if found:
            return found[0]
        wrong = obstacle(path, row)
        if wrong is not None:
            raise self._asked.invalid(f"{wrong}, so that it has no {path}")
        return MISSING

    def _tag(self, path: str, row: dict[str, Any]) -> str | None:
        try:
            return tag_text(self._value_at(path, row))
        except TypeError as error:
            raise self._asked.invalid(f"the tag at {path} is {error}") from error

    def _field(self, name: str, row: dict[str, Any], position: int) -> Any:
        spec = self._measurement.fields[name]
        assert spec.path is not None, "a field of this source says where it is"
        found = self._look(spec.path, row)
        if found is MISSING:
            self._missing[name] += 1
            return None
        value = fitted(found, spec.type)
        if isinstance(value, Unfit):
            self._unfit[name, value.reason][position] = shown(value.value)
            return None
        if isinstance(value, float) and not math.isfinite(value):
            self._dropped["nan" if math.isnan(value) else "inf"] += 1
            return None
        return value

    def _key_columns(self, slot: datetime) -> dict[str, Any]:
        count = len(self._keys)
        columns: dict[str, Any] = {
            "time": [slot] * count,
            "environment": [self._environment] * count,
        }
        for number, tag in enumerate(self._measurement.tags):
            columns[tag] = pd.Series([key[number] for key in self._keys], dtype="object")
        return columns

    def _rejected(self, slot: datetime) -> pd.DataFrame:
        parts = [
            self._records(name, why, found, slot) for (name, why), found in self._unfit.items()
        ]
        return pd.concat(parts, ignore_index=True) if parts else no_records()

    def _records(
        self, name: str, why: str, found: Mapping[int, Any], slot: datetime
    ) -> pd.DataFrame:
        reason = Reason(
            stage="door",
            scope="value",
            check_id="json_type",
            expectation="json_type",
            severity=Severity.CRITICAL,
            limit=WANTED[self._measurement.fields[name].type],
            reason=why,
        )
        frame = pd.DataFrame(self._key_columns(slot)).astype({"time": TIME_TYPE})
        frame[name] = pd.Series(found, dtype="object").reindex(frame.index)
        return records(frame, self._measurement, np.array(list(found)), [name], reason)
