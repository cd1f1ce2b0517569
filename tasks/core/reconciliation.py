"""What a reconcile found: where a sink differs from the lake, why, and what was fixed."""

from typing import Literal

from pydantic import BaseModel, ConfigDict

# why a value differs; of refused and expired ones loading again would fix nothing
Why = Literal["pending", "missing", "changed", "extra", "refused", "expired"]
EXPLAINED: frozenset[Why] = frozenset({"refused", "expired"})
MeasurementVerdict = Literal["equal", "pending", "differs", "failed"]


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True)


class Facts(_Frozen):
    """What one side has in one cell.

    `sum` is of all numbers. `key_hash` is of the keys (tags, field, time), whatever their order: the
    sum modulo 2^64 of a 64-bit hash of each, in hexadecimal; of no keys it is 0.
    """

    count: int
    sum: float
    key_hash: str


class CellDifference(_Frozen):
    """One cell that differed: both sides as they were found, and why, in values.

    `fixed` says that after --fix nothing is left to fix; `left` is what is.
    """

    measurement: str
    start: str
    stop: str
    lake: Facts
    sink: Facts
    reasons: dict[Why, int]
    fixed: bool = False
    left: dict[Why, int]


class MeasurementLine(_Frozen):
    """One measurement: how many cells and values were compared, how many cells differed or were fixed."""

    name: str
    state: MeasurementVerdict
    cells: int = 0
    lake_values: int = 0
    sink_values: int = 0
    differing: int = 0
    fixed: int = 0
    problems: tuple[str, ...] = ()


class Reconciliation(_Frozen):
    """The details of a reconcile's receipt; `values` are counted as they were before any fixing."""

    sink: str
    deep: bool
    fix: bool
    measurements: tuple[MeasurementLine, ...]
    differences: tuple[CellDifference, ...]

    @property
    def sentence(self) -> str:
        """How many cells were compared, and what came of it."""
        cells = sum(line.cells for line in self.measurements)
        differing = sum(line.differing for line in self.measurements)
        fixed = sum(line.fixed for line in self.measurements)
        return f"{cells} cells compared, {differing} differ, {fixed} fixed"


def verdict_of(left: list[dict[Why, int]]) -> MeasurementVerdict:
    """The state of a measurement, given what is left in its cells."""
    reasons = {why for each in left for why in each} - EXPLAINED
    if not reasons:
        return "equal"
    return "pending" if reasons == {"pending"} else "differs"
