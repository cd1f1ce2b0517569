"""What process hands to a sink and what a sink answers."""

from dataclasses import dataclass, field
from typing import Protocol

import pandas as pd

from tasks.core.catalogue import Measurement
from tasks.core.errors import FedvitalsError
from tasks.core.quarantine import no_records
from tasks.core.receipt import SinkValues
from tasks.core.window import Cell


@dataclass(frozen=True)
class CellToLoad:
    """The landed rows of one cell, and whether the sink may hold values that are no longer true."""

    cell: Cell
    frame: pd.DataFrame
    erase_first: bool = False


@dataclass(frozen=True)
class CellAnswer:
    """What a sink did with one cell. A cell is loaded only when no value of it is pending.

    `refusals` are quarantine records of the values that the sink refused for good; `error` is why
    the cell is pending.
    """

    cell: Cell
    values: SinkValues
    refusals: pd.DataFrame = field(default_factory=no_records)
    error: FedvitalsError | None = None


class Sink(Protocol):
    """The one shape of all sinks.

    `name` is its kind, as receipts show it; `target` is what exactly is filled, without a secret:
    what was loaded into one bucket is still owed to another.
    """

    name: str
    target: str

    def load(
        self, measurement: Measurement, environment: str, cells: list[CellToLoad]
    ) -> list[CellAnswer]:
        """Loads the cells; one answer a cell, in order. Raises nothing: an error is in the answer."""
        ...

    def close(self) -> None:
        """Gives connections back."""
        ...
