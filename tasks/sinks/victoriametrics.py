"""What a VictoriaMetrics differs in that stands at the address of an InfluxDB."""

import json
import re
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta

from tasks.core.batch import count_values, time_micros
from tasks.core.measurement import Measurement
from tasks.core.ports import CellAnswer, CellToLoad
from tasks.core.window import micros
from tasks.sinks.influxdb_http import UNKNOWN_PATH, Answer, InfluxHttp

_RETENTION = re.compile(rb'^flag\{name="retentionPeriod", value="([\d.]+)([Mywdhs]?)"', re.M)
# days of the units of a retention, which counts months by default
_DAYS = {"": 31, "M": 31, "y": 365, "w": 7, "d": 1, "h": 1 / 24, "s": 1 / 86_400}
NOTHING = b'"result":[]'


@dataclass(frozen=True)
class VictoriaMetrics:
    """It stores text as 0, drops old values silently, and adds where InfluxDB would replace.

    `keeps` is its retention; None when it does not show it.
    """

    http: InfluxHttp
    keeps: timedelta | None

    @classmethod
    def find(cls, http: InfluxHttp, bucket: Answer) -> "VictoriaMetrics | None":
        """Return the VictoriaMetrics that answered for the bucket; None when it is something else."""
        if not bucket.message.startswith(UNKNOWN_PATH):
            return None
        found = _RETENTION.search(http.ask("GET", "/metrics").body)
        keeps = timedelta(days=float(found[1]) * _DAYS[found[2].decode()]) if found else None
        return cls(http, keeps)

    def load(
        self,
        load: Callable[[Measurement, str, list[CellToLoad]], list[CellAnswer]],
        measurement: Measurement,
        environment: str,
        cells: list[CellToLoad],
    ) -> list[CellAnswer]:
        """Load by `load` what it can hold of the cells; what would have to be erased is pending."""
        numbers = {n: spec for n, spec in measurement.fields.items() if spec.type != "string"}
        sent_as = measurement.model_copy(update={"fields": numbers})
        fit = {entry.cell: self._fit(entry, sent_as, environment) for entry in cells}
        # apart, since a load that cannot erase is pending as a whole
        plain = [entry for entry in fit.values() if not entry.erase_first]
        erased = [entry for entry in fit.values() if entry.erase_first]
        answers = [each for part in (plain, erased) for each in load(sent_as, environment, part)]
        owed = {entry.cell: count_values(entry.frame, measurement) for entry in cells}
        return [_whole(answer, fit[answer.cell], owed[answer.cell]) for answer in answers]

    def _fit(self, entry: CellToLoad, measurement: Measurement, environment: str) -> CellToLoad:
        """Return the rows that were not sent before, of those that it keeps."""
        must_erase = entry.erase_first and (
            entry.sent_until is not None or self._has_some(entry, measurement, environment)
        )
        since = entry.cell.start if must_erase else entry.sent_until or entry.cell.start
        if self.keeps:
            since = max(since, datetime.now(UTC) - self.keeps)
        frame = entry.frame[time_micros(entry.frame) >= micros(since)].reset_index(drop=True)
        return replace(entry, frame=frame, erase_first=must_erase)

    def _has_some(self, entry: CellToLoad, measurement: Measurement, environment: str) -> bool:
        names = "|".join(f"{measurement.name}_{field}" for field in measurement.fields)
        length = (entry.cell.stop - entry.cell.start) // timedelta(milliseconds=1)
        series = f'{{__name__=~"{names}", environment={json.dumps(environment)}}}'
        query = {"query": f"count(last_over_time({series}[{length}ms]))", "nocache": "1"}
        query["time"] = str((entry.cell.stop - timedelta(milliseconds=1)).timestamp())
        answer = self.http.ask("GET", "/api/v1/query", query)
        return NOTHING not in answer.body


def _whole(answer: CellAnswer, sent: CellToLoad, owed: int) -> CellAnswer:
    """Count what was not sent of a cell as skipped, and note how far it is sent."""
    skipped = owed - answer.values.owed + answer.values.skipped_by_rule
    until = sent.sent_until
    if len(sent.frame):
        until = sent.frame["time"].max().to_pydatetime() + timedelta(microseconds=1)
    return replace(
        answer,
        values=replace(answer.values, owed=owed, skipped_by_rule=skipped),
        sent_until=None if answer.error else until,
    )
