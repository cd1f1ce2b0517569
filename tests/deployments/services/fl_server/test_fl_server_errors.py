"""Errors: they say what to do, and survive pickling."""

import pickle

import pytest

from deployments.services.fl_server import errors

CASES = [
    (errors.UnsafeHostError("192.0.2.7"), "192.0.2.7"),
    (errors.FaultPathError("/testing/faults"), "/testing/faults"),
    (errors.MissingTokenError("MY_TOKEN"), "MY_TOKEN"),
    (errors.ListenError("127.0.0.1", 80, "in use"), "127.0.0.1:80: in use"),
    (errors.DivergedError(3), "round 3"),
]


@pytest.mark.parametrize(("error", "fact"), CASES)
def test_an_error_carries_its_facts_through_pickle(error: errors.FlServerError, fact: str) -> None:
    copy = pickle.loads(pickle.dumps(error))
    assert fact in str(error)
    assert (str(copy), copy.__dict__) == (str(error), error.__dict__)


def test_every_error_is_covered_here() -> None:
    leaves = set(errors.FlServerError.__subclasses__())
    assert leaves == {type(error) for error, _ in CASES}
