"""Export of landed rows to a file; a day of them is in memory at once."""

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from errno import EIO
from pathlib import Path
from typing import Literal

import msgspec
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as csv
import pyarrow.parquet as pq

from tasks.core.errors import UsageInvalid
from tasks.core.whole_file import draft_of
from tasks.core.window import Window
from tasks.lake.delta import arrow_schema_of, read_rows
from tasks.lake.maintenance import environments_of
from tasks.lake.migration import days_of
from tasks.lake.tables import Lake

Format = Literal["csv", "parquet", "jsonl"]
_ISO = "%Y-%m-%dT%H:%M:%SZ"
_ROWS_AT_ONCE = 50_000


@dataclass(frozen=True)
class Exported:
    """A written file."""

    file: str
    format: Format
    rows: int
    bytes: int


def environments(lake: Lake, name: str) -> frozenset[str]:
    """Return the environments in the table; raise UsageInvalid without a table."""
    return environments_of(lake.required_table(name), name)


def export(
    lake: Lake,
    name: str,
    environment: str | None,
    window: Window | None,
    format: Format,
    file: Path,
    safe_csv: bool = False,
) -> Exported:
    """Write the window's rows, ordered by time and tags; None stands for all.

    Columns are the table's, nulls stay nulls (nothing between the commas in CSV), floats are exact.
    Times are ISO 8601 in UTC with six decimals in CSV and JSON. With `safe_csv` no text is a formula
    to a spreadsheet: one that begins as such gets an apostrophe in front. The file is written atomically.
    Raises UsageInvalid when there is no such table, or the file cannot be written.
    """
    table = lake.required_table(name)
    schema, rows = arrow_schema_of(table), 0
    days = days_of(table, name, window)
    order = [(column, "ascending") for column in _order(schema)]
    with _whole_file(file) as draft, _WRITERS[format](draft, schema) as write:
        for day in days:
            part = read_rows(table, name, schema.names, environment, day).sort_by(order)
            write(_without_formulas(part) if safe_csv else part)
            rows += len(part)
    return Exported(str(file), format, rows, file.stat().st_size)


def _order(schema: pa.Schema) -> list[str]:
    return ["time", *(field.name for field in schema if pa.types.is_string(field.type))]


@contextmanager
def _whole_file(file: Path) -> Iterator[Path]:
    try:
        with draft_of(file) as draft:
            yield draft
            draft.replace(file)
    except OSError as error:
        raise UsageInvalid(
            argument="--output",
            problem=f"{file} cannot be written: {os.strerror(error.errno or EIO)}",
            fix="Name a file in a writable folder",
        ) from error


Write = Callable[[pa.Table], None]


@contextmanager
def _csv(file: Path, schema: pa.Schema) -> Iterator[Write]:
    with csv.CSVWriter(str(file), _with_texts(schema.empty_table()).schema) as writer:
        yield lambda rows: writer.write_table(_with_texts(rows))


@contextmanager
def _parquet(file: Path, schema: pa.Schema) -> Iterator[Write]:
    with pq.ParquetWriter(str(file), schema, compression="zstd") as writer:
        yield writer.write_table


@contextmanager
def _jsonl(file: Path, schema: pa.Schema) -> Iterator[Write]:
    encoder = msgspec.json.Encoder()
    with file.open("wb") as stream:

        def write(rows: pa.Table) -> None:
            for batch in _with_texts(rows).to_batches(max_chunksize=_ROWS_AT_ONCE):
                stream.write(encoder.encode_lines(batch.to_pylist()))

        yield write


_WRITERS = {"csv": _csv, "parquet": _parquet, "jsonl": _jsonl}


def _without_formulas(rows: pa.Table) -> pa.Table:
    for index, field in enumerate(rows.schema):
        if pa.types.is_string(field.type):
            text = pc.replace_substring_regex(rows[index], r"\A([=+\-@\t\r\n])", r"'\1")
            rows = rows.set_column(index, field, text)
    return rows


def _with_texts(rows: pa.Table) -> pa.Table:
    index = rows.schema.get_field_index("time")
    return rows.set_column(index, "time", pc.strftime(rows["time"], format=_ISO))
