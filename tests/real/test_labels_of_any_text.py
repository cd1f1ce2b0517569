"""Labels as users have them, from the lake into a real InfluxDB and back."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from tasks.core.measurement import FieldType
from tasks.core.window import Window
from tests.real.test_influxdb_sink import service_at
from tests.support.lake_and_sink import NOW, Standing, reasons, standing_at
from tests.support.servers import InfluxServer
from tests.support.suite_examples import a_measurement
from tests.support.workbench import HOUR, START, at, rows, suite_of

Series = Sequence[Mapping[str, str]]
TIMES = [START + number * HOUR / 6 for number in range(12)]
WINDOW = Window(START, at(2))
LONG = "select " + "a_long_column_name, " * 3600


@contextmanager
def landed(
    folder: Path, server: InfluxServer, bucket: str, tags: tuple[str, ...], series: Series,
    fields: Mapping[str, FieldType] | None = None,
) -> Iterator[Standing]:  # fmt: skip
    """Two hours of each series with one run, in the lake and loaded."""
    with standing_at(folder, service_at(server, bucket)) as standing:
        bench = standing.bench
        bench.measurement = a_measurement(tags, dict(fields or {"share_ratio": "float"}))
        bench.suite = suite_of(folder / "suites", bench.measurement)
        count = len(TIMES)
        more = {"note": ["one\ntwo\r\nthree"] * count} if fields else {}
        values = {"share_ratio": [number / 20 for number in range(count)], **more}
        each = [{tag: [text] * count for tag, text in one.items()} for one in series]
        bench.put(*(rows(bench.measurement, TIMES, **{**values, **one}) for one in each))
        bench.run(NOW, WINDOW, sinks=(standing.sink,))
        yield standing


def test_tags_named_as_the_columns_of_an_answer(
    tmp_path: Path, influxdb: InfluxServer, bucket: str
) -> None:
    tags = ("table", "result", "error", "reference")
    series = [
        dict(zip(tags, (table, result, "none", "897"), strict=True))
        for table in ("orders", "users", "events")
        for result in ("success", "_result")
    ]
    fields: dict[str, FieldType] = {"share_ratio": "float", "note": "string"}
    with landed(tmp_path, influxdb, bucket, tags, series, fields) as standing:
        assert influxdb.count_values(bucket, "example") == 6 * 12 * 2
        assert standing.reconcile().line.state == "equal"
        assert standing.reconcile(deep=True).differences == ()

        one = '_measurement="example" AND table="orders" AND result="success"'
        moment = f"{TIMES[3]:%Y-%m-%dT%H:%M:%S}.0Z"
        standing.sink._http.delete(moment, moment, one)
        fixed = standing.reconcile(fix=True)
        # both fields of exactly that row
        assert reasons(fixed) == [("00", {"missing": 2})]
        assert (fixed.line.state, fixed.line.fixed) == ("equal", 1)
        assert standing.reconcile(deep=True).differences == ()


def test_what_the_bucket_cannot_hold_is_landed_and_refused_once(
    tmp_path: Path, influxdb: InfluxServer, bucket: str
) -> None:
    bad = ["C:\\", "D:\\", "new\nline", LONG]
    good = ["HarddiskVolume1", "select 1", "a\tb", "C:\\x", LONG[:58_000]]
    series = [{"method": text} for text in (*bad, *good)]
    with landed(tmp_path, influxdb, bucket, ("method",), series) as standing:
        assert len(standing.bench.landed(0, 2)) == len(series) * 12
        assert influxdb.count_values(bucket, "example") == len(good) * 12
        assert {dict(key.tags)["method"] for key in standing.stored()} == set(good)
        records = standing.bench.lake.quarantined("example", "production")
        assert records.groupby("check_id").size().to_dict() == {
            "tag_trailing_backslash": 24,
            "tag_line_break": 12,
            "series_key_too_long": 12,
        }
        assert set(records["stage"]) == {"sink"}

        # a second run does not try again, and there is nothing to fix
        again = standing.bench.run(NOW, WINDOW, sinks=(standing.sink,))
        assert (again.state, again.sinks["influxdb"].owed) == ("unchanged", 0)
        found = standing.reconcile(fix=True, deep=True)
        assert (found.line.state, found.line.fixed) == ("equal", 0)
        assert reasons(found) == [("00", {"refused": 24}), ("01", {"refused": 24})]
