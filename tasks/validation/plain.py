"""Four plain expectation types without importing Great Expectations.

Only the self metrics are validated so: they follow every run, even an idle one, which must stay
cheap. Results equal those of Great Expectations.
"""

from typing import Any

import numpy as np
import pandas as pd

from tasks.validation.engine import Ran
from tasks.validation.model import BETWEEN, NOT_NULL, ROW_COUNT, UNIQUE, Expectation, Suite

_ARGUMENTS = {
    ROW_COUNT: {"min_value", "max_value"},
    UNIQUE: {"column_list"},
    NOT_NULL: {"column"},
    BETWEEN: {"column", "min_value", "max_value"},
}


def run(frame: pd.DataFrame, suite: Suite) -> dict[str, Ran] | None:
    """Run the suite as engine.run does; None unless all its types are plain."""
    if not all(_is_plain(each, frame) for each in suite.expectations):
        return None
    return {each.check_id: _ran(each, frame) for each in suite.expectations}


def _is_plain(expectation: Expectation, frame: pd.DataFrame) -> bool:
    arguments = expectation.arguments
    if not set(arguments) <= _ARGUMENTS.get(expectation.type, set()):
        return False
    is_numeric = pd.api.types.is_numeric_dtype
    return expectation.type != BETWEEN or bool(is_numeric(frame[arguments["column"]]))


def _ran(expectation: Expectation, frame: pd.DataFrame) -> Ran:
    arguments = expectation.arguments
    if expectation.type == ROW_COUNT:
        return Ran(success=_is_within(len(frame), arguments), observed=len(frame))
    if expectation.type == UNIQUE:
        offends = frame.duplicated(list(arguments["column_list"]), keep=False)
    elif expectation.type == NOT_NULL:
        offends = frame[arguments["column"]].isna()
    else:
        column = frame[arguments["column"]]
        offends = column.notna() & ~column.map(lambda value: _is_within(value, arguments))
    positions = np.flatnonzero(offends.to_numpy(dtype=bool)).astype(np.int64)
    return Ran(success=not len(positions), positions=positions)


def _is_within(value: Any, arguments: dict[str, Any]) -> bool:
    least, most = arguments.get("min_value"), arguments.get("max_value")
    return (least is None or value >= least) and (most is None or value <= most)
