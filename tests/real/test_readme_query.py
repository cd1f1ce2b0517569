"""README's Flux query, for what `init` proposes and for the catalogue of the demo."""

import re
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from tasks.core.batch import build_frame
from tasks.core.catalogue import Catalogue
from tasks.core.measurement import FieldType, Measurement
from tasks.core.settings import shipped
from tasks.runs.init.families import Family
from tasks.runs.init.fields import drafted
from tasks.runs.init.groups import grouped
from tasks.sinks.line_protocol import to_lines
from tests.support.servers import InfluxServer

README = Path(__file__).parents[2] / "README.md"
VALUES: dict[FieldType, Any] = {"float": 0.5, "int": 3, "string": "a", "bool": True}


def proposed() -> list[Measurement]:
    series = ({"job": "node", "instance": "x", "device": "sda"},)
    families = [
        Family("node_disk_read_bytes_total", "counter", series),
        Family("up", "gauge", ({"job": "node", "instance": "x"},)),
        Family("rpc_duration_seconds", "histogram", series),
    ]
    drafts = filter(None, map(drafted, families))
    return [one.measurement for one in grouped(drafts, ())]


def of_the_demo() -> list[Measurement]:
    return list(Catalogue.read(shipped("config") / "metrics.yaml").values())


def lines(measurements: Iterable[Measurement]) -> bytes:
    """Two rows of each measurement, in microseconds, the last a minute old."""
    now = datetime.now(UTC).replace(microsecond=1)
    times = [now - timedelta(minutes=minutes) for minutes in (2, 1)]
    texts = []
    for entry in measurements:
        columns = {"time": times, "environment": ["demo"] * 2}
        columns |= {tag: ["a"] * 2 for tag in entry.tags}
        columns |= {name: [VALUES[spec.type]] * 2 for name, spec in entry.fields.items()}
        made = to_lines(build_frame(entry, columns), entry)
        assert made.precision == "us"
        texts.append(bytes(made.buffer))
    return b"".join(texts)


@pytest.mark.parametrize("catalogue", [proposed, of_the_demo], ids=["init", "demo"])
def test_it_shows_the_newest_value_of_every_field(
    influxdb: InfluxServer, bucket: str, catalogue: Any
) -> None:
    measurements = catalogue()
    influxdb.write(bucket, lines(measurements), "us")
    [query] = re.findall(r"```flux\n(.*?)```", README.read_text("utf-8"), re.S)

    rows = influxdb.flux(query.replace('"fedvitals"', f'"{bucket}"'))

    found = {(row["_measurement"], row["_field"]): row["_value"] for row in rows}
    assert found == {
        (entry.name, name): VALUES[spec.type]
        for entry in measurements
        for name, spec in entry.fields.items()
    }
    assert len(rows) == len(found)
