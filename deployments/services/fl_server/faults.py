"""Faults on demand, as of a real service on a bad day, for tests of its clients."""

import json
import threading
from dataclasses import dataclass
from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from deployments.services.fl_server.errors import FaultPathError

PATH = "/testing/faults"
LONGEST_SECONDS = 60.0


def _not_the_knobs(path: str) -> str:
    if path == PATH:
        raise FaultPathError(path)
    return path


class _Fault(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)

    path: Annotated[str, Field(pattern="^/"), AfterValidator(_not_the_knobs)]
    """Path whose answers are faulty; the fault knobs themselves cannot be."""
    times: int | None = Field(None, ge=1)
    """Number of answers; none means all until the faults are cleared."""


class SlowFault(_Fault):
    """The answer is right, but comes late."""

    kind: Literal["slow"]
    seconds: float = Field(gt=0, le=LONGEST_SECONDS)
    """Time to wait before answering."""


class ErrorFault(_Fault):
    """The answer is a 500."""

    kind: Literal["error_500"]


class MalformedFault(_Fault):
    """The answer is truncated, with a matching length: it cannot be parsed."""

    kind: Literal["malformed_json"]


class MissingFieldFault(_Fault):
    """The answer lacks a field."""

    kind: Literal["missing_field"]
    field: str = Field(min_length=1)
    """Name of the field, with dots for nested ones (lists are traversed: "rounds.loss"); in a
    text answer, lines with that name are left out."""


Fault = Annotated[
    SlowFault | ErrorFault | MalformedFault | MissingFieldFault, Field(discriminator="kind")
]


@dataclass
class _Entry:
    fault: Fault
    left: int | None


class FaultBoard:
    """The faults that are set, in order; thread-safe."""

    def __init__(self) -> None:
        self._entries: list[_Entry] = []
        self._lock = threading.Lock()

    def add(self, fault: Fault) -> None:
        """Set one more fault; of several for a path, the one set first comes first."""
        with self._lock:
            self._entries.append(_Entry(fault, fault.times))

    def clear(self) -> int:
        """Remove all faults; return their number."""
        with self._lock:
            count = len(self._entries)
            self._entries.clear()
            return count

    def take(self, path: str) -> Fault | None:
        """Return the fault for this answer, counted as used; None when there is none."""
        with self._lock:
            for entry in self._entries:
                if entry.fault.path == path:
                    self._use(entry)
                    return entry.fault
            return None

    def _use(self, entry: _Entry) -> None:
        if entry.left is None:
            return
        entry.left -= 1
        if entry.left == 0:
            self._entries.remove(entry)


def cut(body: bytes) -> bytes:
    """Return the first half of a body."""
    return body[: len(body) // 2]


def without_field(body: bytes, field: str, *, is_json: bool) -> bytes:
    """Return the body without the field; unchanged when it has none."""
    if not is_json:
        lines = body.splitlines(keepends=True)
        return b"".join(line for line in lines if field.encode() not in line)
    return json.dumps(_pruned(json.loads(body), field.split("."))).encode()


def _pruned(value: object, keys: list[str]) -> object:
    if isinstance(value, list):
        return [_pruned(item, keys) for item in value]
    if not isinstance(value, dict) or keys[0] not in value:
        return value
    rest = {name: item for name, item in value.items() if name != keys[0]}
    if len(keys) == 1:
        return rest
    return {**rest, keys[0]: _pruned(value[keys[0]], keys[1:])}
