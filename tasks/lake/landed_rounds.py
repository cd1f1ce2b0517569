"""Landed rounds of a training."""

from datetime import UTC

from tasks.core.history import RUN_ID, KnownRun
from tasks.core.measurement import Measurement
from tasks.lake.delta import ask, inside, quoted
from tasks.lake.tables import Lake


def known_run(lake: Lake, measurement: Measurement, environment: str) -> KnownRun | None:
    """Return the run with the newest landed row of a measurement, with all its rounds.

    None when nothing is landed. Two queries, of which the second reads the files of one run.
    """
    table = lake.table(measurement.name)
    if table is None:
        return None
    run, number = measurement.field_of("run_id") or RUN_ID, measurement.field_of("round")
    here = f"FROM landed WHERE {inside(environment, None)}"
    newest = f'SELECT "{run}" AS run {here} ORDER BY time DESC LIMIT 1'
    found = ask(table, measurement.name, newest)["run"].to_pylist()
    if not found or found[0] is None:
        return None
    rounds = ask(
        table,
        measurement.name,
        f'SELECT DISTINCT "{number}" AS number, time {here} '
        f'AND "{run}" = {quoted(found[0])} AND "{number}" IS NOT NULL',
    )
    pairs = zip(rounds["number"].to_pylist(), rounds["time"].to_pylist(), strict=True)
    known = frozenset((number, time.astimezone(UTC)) for number, time in pairs)
    return KnownRun(found[0], known) if known else None
