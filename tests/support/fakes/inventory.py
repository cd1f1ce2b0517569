"""A Prometheus with metrics of which a test says type, help and series; values only where reported."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from werkzeug import Response

from tests.support.fakes.prometheus import FakePrometheus, FakeSeries

COUNTS = re.compile(r'count by \(__name__\) \(\{__name__!=""(.*)\}\)')
MATCH = re.compile(r'\{__name__=~"(.*?)"(, job.*)?\}')
JOB = re.compile(r', job(=~?)"(.*)"')


@dataclass
class FakeInventory(FakePrometheus):
    """`metrics`: the labels of each metric's series. `described`: type, unit and help of a family.

    A query that is not in `queries` has no data.
    """

    metrics: dict[str, list[dict[str, str]]] = field(default_factory=dict)
    described: dict[str, list[tuple[str, str, str]]] = field(default_factory=dict)
    counts: dict[str, int] = field(default_factory=dict)
    keeps_metadata: bool = True

    def _routed(self, path: str, method: str, form: Mapping[str, str]) -> Response:
        if path == "/api/v1/metadata" and method == "GET" and self.keeps_metadata:
            keys = ("type", "unit", "help")
            return self._success(
                {name: [dict(zip(keys, one, strict=True)) for one in reported]
                 for name, reported in self.described.items()}
            )  # fmt: skip
        return super()._routed(path, method, form)

    def _series(self, form: Mapping[str, str]) -> Any:
        query = form.get("query", "")
        if match := COUNTS.fullmatch(query):
            counts = {name: len(series) for name, series in self._of_job(match[1]).items()}
            return [_constant(name, n) for name, n in (counts | self.counts).items() if n]
        if query in self.queries:
            return super()._series(form)
        return self._matching(match) if (match := MATCH.fullmatch(query)) else []

    def _matching(self, match: re.Match[str]) -> list[FakeSeries]:
        # a string of PromQL, then a pattern
        pattern = re.compile(match[1].replace(r"\"", '"').replace("\\\\", "\\"))
        return [
            FakeSeries({"__name__": name, **labels}, lambda _: "1")
            for name, series in self._of_job(match[2] or "").items()
            if pattern.fullmatch(name)
            for labels in series
        ]

    def _of_job(self, condition: str) -> dict[str, list[dict[str, str]]]:
        match = JOB.fullmatch(condition)
        if match is None:
            assert not condition
            return self.metrics
        text = match[2].replace("\\\\", "\\")
        job = re.compile(text if match[1] == "=~" else re.escape(text))
        return {
            name: [labels for labels in series if job.fullmatch(labels.get("job", ""))]
            for name, series in self.metrics.items()
        }


def _constant(name: str, count: int) -> FakeSeries:
    return FakeSeries({"__name__": name}, lambda _: str(count))
