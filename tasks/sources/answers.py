"""Parsing of Prometheus's answers: envelope, errors, series of a matrix."""

import re
from dataclasses import dataclass

import msgspec
import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from pyarrow import csv

from tasks.core.errors import FedvitalsError, SourceOverloaded
from tasks.core.outside import UNREADABLE, check_size
from tasks.http import Answer
from tasks.sources.http import Client, Request

# error types of Prometheus's API, for an error with HTTP 200
STATUS_OF = {"bad_data": 400, "execution": 422, "not_found": 404, "internal": 500}
UNAVAILABLE = 503
_TOO_MUCH = re.compile(r"timed out|timeout|too many samples", re.IGNORECASE)
_IN_QUEUE = "query queue"

_READ = csv.ReadOptions(use_threads=False, column_names=["time", "value"])
_FLOATS = {"time": pa.float64(), "value": pa.float64()}
_CONVERT = csv.ConvertOptions(column_types=_FLOATS, null_values=[])
METRIC_NAME = "__name__"


class Series(msgspec.Struct):
    """One series of a matrix; its samples are still text."""

    metric: dict[str, str]
    values: msgspec.Raw = msgspec.Raw(b"[]")
    histograms: msgspec.Raw = msgspec.Raw(b"[]")

    @property
    def labels(self) -> dict[str, str]:
        """Return the labels that identify it; a plain selector includes the metric's name."""
        return {name: text for name, text in self.metric.items() if name != METRIC_NAME}


class _Data(msgspec.Struct, rename="camel"):
    result_type: str
    result: msgspec.Raw


class _Envelope(msgspec.Struct, rename="camel"):
    status: str
    data: _Data | None = None
    error_type: str = ""
    error: str = ""
    warnings: list[str] = []
    infos: list[str] = []


class _Build(msgspec.Struct):
    version: str


class _BuildEnvelope(msgspec.Struct):
    data: _Build


@dataclass(frozen=True)
class Refusal:
    """An error answer: its type (bad_data, execution, timeout, …) and its text."""

    error_type: str
    error: str

    @property
    def status(self) -> int:
        """Return Prometheus's HTTP status for this type."""
        return STATUS_OF.get(self.error_type, UNAVAILABLE)


@dataclass(frozen=True)
class Matrix:
    """The series of an answer, and Prometheus's warnings."""

    series: list[Series]
    remarks: tuple[str, ...]


@dataclass(frozen=True)
class Points:
    """All samples of an answer, series after series.

    counts: samples of each series, int64 of shape (series,). times: microseconds since the epoch,
    int64 of shape (samples,). values: float64 of shape (samples,).
    """

    counts: NDArray[np.int64]
    times: NDArray[np.int64]
    values: NDArray[np.float64]


_envelopes = msgspec.json.Decoder(_Envelope)
_series = msgspec.json.Decoder(list[Series])
_samples = msgspec.json.Decoder(list[msgspec.Raw])


def read_build(body: bytes, request: Request) -> str:
    """Parse an answer of /api/v1/status/buildinfo; raise AnswerInvalid."""
    try:
        return msgspec.json.decode(body, type=_BuildEnvelope).data.version
    except UNREADABLE as error:
        raise request.invalid(str(error)) from error


def read_refusal(body: bytes) -> Refusal | None:
    """Parse an error's body; None for a success, or another envelope."""
    try:
        envelope = _envelopes.decode(body)
    except UNREADABLE:
        return None
    if envelope.status != "error":
        return None
    return Refusal(envelope.error_type, envelope.error)


def failure(
    client: Client, answer: Answer, refusal: Refusal | None, query: str, request: Request
) -> FedvitalsError:
    """Return the error for a failed answer; refusal is None without an envelope.

    Too many samples is SourceOverloaded whatever its status (Prometheus uses 422), since a smaller
    window helps. It does not help a query that waited in vain for its turn.
    """
    if refusal is None:
        return client.unexpected(answer, request)
    words = client.quoted(f"{refusal.error_type}: {refusal.error}")
    is_timeout = refusal.error_type == "timeout"
    if is_timeout and _IN_QUEUE in refusal.error:
        return request.unavailable(words, answer.retry_after)
    if is_timeout or _TOO_MUCH.search(refusal.error):
        return SourceOverloaded(**vars(request), problem=words)
    if refusal.error_type == "canceled":
        return request.unavailable(words, answer.retry_after)
    return client.failure(answer, request, words, f"Correct this query: {query}")


def read_matrix(body: bytes, request: Request) -> Matrix | Refusal:
    """Return the matrix, or the error, in an answer of /api/v1/query_range.

    Raises SourceUnavailable when the JSON ends too early, AnswerInvalid when it is not JSON, not the
    envelope, or not a matrix.
    """
    try:
        # samples are no keys, and stay text
        check_size(body)
        envelope = _envelopes.decode(body)
        if envelope.status == "error":
            return Refusal(envelope.error_type, envelope.error)
        if envelope.data is None:
            raise request.invalid("it has no data")
        if envelope.data.result_type != "matrix":
            raise request.invalid(f"it is a {envelope.data.result_type}, not a matrix")
        series = _series.decode(envelope.data.result)
    except UNREADABLE as error:
        if "truncated" in str(error):
            raise request.unavailable("the answer is truncated") from error
        raise request.invalid(str(error)) from error
    return Matrix(series, (*envelope.warnings, *envelope.infos))


def count_histograms(series: list[Series], request: Request) -> int:
    """Count native histogram samples; raise AnswerInvalid unless they are lists."""
    try:
        return sum(len(_samples.decode(one.histograms)) for one in series)
    except UNREADABLE as error:
        raise request.invalid(f"histograms: {error}") from error


def read_points(series: list[Series], request: Request) -> Points:
    """Parse the float samples of the series, bit for bit as Prometheus printed them.

    The text of all series is parsed in one go: `[[1700000000,"1.5"],…]` becomes lines of CSV.
    Raises AnswerInvalid when a sample is not a pair of a time and a number.
    """
    texts = [_compact(bytes(one.values)) for one in series]
    counts = np.array([text.count(b"[") - 1 for text in texts], dtype="int64")
    filled = [text for text, count in zip(texts, counts, strict=True) if count]
    if not filled:
        return Points(counts, np.empty(0, "int64"), np.empty(0, "float64"))
    lines = b"\n".join(text.replace(b"],[", b"\n") for text in filled).translate(None, b'[]"')
    try:
        table = csv.read_csv(pa.BufferReader(lines), read_options=_READ, convert_options=_CONVERT)
    except pa.ArrowInvalid as error:
        raise request.invalid(f"a sample is not a time and a number: {error}") from error
    if len(table) != counts.sum():
        raise request.invalid(f"{len(table)} of {counts.sum()} samples can be read")
    seconds = table["time"].to_numpy()
    if not np.isfinite(seconds).all():
        raise request.invalid("a sample has no time")
    # Prometheus prints milliseconds, and a double holds microseconds exactly until 2255
    times = np.rint(seconds * 1e6).astype("int64")
    return Points(counts, times, table["value"].to_numpy())


def _compact(text: bytes) -> bytes:
    """Return JSON without blanks between its parts, in case a proxy reformatted it."""
    if any(blank in text for blank in (b" ", b"\n", b"\t", b"\r")):
        return msgspec.json.format(text, indent=-1)
    return text
