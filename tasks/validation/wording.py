"""Short descriptions of an expectation's limit and observation."""

from typing import Any

import numpy as np
import pandas as pd

from tasks.core.outside import escaped
from tasks.validation.engine import Ran
from tasks.validation.model import (
    IN_SET,
    MANY_COLUMNS,
    NOT_IN_SET,
    NOT_NULL,
    NULL,
    ONE_COLUMN,
    PAIR,
    UNIQUE,
    Expectation,
)

# number of offending values shown
_SAMPLES = 3
_FIXED = {UNIQUE: "each key once", NOT_NULL: "never missing", NULL: "always missing"}
# arguments with a wording of their own
_BOUNDS = ("min_value", "max_value", "strict_min", "strict_max", "mostly")


def limit_of(expectation: Expectation) -> str:
    """Describe the limit, e.g. `0 to 1`, `at most 5`, `never missing`."""
    arguments = expectation.arguments
    named = (*ONE_COLUMN, *MANY_COLUMNS, *_BOUNDS)
    if expectation.type in _FIXED:
        limits = [_FIXED[expectation.type]]
    elif expectation.type in (IN_SET, NOT_IN_SET):
        word = "one of" if expectation.type == IN_SET else "none of"
        limits = [f"{word} {shown(arguments['value_set'])}"]
    elif expectation.type == PAIR:
        least = "at least" if arguments.get("or_equal") else "more than"
        limits = [f"{arguments['column_A']} {least} {arguments['column_B']}"]
    else:
        others = {key: value for key, value in arguments.items() if key not in named}
        limits = _bounds(arguments) + [f"{key} {shown(value)}" for key, value in others.items()]
    if arguments.get("mostly", 1) != 1:
        limits.append(f"in {100 * arguments['mostly']:g} % of rows at least")
    return ", ".join(limits)


def _bounds(arguments: dict[str, Any]) -> list[str]:
    least, most = arguments.get("min_value"), arguments.get("max_value")
    over, under = arguments.get("strict_min", False), arguments.get("strict_max", False)
    if least is not None and most is not None and not over and not under:
        return [f"{shown(least)} to {shown(most)}"]
    bounds = []
    if least is not None:
        bounds.append(f"{'more than' if over else 'at least'} {shown(least)}")
    if most is not None:
        bounds.append(f"{'less than' if under else 'at most'} {shown(most)}")
    return bounds


def observed_by(expectation: Expectation, ran: Ran, frame: pd.DataFrame) -> str:
    """Describe the observation, e.g. `3 of 240 rows, such as -1, 1.5`."""
    if ran.problem:
        return "could not run"
    if ran.positions is None:
        return "" if ran.observed is None else shown(ran.observed)
    if not len(ran.positions):
        return f"none of {len(frame)} rows"
    text = f"{len(ran.positions)} of {len(frame)} rows"
    # a missing value has nothing to show; of a key, every column is shown
    if expectation.type == NOT_NULL:
        return text
    columns = list(dict.fromkeys(expectation.columns))
    rows = frame[columns].iloc[ran.positions[:_SAMPLES]]
    samples = dict.fromkeys(" ".join(map(shown, row)) for row in rows.itertuples(index=False))
    return f"{text}, such as {', '.join(samples)}"


def shown(value: Any) -> str:
    """Format a value of any type as text."""
    if isinstance(value, list | tuple | set):
        return ", ".join(map(shown, value))
    if value is None or value is pd.NaT or value is pd.NA or value != value:
        return "–"
    if isinstance(value, float | np.floating):
        return f"{value:.12g}"
    if isinstance(value, pd.Timestamp):
        return str(value.isoformat()).replace("+00:00", "Z")
    return escaped(str(value))
