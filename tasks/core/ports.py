"""Define the ports (source, sink, reader, channel) and how each is declared.

A declaration (SourceKind, SinkKind, ChannelKind) is all that the rest of fedvitals knows of an adapter.
Ours stand in tasks/runs/base/registry.py; another package registers its own as an entry point of
`fedvitals.sources`, `fedvitals.sinks` or `fedvitals.channels`, under the declaration's name.
"""

from collections.abc import Callable, Iterable, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any, Literal, Protocol

import pandas as pd

from tasks.core import plugins
from tasks.core.batch import Batch
from tasks.core.checks import ServiceCheck
from tasks.core.errors import FedvitalsError
from tasks.core.history import KnownRun
from tasks.core.incidents import Acknowledgement, AlertMessage, ShownIncident
from tasks.core.measurement import Measurement
from tasks.core.message import Message
from tasks.core.quarantine import no_records
from tasks.core.receipt import Receipt, SinkValues
from tasks.core.series import Points, SeriesKey, Sums
from tasks.core.services import Service, Tuning
from tasks.core.window import Cell, Window

# what past a source has: any range can be asked for, none, or numbered rounds of a training
History = Literal["range", "sample", "rounds"]


class Source(Protocol):
    """Extract measurements from one service."""

    name: str
    history: History

    def extract(self, measurement: Measurement, environment: str, window: Window) -> Batch:
        """Return the measurement over the window."""


@dataclass(frozen=True)
class CellToLoad:
    """The landed rows of one cell, and whether the sink may hold values that are no longer true.

    Rows before `sent_until` were sent, or may have been, to a sink that takes nothing twice.
    """

    cell: Cell
    frame: pd.DataFrame
    erase_first: bool = False
    sent_until: datetime | None = None


@dataclass(frozen=True)
class CellAnswer:
    """What a sink did with one cell. A cell is loaded only when no value of it is pending.

    `refusals` are quarantine records of the values that the sink refused for good; `error` is why
    the cell is pending; `skipped` is the rule by which values were skipped. An answer that is not
    whole says of a cell under way how far it is sent.
    """

    cell: Cell
    values: SinkValues
    refusals: pd.DataFrame = field(default_factory=no_records)
    error: FedvitalsError | None = None
    skipped: str = ""
    sent_until: datetime | None = None
    is_whole: bool = True


class Sink(Protocol):
    """Load landed cells into one store.

    `name` is its kind, as receipts show it; `target` is what exactly is filled, without a secret:
    what was loaded into one bucket is still owed to another. One that is `in_order` is loaded after
    all else of a measurement, the oldest cell first; the others as soon as a cell is landed.
    """

    name: str
    target: str
    in_order: bool

    def load(
        self, measurement: Measurement, environment: str, cells: list[CellToLoad]
    ) -> Iterable[CellAnswer]:
        """Load the cells; one whole answer a cell, in any order, and none is raised as an error.

        A list is recorded at once; of an iterator each answer is, before the next is asked for.
        """

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

    def close(self) -> None:
        """Give connections back."""


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


class AlertChannel(Protocol):
    """Show incidents in one service, one message an incident where the service can."""

    name: str

    def send(self, message: AlertMessage, reference: str) -> str:
        """Show it; `reference` is what the last message of the incident returned, "" before that.

        What is returned is kept with the incident: an id or a number, by which it is found again.

        Raises:
            ChannelUnavailable: when the service did not answer, or may take it next time.
            ChannelRefused, CertificateInvalid: when it will be the same again.
        """

    def acknowledged(self, references: Mapping[str, str]) -> Mapping[str, Acknowledgement]:
        """Return acknowledgements made there, by incident id, of those with a reference.

        How long they hold is not the channel's to say: `until` is when they were made.
        """
        return {}

    def shown(self) -> Iterable[ShownIncident]:
        """Return what it shows as open, for a ledger that knows nothing of it; raise as `send`."""
        return ()

    def check(self) -> ServiceCheck:
        """Check that messages could be sent, without sending one."""

    def close(self) -> None:
        """Give connections back."""


@dataclass(frozen=True)
class Opening:
    """Open an adapter with its service; a sink also with its section of sinks.yaml."""

    service: Any
    retry_timeout: timedelta
    tuning: Any = None

    @property
    def seconds(self) -> float:
        """How long what fails may be tried again."""
        return self.retry_timeout.total_seconds()


@dataclass(frozen=True)
class SourceOpening(Opening):
    """Open a source also with the run's time and what earlier runs kept for it.

    `gate` lets a few queries through at once. `landed` returns the run of a training that is landed.
    `last_page` returns the page that the last good run kept of a URL; `keep_page` keeps this run's.
    `recorded` is what the checker of health recorded, `changes` those of incidents, and `cell` the
    unit of state.
    """

    environment: str = ""
    now: datetime = field(default_factory=lambda: datetime.now(UTC))
    gate: AbstractContextManager[Any] = field(default_factory=nullcontext)
    landed: Callable[[Measurement, str], KnownRun | None] = lambda *_: None
    last_page: Callable[[str], tuple[datetime, bytes] | None] = lambda _: None
    keep_page: Callable[[str, datetime, bytes], None] = lambda *_: None
    recorded: Any = None
    changes: Any = None
    cell: timedelta = timedelta(hours=1)


class OpenSource(Source, Protocol):
    """A source as it is opened, once a run."""

    def close(self) -> None:
        """Give connections back."""


@dataclass(frozen=True, kw_only=True)
class Adapter:
    """Declare an adapter: its name, its service's settings model, and its check.

    `settings` is None when it needs no service; `service` names one of ours that it uses.
    """

    name: str
    title: str = ""
    settings: type[Service] | None = Service
    service: str = ""
    check: Callable[[Any], Iterable[ServiceCheck]] = lambda service: ()

    @property
    def service_name(self) -> str:
        """The service that it uses."""
        return self.service or self.name


@dataclass(frozen=True, kw_only=True)
class SourceKind(Adapter):
    """Declare a source. Where its service is not configured, `stand_in` is read.

    `probe` looks at each field without extracting; `count` counts series, for a backfill's estimate.
    One that `is_own` reads what fedvitals itself recorded, so that it is always there.
    """

    history: History
    is_own: bool = False
    open: Callable[[SourceOpening], OpenSource]
    stand_in: "SourceKind | None" = None
    probe: Callable[[Any, Measurement, datetime], tuple[Any, ...]] | None = None
    count: Callable[[Any, Measurement, Window], dict[str, Any]] | None = None


@dataclass(frozen=True, kw_only=True)
class SinkKind(Adapter):
    """Declare a sink: how to load it, read it back, and create what is missing.

    One without a reader takes nothing twice, and cannot be compared with the lake. `package` is the
    module that it needs, and `extra` the extra of fedvitals that has it.
    """

    open: Callable[[Opening], Sink]
    reader: Callable[[Opening], Reader] | None = None
    package: str = ""
    extra: str = ""
    tuning: type[Tuning] = Tuning
    create: Callable[[Any], ServiceCheck] | None = None


@dataclass(frozen=True, kw_only=True)
class ChannelKind(Adapter):
    """Declare a channel; `wants` selects the runs to send (message.at_least)."""

    open: Callable[[Opening], Channel]
    wants: Callable[[Receipt], bool]


@dataclass(frozen=True, kw_only=True)
class AlertChannelKind(Adapter):
    """Declare a channel of incidents.

    `repeats` says that a second send of one message shows twice: the service cannot be asked.
    """

    open: Callable[[Opening], AlertChannel]
    repeats: bool = False


KINDS: Mapping[str, type[Adapter]] = {
    plugins.SOURCES: SourceKind,
    plugins.SINKS: SinkKind,
    plugins.CHANNELS: ChannelKind,
}
