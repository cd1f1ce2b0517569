"""Prometheus's answers, read: the envelope, its errors, a matrix's series and all their points."""

import re
from dataclasses import dataclass

import msgspec
import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from pyarrow import csv

from tasks.core.errors import FedvitalsError, SourceOverloaded
from tasks.http import Answer
from tasks.sources.http import Client, Request

# of the error types of Prometheus's API, for an error that comes with HTTP 200
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
        """The labels that tell series apart; a plain selector leaves the metric's name among them."""
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
    """An answer that says error: its type (bad_data, execution, timeout, …) and its words."""

    error_type: str
    error: str

    @property
    def status(self) -> int:
        """The HTTP status that Prometheus gives to this type."""
        return STATUS_OF.get(self.error_type, UNAVAILABLE)


@dataclass(frozen=True)
class Matrix:
    """The series of an answer, and what Prometheus remarked."""

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
    """Return the version in an answer of /api/v1/status/buildinfo; else raise AnswerInvalid."""
    try:
        return msgspec.json.decode(body, type=_BuildEnvelope).data.version
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise request.invalid(str(error)) from error


def read_refusal(body: bytes) -> Refusal | None:
    """What an error's body says; None when it is not Prometheus's envelope or says success."""
    try:
        envelope = _envelopes.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return None
    if envelope.status != "error":
        return None
    return Refusal(envelope.error_type, envelope.error)


def failure(
    client: Client, answer: Answer, refusal: Refusal | None, query: str, request: Request
) -> FedvitalsError:
    """The error of an answer that is none of success; refusal is None when it is not Prometheus's.

    Too many samples is SourceOverloaded whatever its status (Prometheus gives 422), since a
    smaller window helps. It does not help a query that never got its turn among the others.
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
    return client.failure(answer, request, words, f"Correct this query in the catalogue: {query}")


def read_matrix(body: bytes, request: Request) -> Matrix | Refusal:
    """The matrix in an answer of /api/v1/query_range, or the error that it says.

    Raises:
        SourceUnavailable: the JSON ends too early.
        AnswerInvalid: it is not JSON, not the envelope, or not a matrix.
    """
    try:
        envelope = _envelopes.decode(body)
        if envelope.status == "error":
            return Refusal(envelope.error_type, envelope.error)
        if envelope.data is None:
            raise request.invalid("it holds no data")
        if envelope.data.result_type != "matrix":
            raise request.invalid(f"a {envelope.data.result_type} came, not a matrix")
        series = _series.decode(envelope.data.result)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        if "truncated" in str(error):
            raise request.unavailable("the answer ends in its middle") from error
        raise request.invalid(str(error)) from error
    return Matrix(series, (*envelope.warnings, *envelope.infos))


def count_histograms(series: list[Series], request: Request) -> int:
    """Count the native histogram samples; raise AnswerInvalid where they are no list."""
    try:
        return sum(len(_samples.decode(one.histograms)) for one in series)
    except msgspec.ValidationError as error:
        raise request.invalid(f"histograms: {error}") from error


def read_points(series: list[Series], request: Request) -> Points:
    """The float samples of the series, bit for bit what Prometheus printed.

    The text of all series is parsed in one go: `[[1700000000,"1.5"],…]` becomes lines of CSV.

    Raises:
        AnswerInvalid: a sample is not a pair of a time and a number.
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
        raise request.invalid(f"{counts.sum()} samples came, {len(table)} can be read")
    seconds = table["time"].to_numpy()
    if not np.isfinite(seconds).all():
        raise request.invalid("a sample has no time")
    # Prometheus prints milliseconds, and a double holds microseconds exactly until 2255
    times = np.rint(seconds * 1e6).astype("int64")
    return Points(counts, times, table["value"].to_numpy())


def _compact(text: bytes) -> bytes:
    """JSON without blanks between its parts: some proxy may have printed it anew."""
    if any(blank in text for blank in (b" ", b"\n", b"\t", b"\r")):
        return msgspec.json.format(text, indent=-1)
    return text
