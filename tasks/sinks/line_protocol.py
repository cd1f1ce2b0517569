"""InfluxDB line protocol from columns: bytes made by Arrow, never a Python string a row."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from tasks.core.batch import time_micros
from tasks.core.measurement import FieldType, Measurement

Precision = Literal["s", "us"]
Integers = np.ndarray[Any, np.dtype[np.int64]]
Booleans = np.ndarray[Any, np.dtype[np.bool_]]

# 64-bit offsets: long strings may add up to more than 2 GB
TEXT = pa.large_string()
MICROS_PER_SECOND = 1_000_000
# of InfluxDB: bytes of measurement, tags and one field's name, with a separator of four
LONGEST_KEY, SEPARATOR = 65_535, 4
_TAG_RULES: tuple[tuple[str, Callable[[str], bool]], ...] = (
    ("tag_trailing_backslash", lambda text: text.endswith("\\")),
    # a carriage return is written, but no answer as CSV has it
    ("tag_line_break", lambda text: "\n" in text or "\r" in text),
)


@dataclass(frozen=True)
class Lines:
    """The lines of a frame's rows, one after the other.

    Row i's line, its line end included, is `buffer[offsets[i]:offsets[i + 1]]`; `offsets` has one
    entry more than there are rows. A row without any value has no line: its two offsets are equal.
    `values[i]` counts the values (non-null fields) of row i. `precision` is the unit of all times.
    """

    buffer: memoryview
    offsets: Integers
    values: Integers
    precision: Precision


def to_lines(frame: pd.DataFrame, measurement: Measurement) -> Lines:
    """The line protocol of a Batch's frame; the same frame gives the same bytes.

    Tags are ordered by key and left out where null, fields are in the catalogue's order. The frame
    has no row that `unwritable` names, and no empty tag. Floats are printed in the fewest digits
    that read back exactly.

    Raises:
        ValueError: when a float is infinite.
    """
    columns = {
        name: _as_text(frame[name], spec.type, name) for name, spec in measurement.fields.items()
    }
    values = values_of_rows(frame, measurement)
    times, precision = _times(frame)
    numbers, heads = _heads(frame, measurement)
    lines = pc.binary_join_element_wise(
        heads.take(numbers), _joined_fields(columns, values), times, _text(" ")
    )
    _, offsets, data = lines.buffers()
    starts = np.frombuffer(offsets or bytes(8), dtype="int64", count=len(lines) + 1)
    return Lines(memoryview(data or b""), starts, values, precision)


def unwritable(
    frame: pd.DataFrame, measurement: Measurement
) -> Iterator[tuple[str, str, Booleans]]:
    """Yield rows that no line can express: the check's id, the reason, and the rows."""
    for tag in measurement.all_tags:
        for check_id, breaks in _TAG_RULES:
            texts = frame[tag].cat.categories
            codes = [code for code, text in enumerate(texts) if breaks(text)]
            if codes:
                value = texts[codes[0]][-40:]
                why = f"line protocol cannot express values of the tag {tag} such as {value!r}"
                yield check_id, why, np.isin(frame[tag].cat.codes.to_numpy(), codes)
    too_long = _too_long(frame, measurement)
    if too_long.any():
        why = f"a series key of InfluxDB has at most {LONGEST_KEY} bytes"
        yield "series_key_too_long", why, too_long


def _too_long(frame: pd.DataFrame, measurement: Measurement) -> Booleans:
    found = np.zeros(len(frame), dtype="bool")
    texts = (frame[tag].cat.categories for tag in measurement.all_tags)
    longest = sum(max((len(text.encode()) for text in each), default=0) for each in texts)
    # every byte may be escaped, and names are short
    if 2 * longest < LONGEST_KEY // 2:
        return found
    numbers, heads = _heads(frame, measurement)
    keys = pc.binary_length(heads).take(numbers).to_numpy() + SEPARATOR
    for name in measurement.fields:
        found |= frame[name].notna().to_numpy() & (keys + len(name) > LONGEST_KEY)
    return found


def values_of_rows(frame: pd.DataFrame, measurement: Measurement) -> Integers:
    """Count the values (non-null fields) of each row, of shape (rows,)."""
    counts = np.zeros(len(frame), dtype="int64")
    for name in measurement.fields:
        counts += frame[name].notna().to_numpy()
    return counts


def _text(value: str | None) -> pa.Scalar:
    return pa.scalar(value, TEXT)


def _escaped(text: str, special: str) -> str:
    for character in special:
        text = text.replace(character, f"\\{character}")
    return text


def _heads(frame: pd.DataFrame, measurement: Measurement) -> tuple[pa.Array, pa.Array]:
    """The number of each row's set of tags, and measurement and tags of each set."""
    tags = sorted(measurement.all_tags)
    numbers, first_rows = _tag_sets(frame, tags)
    name = _escaped(measurement.name, ", ")
    parts = [[name] * len(first_rows)]
    for tag in tags:
        key = _escaped(tag, ",= ")
        column = frame[tag]
        codes, numbers_of = np.unique(column.cat.codes.to_numpy()[first_rows], return_inverse=True)
        # the code -1 stands for null; of a large cell's categories a part of its rows has few
        names = column.cat.categories
        texts = [f",{key}={_escaped(names[c], ',= ')}" if c >= 0 else "" for c in codes]
        parts.append([texts[number] for number in numbers_of])
    heads = ["".join(pieces) for pieces in zip(*parts, strict=True)]
    return numbers, pa.array(heads, TEXT)


def _tag_sets(frame: pd.DataFrame, tags: list[str]) -> tuple[pa.Array, Integers]:
    """The number of each row's set of tags, and the first row of each set."""
    numbers = np.zeros(len(frame), dtype="int64")
    for tag in tags:
        codes = frame[tag].cat.codes.to_numpy().astype("int64")
        mixed = numbers * (len(frame[tag].cat.categories) + 1) + codes + 1
        # numbered anew after each tag, so that the product never grows past 64 bits
        encoded = pa.array(mixed).dictionary_encode()
        numbers = encoded.indices.to_numpy().astype("int64")
    first_rows = np.zeros(int(numbers.max(initial=-1)) + 1, dtype="int64")
    # of rows with the same number the one that is assigned last stays: the first
    first_rows[numbers[::-1]] = np.arange(len(frame) - 1, -1, -1)
    return pa.array(numbers), first_rows


def _as_text(column: pd.Series, kind: FieldType, name: str) -> pa.Array:
    """The values of one field as line protocol writes them; null where there is none."""
    if kind == "float":
        numbers = column.to_numpy()
        if np.isinf(numbers).any():
            raise ValueError(
                f"{name} holds an infinite value: the structural check never lets it in"
            )
        return pa.array(numbers, from_pandas=True).cast(TEXT)
    if kind == "bool":
        return pa.array(column, pa.bool_(), from_pandas=True).cast(TEXT)
    if kind == "int":
        numbers = pa.array(column, pa.int64(), from_pandas=True).cast(TEXT)
        return pc.binary_join_element_wise(numbers, _text("i"), _text(""))
    texts = pa.array(column, TEXT, from_pandas=True)
    if isinstance(texts, pa.ChunkedArray):
        # as strings are that were put together from several files of the lake
        texts = texts.combine_chunks()
    for character in ("\\", '"'):
        texts = pc.replace_substring(texts, character, f"\\{character}")
    return pc.binary_join_element_wise(_text('"'), texts, _text('"'), _text(""))


def _joined_fields(columns: dict[str, pa.Array], values: Integers) -> pa.Array:
    """`key=value,…` of each row; null for a row without any value."""
    pairs = [
        pc.binary_join_element_wise(_text(f"{_escaped(name, ',= ')}="), column, _text(""))
        for name, column in columns.items()
    ]
    if len(pairs) == 1:
        return pairs[0]
    has_values = pa.array(values > 0)
    # a row whose parts are all skipped would be left out of the result: keep one part
    pairs[0] = pc.if_else(has_values, pairs[0], _text(""))
    joined = pc.binary_join_element_wise(*pairs, _text(","), null_handling="skip")
    return pc.if_else(has_values, joined, _text(None))


def _times(frame: pd.DataFrame) -> tuple[pa.Array, Precision]:
    """The times with the line ends, in the coarsest unit that keeps them whole."""
    micros = time_micros(frame)
    whole = not (micros % MICROS_PER_SECOND).any()
    different = pa.array(micros // MICROS_PER_SECOND if whole else micros).dictionary_encode()
    texts = pc.binary_join_element_wise(different.dictionary.cast(TEXT), _text("\n"), _text(""))
    return texts.take(different.indices), "s" if whole else "us"
