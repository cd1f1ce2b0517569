"""Define the ports: the shapes of all sources, sinks, readers of sinks, and channels."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Protocol

import pandas as pd

from tasks.core.batch import Batch
from tasks.core.checks import ServiceCheck
from tasks.core.errors import FedvitalsError
from tasks.core.measurement import Measurement
from tasks.core.message import Message
from tasks.core.quarantine import no_records
from tasks.core.receipt import SinkValues
from tasks.core.series import Points, SeriesKey, Sums
from tasks.core.window import Cell, Window


class Source(Protocol):
    """Extract measurements from one service."""

    name: str

    def extract(self, measurement: Measurement, environment: str, window: Window) -> Batch:
        """Return the measurement over the window."""


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
    """Load landed cells into one store.

    `name` is its kind, as receipts show it; `target` is what exactly is filled, without a secret:
    what was loaded into one bucket is still owed to another.
    """

    name: str
    target: str

    def load(
        self, measurement: Measurement, environment: str, cells: list[CellToLoad]
    ) -> list[CellAnswer]:
        """Load the cells; one answer a cell, in order. Raises nothing: an error is in the answer."""

    def close(self) -> None:
        """Give connections back."""


class Reader(Protocol):
    """Read back what a sink holds.

    Every method raises SinkUnavailable, SinkRefused or CertificateInvalid when it gets no proper
    answer.
    """

    name: str
    target: str

    def retention(self) -> timedelta | None:
        """Return how long values are retained; None for ever, or when the sink does not say."""

    def counts(
        self, measurement: Measurement, environment: str, window: Window, cell: timedelta
    ) -> Mapping[Cell, int]:
        """Count the values of each cell; one that has none is left out."""

    def sums(
        self, measurement: Measurement, environment: str, window: Window, cell: timedelta
    ) -> Sums:
        """Count and sum up each series in each cell of the window."""

    def points(
        self, measurement: Measurement, environment: str, window: Window
    ) -> dict[SeriesKey, Points]:
        """Return every value of the window."""


class Channel(Protocol):
    """Send the message of a run to one service."""

    name: str

    def send(self, message: Message) -> None:
        """Send it, at most once for each run.

        Raises:
            ChannelUnavailable: when the service did not answer, or may take it next time.
            ChannelRefused, CertificateInvalid: when it will be the same again.
        """

    def check(self) -> ServiceCheck:
        """Check that messages could be sent, without sending one."""

    def close(self) -> None:
        """Give connections back."""
