"""Great Expectations, imported when first needed; nothing is stored or sent.

Each thread keeps an ephemeral context of its own, since contexts are not thread-safe.
"""

import logging
import os
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from tasks.validation.model import Expectation, Suite

# counts the offending rows; of a suite that passes it takes two thirds of the time of COMPLETE
_COUNTED = {"result_format": "BASIC", "partial_unexpected_count": 0}
# only positions: values are looked up in the frame, index columns would cost 36 times more
_LOCATED = {
    **_COUNTED,
    "result_format": "COMPLETE",
    "exclude_unexpected_values": True,
    "return_unexpected_index_query": False,
}
# arguments of every type that do not concern the data
_NOT_ARGUMENTS = {"id", "meta", "notes", "result_format", "description", "catch_exceptions"}
_NOT_ARGUMENTS |= {"rendered_content", "severity", "windows", "batch_id"}
_making = threading.Lock()


class _Mine(threading.local):
    rows: Any = None


_mine = _Mine()


@dataclass(frozen=True)
class Ran:
    """Result of one expectation.

    `positions` are the offending rows, None if it does not examine single rows; `observed` is its
    observation instead; `problem` is the reason when it could not run.
    """

    success: bool
    positions: np.ndarray[Any, np.dtype[np.int64]] | None = None
    observed: Any = None
    problem: str = ""


def run(frame: pd.DataFrame, suite: Suite) -> dict[str, Ran]:
    """Run the suite, by check_id in its order, on a frame with a fresh RangeIndex."""
    batch = _rows_definition().get_batch({"dataframe": frame})
    try:
        results = _validated(batch, suite.name, suite.expectations, _COUNTED)
        offended = [each for each in suite.expectations if _offending(results.get(each.check_id))]
        if offended:
            results |= _validated(batch, suite.name, offended, _LOCATED)
    finally:
        _let_go(batch)
    missing = Ran(success=False, problem="Great Expectations gave no result for it")
    return {
        each.check_id: _ran(results[each.check_id]) if each.check_id in results else missing
        for each in suite.expectations
    }


def _validated(
    batch: Any, name: str, expectations: Sequence[Expectation], result_format: dict[str, Any]
) -> dict[str, Any]:
    """Return Great Expectations' results by check_id; it has an order of its own."""
    results = batch.validate(_loaded(name, expectations), result_format=result_format).results
    return {result.expectation_config.meta["check_id"]: result for result in results}


def _offending(result: Any) -> int:
    return 0 if result is None else int((result.result or {}).get("unexpected_count") or 0)


def known_types() -> list[str]:
    """Return the expectation types that Great Expectations has."""
    _import()
    from great_expectations.expectations import registry

    return list(registry.list_registered_expectation_implementations())


def arguments_of(kind: str) -> list[str]:
    """Return the kwargs of an expectation type."""
    _import()
    from great_expectations.expectations import registry

    names = registry.get_expectation_impl(kind).__fields__
    return [name for name in names if name not in _NOT_ARGUMENTS]


def problem_with(kind: str, arguments: dict[str, Any]) -> str:
    """Return why Great Expectations refuses these arguments, empty when it takes them."""
    _import()
    from great_expectations.expectations.expectation_configuration import ExpectationConfiguration

    try:
        ExpectationConfiguration(type=kind, kwargs=dict(arguments)).to_domain_obj()
    except ValueError as error:  # pydantic's ValidationError is one
        return _in_one_line(error)
    return ""


def loaded_types(suite: Suite) -> list[str]:
    """Return the types of expectations that Great Expectations keeps of the suite."""
    return [each.expectation_type for each in _loaded(suite.name, suite.expectations).expectations]


def _import() -> Any:
    os.environ.setdefault("GX_ANALYTICS_ENABLED", "false")
    import great_expectations

    # failures are in the results, and reported from there
    logging.getLogger("great_expectations").setLevel(logging.CRITICAL)
    return great_expectations


def _rows_definition() -> Any:
    if _mine.rows is None:
        # importing and creating a context both touch state shared by all threads
        with _making:
            context = _import().get_context(mode="ephemeral")
            context.variables.progress_bars = {"globally": False}
            source = context.data_sources.add_pandas("fedvitals")
        asset = source.add_dataframe_asset("batch")
        _mine.rows = asset.add_batch_definition_whole_dataframe("rows")
    return _mine.rows


def _let_go(batch: Any) -> None:
    """Make the context forget the frame, which it would keep until the next."""
    manager = batch.data.execution_engine.batch_manager
    manager.reset_batch_cache()
    manager.batch_data_cache.clear()


def _loaded(name: str, expectations: Sequence[Expectation]) -> Any:
    _import()
    from great_expectations.core.expectation_suite import ExpectationSuite

    # Great Expectations keeps and changes its arguments, so these are copies
    plain = [
        {"type": each.type, "kwargs": dict(each.arguments), "meta": {"check_id": each.check_id}}
        for each in expectations
    ]
    return ExpectationSuite(name=name, expectations=plain)


def _ran(result: Any) -> Ran:
    problem = _problem(dict(result.exception_info or {}))
    if problem:
        return Ran(success=False, problem=problem)
    found = dict(result.result)
    # without offending rows only their count is asked for
    positions = found.get("unexpected_index_list", [] if "unexpected_count" in found else None)
    return Ran(
        success=bool(result.success),
        positions=None if positions is None else np.array(positions, dtype=np.int64),
        observed=found.get("observed_value"),
    )


def _problem(info: dict[str, Any]) -> str:
    """Return its exception; an early failure has one for each missing metric."""
    if "raised_exception" in info:
        return _in_one_line(info["exception_message"]) if info["raised_exception"] else ""
    return "; ".join(sorted({_in_one_line(each["exception_message"]) for each in info.values()}))


def _in_one_line(message: object) -> str:
    return " ".join(str(message).split()) or "it could not run"
