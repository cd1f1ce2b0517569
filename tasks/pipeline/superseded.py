"""Rounds that a run left by a return to a checkpoint, marked in the lake."""

from collections.abc import Iterable
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pandas as pd

from tasks.core.batch import Batch, build_frame
from tasks.core.history import RUN_ID
from tasks.core.returns import in_force
from tasks.core.window import Window
from tasks.lake.landed_rounds import known_run
from tasks.pipeline.chunk import Tools

MARK = "yes"
MOMENT = timedelta(microseconds=1)
Place = tuple[str, int, datetime]


def marked(batch: Batch, tools: Tools) -> Batch:
    """Mark superseded rounds of the batch, and add landed ones that are superseded now."""
    measurement = batch.measurement
    mark, number = measurement.field_of("superseded"), measurement.field_of("round")
    if mark is None or number is None or not len(batch.frame):
        return batch
    run = measurement.field_of("run_id") or RUN_ID
    known = known_run(tools.lake, measurement, batch.environment)
    places = set(_places(batch.frame, run, number))
    held = {(known.run_id, *each) for each in known.rounds} if known else set()
    left = _superseded(places | held)
    if not left:
        return batch
    times = [time for _, _, time in left]
    window = Window(min(times), max(times) + MOMENT)
    landed = tools.lake.read(measurement, batch.environment, window)
    keys = ["time", *measurement.tags]
    is_new = ~pd.MultiIndex.from_frame(landed[keys]).isin(
        pd.MultiIndex.from_frame(batch.frame[keys])
    )
    is_left = [place in left for place in _places(landed, run, number)]
    further = landed[is_new & is_left & landed[mark].isna()]
    frame = pd.concat([batch.frame, further], ignore_index=True)
    marks = [MARK if place in left else None for place in _places(frame, run, number)]
    columns = {name: frame[name] for name in frame.columns if name != mark}
    return replace(batch, frame=build_frame(measurement, {**columns, mark: marks}))


def _places(frame: pd.DataFrame, run: str, number: str) -> list[Place]:
    columns = (frame[name].astype("object").tolist() for name in (run, number))
    times = (time.to_pydatetime().astimezone(UTC) for time in frame["time"])
    return [(r, n, time) for r, n, time in zip(*columns, times, strict=True)]


def _superseded(places: Iterable[Place]) -> set[Place]:
    by_run: dict[str, list[Place]] = {}
    for place in sorted((p for p in places if not pd.isna(p[1])), key=lambda p: (p[2], p[1])):
        by_run.setdefault(place[0], []).append(place)
    left: set[Place] = set()
    for rounds in by_run.values():
        found = in_force([number for _, number, _ in rounds])
        left |= set(rounds) - {rounds[index] for index in found.runs[-1]}
    return left
