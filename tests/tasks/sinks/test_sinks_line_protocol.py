import struct
from typing import Any

import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from influxdb_client.client.write.point import Point
from influxdb_client.domain.write_precision import WritePrecision

from tasks.core.batch import empty_frame
from tasks.core.measurement import FieldSpec, FieldType
from tasks.sinks.line_protocol import Lines, to_lines
from tests.support.fakes.lines import Line, read_lines
from tests.support.sink_samples import make_frame, make_measurement


def texts(lines: Lines) -> list[str]:
    """Each row's line."""
    edges = zip(lines.offsets, lines.offsets[1:], strict=False)
    return [bytes(lines.buffer[start:stop]).decode() for start, stop in edges]


def test_writes_tags_by_key_then_fields_then_whole_seconds() -> None:
    measurement = make_measurement(("zone", "code"), p95_seconds="float", count="int")
    row = {"time": 1_700_000_000, "zone": "eu", "code": "200", "p95_seconds": 0.25, "count": 7}
    lines = to_lines(make_frame(measurement, [row]), measurement)
    assert texts(lines) == [
        "latency,code=200,environment=production,zone=eu p95_seconds=0.25,count=7i 1700000000\n"
    ]
    assert lines.precision == "s"
    assert list(lines.values) == [2]


def test_writes_all_times_in_microseconds_when_one_is_between_seconds() -> None:
    measurement = make_measurement(x="float")
    rows = [{"time": 1_700_000_000, "x": 1.0}, {"time": 1_700_000_000.000001, "x": 2.0}]
    lines = to_lines(make_frame(measurement, rows), measurement)
    assert texts(lines) == [
        "latency,environment=production x=1 1700000000000000\n",
        "latency,environment=production x=2 1700000000000001\n",
    ]
    assert lines.precision == "us"


def test_writes_times_before_the_epoch() -> None:
    measurement = make_measurement(x="float")
    lines = to_lines(make_frame(measurement, [{"time": -1, "x": 1.0}]), measurement)
    assert texts(lines) == ["latency,environment=production x=1 -1\n"]


@pytest.mark.parametrize(
    ("kind", "value", "written"),
    [
        ("float", 3.0, "3"),
        ("float", -0.0, "-0"),
        ("float", 0.1 + 0.2, "0.30000000000000004"),
        ("float", 5e-324, "5e-324"),
        ("float", 1e308, "1e+308"),
        ("int", -(2**63), "-9223372036854775808i"),
        ("int", 2**63 - 1, "9223372036854775807i"),
        ("bool", True, "true"),
        ("bool", False, "false"),
        ("string", 'say "hi"\\', '"say \\"hi\\"\\\\"'),
        ("string", "", '""'),
        ("string", "two\nlines, é=😀", '"two\nlines, é=😀"'),
    ],
)
def test_writes_each_type_exactly(kind: FieldType, value: Any, written: str) -> None:
    measurement = make_measurement(x=kind)
    lines = to_lines(make_frame(measurement, [{"time": 0, "x": value}]), measurement)
    assert texts(lines) == [f"latency,environment=production x={written} 0\n"]


@pytest.mark.parametrize(
    ("tag", "written"),
    [
        ("a b", "a\\ b"),
        ("a,b", "a\\,b"),
        ("a=b", "a\\=b"),
        ("a\\b", "a\\b"),
        ("a\\,b", "a\\\\,b"),
        ('say "hi"', 'say\\ "hi"'),
        ("küche 😀", "küche\\ 😀"),
        ("#1", "#1"),
    ],
)
def test_escapes_tags(tag: str, written: str) -> None:
    measurement = make_measurement(("room",), x="float")
    lines = to_lines(make_frame(measurement, [{"time": 0, "room": tag, "x": 1.0}]), measurement)
    assert texts(lines) == [f"latency,environment=production,room={written} x=1 0\n"]


def test_escapes_names() -> None:
    # the catalogue lets no such name in; the escapes hold should it ever
    spec = FieldSpec(query="q")
    measurement = make_measurement(x="float").model_copy(
        update={"name": "m=a, b", "tags": ("t ,=",), "fields": {"f ,=": spec}}
    )
    lines = to_lines(make_frame(measurement, [{"time": 0, "t ,=": "v", "f ,=": 1.0}]), measurement)
    assert texts(lines) == ["m=a\\,\\ b,environment=production,t\\ \\,\\==v f\\ \\,\\==1 0\n"]


def test_leaves_out_null_tags_and_null_fields() -> None:
    measurement = make_measurement(("a", "b"), x="float", n="int", s="string", ok="bool")
    rows: list[dict[str, Any]] = [
        {"time": 0, "a": None, "b": "1", "x": float("nan"), "n": 1},
        {"time": 0, "a": "1", "b": None, "s": "t", "ok": True},
    ]
    lines = to_lines(make_frame(measurement, rows), measurement)
    assert sorted(texts(lines)) == [
        'latency,a=1,environment=production s="t",ok=true 0\n',
        "latency,b=1,environment=production n=1i 0\n",
    ]
    assert sorted(lines.values) == [1, 2]


@pytest.mark.parametrize("fields", [{"x": "float"}, {"x": "float", "n": "int"}])
def test_a_row_without_values_has_no_line(fields: dict[str, FieldType]) -> None:
    measurement = make_measurement((), **fields)
    rows: list[dict[str, Any]] = [{"time": 0, "x": 1.0}, {"time": 1}, {"time": 2, "x": 3.0}]
    lines = to_lines(make_frame(measurement, rows), measurement)
    assert texts(lines) == [
        "latency,environment=production x=1 0\n",
        "",
        "latency,environment=production x=3 2\n",
    ]
    assert list(lines.values) == [1, 0, 1]


@pytest.mark.parametrize("fields", [{"x": "float"}, {"x": "float", "s": "string"}])
def test_no_rows_give_no_lines(fields: dict[str, FieldType]) -> None:
    measurement = make_measurement(("a",), **fields)
    lines = to_lines(empty_frame(measurement), measurement)
    assert texts(lines) == []
    assert list(lines.offsets) == [0]


@pytest.mark.parametrize("value", [float("inf"), float("-inf")])
def test_refuses_an_infinite_value(value: float) -> None:
    measurement = make_measurement(x="float")
    frame = make_frame(measurement, [{"time": 0, "x": value}])
    with pytest.raises(ValueError, match="x holds an infinite value"):
        to_lines(frame, measurement)


def test_many_tags_of_many_values_do_not_overflow() -> None:
    # eight tags of 300 values each: their product is more than 64 bits hold
    tags = tuple(f"t{i}" for i in range(8))
    measurement = make_measurement(tags, x="float")
    rows = [{"time": 0, "x": 1.0, **{tag: str((k * 7 + i) % 300) for i, tag in enumerate(tags)}} for k in range(300)]  # fmt: skip
    frame = make_frame(measurement, rows)
    lines, problems = read_lines("".join(texts(to_lines(frame, measurement))))
    assert problems == []
    assert [line.tags for line in lines] == [
        {"environment": "production", **row} for row in frame[list(tags)].to_dict("records")
    ]


TAG = st.text(st.characters(exclude_categories=["Cc", "Cs", "Zl", "Zp"]), min_size=1, max_size=8)
TAGS = st.none() | (TAG | st.text(' ,="\\a😀é', min_size=1, max_size=6)).filter(
    lambda text: not text.endswith("\\")
)
FLOATS = st.none() | st.floats(allow_nan=False, allow_infinity=False)
INTEGERS = st.none() | st.integers(-(2**63), 2**63 - 1)
STRINGS = st.none() | st.text(st.characters(exclude_categories=["Cs"]), max_size=8)
ROWS = st.lists(
    st.fixed_dictionaries(
        {
            "time": st.integers(-(10**15), 4 * 10**15).map(lambda micros: micros / 1_000_000),
            "a": TAGS,
            "z": TAGS,
            "x": FLOATS,
            "n": INTEGERS,
            "s": STRINGS,
            "ok": st.none() | st.booleans(),
        }
    ),
    max_size=8,
)
MIXED = make_measurement(("z", "a"), x="float", n="int", s="string", ok="bool")


def expected_lines(frame: pd.DataFrame, unit: int) -> list[Line]:
    """What each row with a value means."""
    lines = []
    for row in frame.astype(object).to_dict("records"):
        fields = {name: row[name] for name in MIXED.fields if not pd.isna(row[name])}
        tags = {name: row[name] for name in MIXED.all_tags if not pd.isna(row[name])}
        if fields:
            moment = pd.Timestamp(row["time"]).value // 1000 // unit
            lines.append(Line("latency", tags, fields, moment))
    return lines


def exact(line: Line) -> tuple[Any, ...]:
    """The line with floats as bytes: -0.0 is not 0.0, and 1 is not 1.0."""
    fields = {
        name: struct.pack(">d", value) if isinstance(value, float) else (type(value), value)
        for name, value in line.fields.items()
    }
    return line.measurement, line.tags, fields, line.time


def as_point(line: Line, precision: str) -> str:
    point: Any = Point(line.measurement)  # type: ignore[no-untyped-call]
    point.time(line.time, getattr(WritePrecision, precision.upper()))
    for tag, value in line.tags.items():
        point.tag(tag, value)
    for name, field in line.fields.items():
        point.field(name, field)
    return str(point.to_line_protocol())


@pytest.mark.slow
@settings(max_examples=200, deadline=None)
@given(ROWS)
def test_lines_read_back_as_the_frame_and_as_the_vendors_points(rows: list[dict[str, Any]]) -> None:
    frame = make_frame(MIXED, rows)
    lines = to_lines(frame, MIXED)
    unit = 1_000_000 if lines.precision == "s" else 1
    expected = expected_lines(frame, unit)
    found, problems = read_lines("".join(texts(lines)))
    assert problems == []
    assert [exact(line) for line in found] == [exact(line) for line in expected]
    points, problems = read_lines("\n".join(as_point(line, lines.precision) for line in expected))
    assert problems == []
    assert [exact(line) for line in points] == [exact(line) for line in found]
    assert texts(to_lines(frame.copy(), MIXED)) == texts(lines)


def test_strings_that_were_put_together_from_parts() -> None:
    measurement = make_measurement(s="string")
    parts = [make_frame(measurement, [{"time": n, "s": f'"{n}"'}]) for n in (1, 2)]
    frame = parts[0].iloc[[0, 0]].reset_index(drop=True)
    frame["s"] = pd.concat([part["s"] for part in parts], ignore_index=True)
    assert texts(to_lines(frame, measurement)) == [
        'latency,environment=production s="\\"1\\"" 1\n',
        'latency,environment=production s="\\"2\\"" 1\n',
    ]
