"""docs/reliability.md says which test holds each promise: each of them is there."""

import re
from pathlib import Path

TESTS = Path(__file__).parent
PROMISES = TESTS.parent / "docs" / "reliability.md"


def test_every_test_that_is_named_is_there() -> None:
    absent, file, found = [], "", 0
    for name in re.findall(r"`([^`]+)`", PROMISES.read_text("utf-8")):
        path, colons, function = name.partition("::")
        if not path.endswith(".py") and not (colons and not path and function):
            continue
        file = path or file
        found += 1
        there = TESTS / file
        is_there = there.is_file() and (
            not function or f"def {function}(" in there.read_text("utf-8")
        )
        absent += [] if is_there else [f"{file}::{function}"]
    assert found > 200
    assert absent == []
