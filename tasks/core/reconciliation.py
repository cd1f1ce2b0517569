"""Results of a reconcile: where sinks differ from the lake, why, and the fixes."""

from typing import Literal

from pydantic import BaseModel, ConfigDict

# why a value differs; loading refused and expired values again would fix nothing
Why = Literal["pending", "missing", "changed", "extra", "refused", "expired"]
EXPLAINED: frozenset[Why] = frozenset({"refused", "expired"})
MeasurementVerdict = Literal["equal", "pending", "differs", "failed"]


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True)


class Facts(_Frozen):
    """One side's values in one cell.

    `sum` is of all numbers. `key_hash` is the sum modulo 2^64 of a 64-bit hash of each key (tags,
    field, time), in hexadecimal, whatever their order; 0 without keys.
    """

    count: int
    sum: float
    key_hash: str


class CellDifference(_Frozen):
    """One differing cell: both sides as found, and the reasons, in values.

    `fixed` is set when --fix left nothing to fix; `left` is the remainder.
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
    """One measurement: numbers of cells and values compared, differing or fixed."""

    name: str
    state: MeasurementVerdict
    cells: int = 0
    lake_values: int = 0
    sink_values: int = 0
    differing: int = 0
    fixed: int = 0
    problems: tuple[str, ...] = ()


class Reconciliation(_Frozen):
    """The details of a reconcile's receipt; `values` are counted before any fix."""

    sink: str
    deep: bool
    fix: bool
    measurements: tuple[MeasurementLine, ...]
    differences: tuple[CellDifference, ...]

    @property
    def sentence(self) -> str:
        """Summarise the compared, differing and fixed cells."""
        cells = sum(line.cells for line in self.measurements)
        differing = sum(line.differing for line in self.measurements)
        fixed = sum(line.fixed for line in self.measurements)
        return f"{cells} cells compared, {differing} differ, {fixed} fixed"


def verdict_of(left: list[dict[Why, int]]) -> MeasurementVerdict:
    """Return the state of a measurement from the remainders of its cells."""
    reasons = {why for each in left for why in each} - EXPLAINED
    if not reasons:
        return "equal"
    return "pending" if reasons == {"pending"} else "differs"
