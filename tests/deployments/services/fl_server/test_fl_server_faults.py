"""Faults: what may be asked for, how often they come, what they do to a body."""

import json

import pytest
from pydantic import TypeAdapter, ValidationError

from deployments.services.fl_server.faults import ErrorFault, Fault, FaultBoard, cut, without_field

FAULT: TypeAdapter[Fault] = TypeAdapter(Fault)


@pytest.mark.parametrize(
    "body",
    [
        {"path": "/health", "kind": "slow", "seconds": 0.1},
        {"path": "/health", "kind": "error_500", "times": 2},
        {"path": "/health", "kind": "malformed_json"},
        {"path": "/health", "kind": "missing_field", "field": "status"},
    ],
)
def test_each_kind_is_understood(body: dict[str, object]) -> None:
    fault = FAULT.validate_python(body)
    assert fault.model_dump(exclude_none=True) == body


@pytest.mark.parametrize(
    "body",
    [
        {"path": "/health", "kind": "slow"},
        {"path": "/health", "kind": "slow", "seconds": 3600},
        {"path": "/health", "kind": "error_500", "seconds": 1},
        {"path": "/health", "kind": "missing_field"},
        {"path": "/health", "kind": "error_500", "times": 0},
        {"path": "/health", "kind": "earthquake"},
        {"path": "health", "kind": "error_500"},
        {"path": "/testing/faults", "kind": "error_500"},
    ],
)
def test_what_makes_no_sense_is_refused(body: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        FAULT.validate_python(body)


def test_a_fault_comes_as_often_as_asked_and_on_its_path_alone() -> None:
    board, fault = FaultBoard(), ErrorFault(path="/health", kind="error_500", times=2)
    board.add(fault)
    assert board.take("/metrics") is None
    assert [board.take("/health") for _ in range(3)] == [fault, fault, None]


def test_a_fault_without_a_number_lasts_until_it_is_cleared() -> None:
    board, fault = FaultBoard(), ErrorFault(path="/health", kind="error_500")
    board.add(fault)
    assert [board.take("/health") for _ in range(3)] == [fault] * 3
    assert board.clear() == 1
    assert board.take("/health") is None
    assert board.clear() == 0


def test_a_cut_body_cannot_be_parsed() -> None:
    with pytest.raises(json.JSONDecodeError):
        json.loads(cut(b'{"status": "ok"}'))


@pytest.mark.parametrize(
    ("field", "left"),
    [
        ("a", {"b": {"c": 2, "d": 3}, "l": [{"x": 1, "y": 2}]}),
        ("b.c", {"a": 1, "b": {"d": 3}, "l": [{"x": 1, "y": 2}]}),
        ("l.x", {"a": 1, "b": {"c": 2, "d": 3}, "l": [{"y": 2}]}),
        ("z", {"a": 1, "b": {"c": 2, "d": 3}, "l": [{"x": 1, "y": 2}]}),
        ("a.deeper", {"a": 1, "b": {"c": 2, "d": 3}, "l": [{"x": 1, "y": 2}]}),
    ],
)
def test_a_field_is_taken_out_of_json(field: str, left: dict[str, object]) -> None:
    body = b'{"a": 1, "b": {"c": 2, "d": 3}, "l": [{"x": 1, "y": 2}]}'
    assert json.loads(without_field(body, field, is_json=True)) == left


def test_lines_are_taken_out_of_text() -> None:
    assert without_field(b"x 1\ny 2\n", "x", is_json=False) == b"y 2\n"
