"""The lake: a table and its quarantine for each measurement."""

import tempfile
from collections.abc import Callable, Iterable
from functools import cached_property
from typing import Any

import pandas as pd
import pyarrow as pa
from deltalake import DeltaTable

from tasks.core.batch import arrow_schema, build_frame, columns_of, empty_frame
from tasks.core.documents import closest
from tasks.core.errors import UsageInvalid
from tasks.core.measurement import Measurement
from tasks.core.quarantine import SCHEMA as QUARANTINE_SCHEMA
from tasks.core.quarantine import no_records
from tasks.core.window import Cell, Window
from tasks.lake.delta import (
    append_rows,
    arrow_schema_of,
    existing_table,
    lake_errors,
    local_path,
    open_table,
    read_rows,
    replace_all_rows,
    replace_rows,
)
from tasks.lake.storage import folders, try_writing
from tasks.lake.version import check_id, check_version, ledger_id_of, write_version

QUARANTINE = "_quarantine"
LOG = "_delta_log"
# otherwise pandas turns integers with nulls into floats, which changes large ones
_EXACT_TYPES = {pa.int64(): pd.Int64Dtype(), pa.bool_(): pd.BooleanDtype()}


class Lake:
    """All tables below one URL: a local folder, or an object store.

    The lake's version is checked before the first table, so every access to a table raises
    MadeByNewer for a layout that this fedvitals does not know, and LakeDiffers for a lake that is
    not the ledger's, if `known_id` gives the id of that one.
    """

    def __init__(self, url: str, known_id: Callable[[], str | None] = lambda: None) -> None:
        self.url = url.rstrip("/")
        self._known_id = known_id

    @cached_property
    def _says_version(self) -> bool:
        says_version, known = check_version(self.url), self._known_id()
        if known is not None:
            check_id(self.url, known)
        return says_version

    def say_version(self) -> None:
        """Write the lake's version if it has none yet. Call it before creating a table."""
        if not self._says_version:
            write_version(self.url)
            self._says_version = True

    def ledger_id(self) -> str | None:
        """Return the id of the lake's ledger; None when it keeps none."""
        return ledger_id_of(self.url)

    def keep_ledger_id(self, ledger_id: str) -> None:
        """Keep the id of the lake's ledger, so that a rebuilt one gets it too."""
        write_version(self.url, ledger_id)
        self._says_version = True

    def table_url(self, name: str) -> str:
        """Return the URL of the measurement's table. Raises as say_version does."""
        # the first check raises for a newer version
        _ = self._says_version
        return f"{self.url}/{name}"

    def quarantine_url(self, name: str) -> str:
        """Return the URL of the measurement's quarantine. Raises as say_version does."""
        return self.table_url(f"{QUARANTINE}/{name}")

    def names(self) -> list[str]:
        """Return the sorted names of measurements with a table."""
        folder = local_path(self.url)
        if folder is None:
            with lake_errors(self.url):
                found = [name for name in folders(self.url) if not name.startswith("_")]
                return [name for name in found if LOG in folders(self.table_url(name))]
        there = folder.iterdir() if folder.is_dir() else iter(())
        return sorted(
            path.name for path in there if not path.name.startswith("_") and (path / LOG).is_dir()
        )

    def required_table(self, name: str) -> DeltaTable:
        """Return the measurement's table; raise UsageInvalid with a similar name for none."""
        if (table := self.table(name)) is not None:
            return table
        similar = closest(name, self.names())
        question = f"Did you mean {similar}? " if similar else ""
        raise UsageInvalid(
            argument="MEASUREMENT",
            problem=f"the lake has no table {name!r}",
            fix=f"{question}See the tables: fedvitals lake ls",
        )

    def try_writing(self) -> None:
        """Write and remove something as a landing; raise its errors, or OSError."""
        folder = local_path(self.url)
        if folder is None:
            with lake_errors(self.url):
                try_writing(self.url)
        elif folder.is_dir():
            with tempfile.TemporaryFile(dir=folder):
                pass

    def table(self, name: str) -> DeltaTable | None:
        """Open the measurement's table; None when it has none."""
        return existing_table(self.table_url(name), name)

    def has(self, name: str) -> bool:
        """Return whether the measurement has a table."""
        return self.table(name) is not None

    def prepare(self, measurement: Measurement) -> None:
        """Create the measurement's table or check that it still fits, before any work.

        Raises SchemaChanged, LakeDamaged.
        """
        self._open(measurement)

    def land(
        self,
        measurement: Measurement,
        frame: pd.DataFrame,
        cells: Iterable[Cell],
        environment: str,
        metadata: Any,
    ) -> None:
        """Replace the cells' rows by the frame's in one atomic commit.

        frame has the layout of a Batch; a column that only the table has is filled with null.
        Raises SchemaChanged, LakeBusy, LakeDamaged.
        """
        table = self._open(measurement)
        rows = frame_to_arrow(frame, measurement).select(arrow_schema_of(table).names)
        replace_rows(table, measurement.name, rows, environment, _merged(cells), metadata)

    def read(self, measurement: Measurement, environment: str, window: Window) -> pd.DataFrame:
        """Return the landed rows of the window as a Batch's, in canonical order."""
        table = self.table(measurement.name)
        if table is None:
            return empty_frame(measurement)
        known = [c for c in columns_of(measurement) if c in arrow_schema_of(table).names]
        rows = read_rows(table, measurement.name, known, environment, window)
        if not len(rows):
            return empty_frame(measurement)
        rows = rows.to_pandas(types_mapper=_EXACT_TYPES.get)
        missing = {tag: [None] * len(rows) for tag in measurement.tags if tag not in known}
        return build_frame(measurement, {**{c: rows[c] for c in known}, **missing})

    def quarantine(
        self,
        measurement: Measurement,
        records: pd.DataFrame,
        windows: Iterable[Window],
        environment: str,
    ) -> None:
        """Replace the windows' records in one atomic commit."""
        table = self.prepare_quarantine(measurement.name)
        replace_rows(
            table,
            f"{QUARANTINE}/{measurement.name}",
            _records_to_arrow(records),
            environment,
            _merged(windows),
            None,
        )

    def quarantine_more(self, measurement: Measurement, records: pd.DataFrame) -> None:
        """Append records in one atomic commit."""
        table = self.prepare_quarantine(measurement.name)
        append_rows(table, f"{QUARANTINE}/{measurement.name}", _records_to_arrow(records))

    def replace_quarantine(self, name: str, records: pd.DataFrame) -> None:
        """Replace all records of the measurement in one atomic commit."""
        table = self.prepare_quarantine(name)
        replace_all_rows(table, f"{QUARANTINE}/{name}", _records_to_arrow(records))

    def quarantined(
        self, name: str, environment: str | None = None, window: Window | None = None
    ) -> pd.DataFrame:
        """Return the records of a measurement, oldest first."""
        table = existing_table(self.quarantine_url(name), name)
        if table is None:
            return no_records()
        label = f"{QUARANTINE}/{name}"
        rows = read_rows(table, label, QUARANTINE_SCHEMA.names, environment, window).to_pandas()
        return rows.sort_values(["time", "tags", "field"], ignore_index=True)

    def _open(self, measurement: Measurement) -> DeltaTable:
        self.say_version()
        url = self.table_url(measurement.name)
        return open_table(url, measurement.name, arrow_schema(measurement), measurement.all_tags)

    def prepare_quarantine(self, name: str) -> DeltaTable:
        """Open the measurement's quarantine, created if missing. Raises as prepare."""
        self.say_version()
        label = f"{QUARANTINE}/{name}"
        return open_table(self.quarantine_url(name), label, QUARANTINE_SCHEMA)


def frame_to_arrow(frame: pd.DataFrame, measurement: Measurement) -> pa.Table:
    """Return the frame with exact types; tags stay dictionaries, stored as strings."""
    schema = arrow_schema(measurement)
    columns = []
    for field in schema:
        column = pa.Array.from_pandas(frame[field.name])
        if pa.types.is_dictionary(column.type):
            values = column.dictionary.cast(pa.string())
            column = pa.DictionaryArray.from_arrays(column.indices, values)
        elif column.type != field.type:
            column = column.cast(field.type)
        columns.append(column)
    return pa.table(columns, names=schema.names)


def _records_to_arrow(records: pd.DataFrame) -> pa.Table:
    return pa.Table.from_pandas(
        records, schema=QUARANTINE_SCHEMA, preserve_index=False
    ).replace_schema_metadata()


def _merged(windows: Iterable[Window]) -> list[Window]:
    """Merge adjacent windows, for a short predicate."""
    merged: list[Window] = []
    for window in sorted(windows, key=lambda each: each.start):
        if merged and merged[-1].stop == window.start:
            merged[-1] = Window(merged[-1].start, window.stop)
        else:
            merged.append(Window(window.start, window.stop))
    return merged
