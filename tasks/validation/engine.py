"""Great Expectations as fedvitals uses it: imported when first needed, nothing stored, nothing sent.

Each thread has an ephemeral context of its own and keeps it; a context is not made for sharing.
"""

import logging
import os
import threading
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from tasks.validation.model import Suite

# positions alone: values are looked up in the frame, index columns would cost 36 times more
_RESULT_FORMAT = {
    "result_format": "COMPLETE",
    "exclude_unexpected_values": True,
    "return_unexpected_index_query": False,
    "partial_unexpected_count": 0,
}
# arguments that every type takes and that are not about the data
_NOT_ARGUMENTS = {"id", "meta", "notes", "result_format", "description", "catch_exceptions"}
_NOT_ARGUMENTS |= {"rendered_content", "severity", "windows", "batch_id"}
_making = threading.Lock()


class _Mine(threading.local):
    rows: Any = None


_mine = _Mine()


@dataclass(frozen=True)
class Ran:
    """What came of one expectation.

    `positions` are the offending rows, None when it does not look at single rows; `observed` is
    what it saw instead; `problem` says why it could not run, and is empty when it did.
    """

    success: bool
    positions: np.ndarray[Any, np.dtype[np.int64]] | None = None
    observed: Any = None
    problem: str = ""


def run(frame: pd.DataFrame, suite: Suite) -> dict[str, Ran]:
    """Run the suite, by check_id in its order, on a frame with a fresh RangeIndex."""
    rows = _rows_definition()
    loaded = _loaded(suite)
    batch = rows.get_batch({"dataframe": frame})
    try:
        results = batch.validate(loaded, result_format=_RESULT_FORMAT).results
    finally:
        _let_go(batch)
    # they come in another order than the suite's
    ran = {result.expectation_config.meta["check_id"]: _ran(result) for result in results}
    missing = Ran(success=False, problem="Great Expectations gave no result for it")
    return {each.check_id: ran.get(each.check_id, missing) for each in suite.expectations}


def known_types() -> list[str]:
    """The expectation types that Great Expectations has."""
    _import()
    from great_expectations.expectations import registry

    return list(registry.list_registered_expectation_implementations())


def arguments_of(kind: str) -> list[str]:
    """What an expectation type takes as kwargs."""
    _import()
    from great_expectations.expectations import registry

    names = registry.get_expectation_impl(kind).__fields__
    return [name for name in names if name not in _NOT_ARGUMENTS]


def problem_with(kind: str, arguments: dict[str, Any]) -> str:
    """Why Great Expectations refuses these arguments, empty when it takes them."""
    _import()
    from great_expectations.expectations.expectation_configuration import ExpectationConfiguration

    try:
        ExpectationConfiguration(type=kind, kwargs=dict(arguments)).to_domain_obj()
    except ValueError as error:  # pydantic's ValidationError is one
        return _in_one_line(error)
    return ""


def loaded_types(suite: Suite) -> list[str]:
    """The types of the expectations that are left once Great Expectations has loaded the suite."""
    return [each.expectation_type for each in _loaded(suite).expectations]


def _import() -> Any:
    os.environ.setdefault("GX_ANALYTICS_ENABLED", "false")
    import great_expectations

    # whatever fails is in the results, and is reported from there
    logging.getLogger("great_expectations").setLevel(logging.CRITICAL)
    return great_expectations


def _rows_definition() -> Any:
    if _mine.rows is None:
        # importing and making a context both touch what is shared by all threads
        with _making:
            context = _import().get_context(mode="ephemeral")
            context.variables.progress_bars = {"globally": False}
            source = context.data_sources.add_pandas("fedvitals")
        asset = source.add_dataframe_asset("batch")
        _mine.rows = asset.add_batch_definition_whole_dataframe("rows")
    return _mine.rows


def _let_go(batch: Any) -> None:
    """Makes the context forget the frame, which it would keep until its next one or its own end."""
    manager = batch.data.execution_engine.batch_manager
    manager.reset_batch_cache()
    manager.batch_data_cache.clear()


def _loaded(suite: Suite) -> Any:
    _import()
    from great_expectations.core.expectation_suite import ExpectationSuite

    # it keeps and changes what it is given, so these are new
    plain = [
        {"type": each.type, "kwargs": dict(each.arguments), "meta": {"check_id": each.check_id}}
        for each in suite.expectations
    ]
    return ExpectationSuite(name=suite.name, expectations=plain)


def _ran(result: Any) -> Ran:
    problem = _problem(dict(result.exception_info or {}))
    if problem:
        return Ran(success=False, problem=problem)
    found = dict(result.result)
    positions = found.get("unexpected_index_list")
    return Ran(
        success=bool(result.success),
        positions=None if positions is None else np.array(positions, dtype=np.int64),
        observed=found.get("observed_value"),
    )


def _problem(info: dict[str, Any]) -> str:
    """Its exception; one that failed early has one for each thing that could not be computed."""
    if "raised_exception" in info:
        return _in_one_line(info["exception_message"]) if info["raised_exception"] else ""
    return "; ".join(sorted({_in_one_line(each["exception_message"]) for each in info.values()}))


def _in_one_line(message: object) -> str:
    return " ".join(str(message).split()) or "it could not run"
