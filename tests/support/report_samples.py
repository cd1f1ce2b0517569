"""Reports with data like those of a federated service, for the tests of tasks.reports."""

from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import pandas as pd

from tasks.core.batch import build_frame, count_values, empty_frame
from tasks.core.measurement import FieldSpec, Measurement, MetricType
from tasks.core.quarantine import Reason, no_records, records
from tasks.core.receipt import (
    MeasurementReceipt,
    MeasurementState,
    Outcome,
    SinkValues,
    Values,
    write_receipt,
)
from tasks.core.severity import Severity
from tasks.core.verdict import CheckResult, Verdict
from tasks.core.window import Window
from tasks.reports.comparison import shifts_of
from tasks.reports.page import Limits, MeasurementSection, RunReport
from tasks.reports.records import Changes, Event, MeasurementChange

START = datetime(2026, 1, 31, 6, tzinfo=UTC)
HOUR = Window(START, START + timedelta(hours=1))
ENVIRONMENT = "staging"


def field(unit: str = "", better: str = "none", type_: str = "float", about: str = "") -> FieldSpec:
    return FieldSpec.model_validate(
        {"query": "up", "unit": unit, "better": better, "type": type_, "description": about}
    )


def measurement(
    name: str,
    fields: Mapping[str, FieldSpec],
    tags: tuple[str, ...] = (),
    type_: MetricType = "performance",
    description: str = "",
) -> Measurement:
    return Measurement(
        name=name,
        type=type_,
        description=description,
        tags=tags,
        fields=dict(fields),
        step=timedelta(seconds=15),
        every=timedelta(seconds=60),
        max_series=1000,
    )


def times(count: int, step: float = 15.0, start: datetime = START) -> list[datetime]:
    return [start + timedelta(seconds=step * index) for index in range(count)]


def frame_of(entry: Measurement, columns: Mapping[str, Any]) -> pd.DataFrame:
    size = len(columns["time"])
    return build_frame(entry, {"environment": [ENVIRONMENT] * size, **columns})


def check(
    check_id: str,
    severity: Severity = Severity.CRITICAL,
    success: bool = True,
    column: str | None = None,
    observed: str = "0",
    limit: str = "none",
    offending: int = 0,
    problem: str = "",
) -> CheckResult:
    return CheckResult(
        check_id=check_id,
        expectation="expect_column_values_to_be_between",
        success=success,
        severity=severity,
        column=column,
        observed=observed,
        limit=limit,
        origin="suite",
        offending=offending,
        problem=problem,
    )


def section(
    entry: Measurement,
    frame: pd.DataFrame,
    state: MeasurementState = "landed",
    quarantine: pd.DataFrame | None = None,
    checks: tuple[CheckResult, ...] | None = (),
    limits: Limits | None = None,
    problems: tuple[str, ...] = (),
    warnings: tuple[str, ...] = (),
) -> MeasurementSection:
    held = no_records() if quarantine is None else quarantine
    landed = count_values(frame, entry) if state == "landed" else 0
    verdict = None if checks is None else Verdict(entry.suite_name, checks)
    line = MeasurementReceipt(
        name=entry.name,
        state=state,
        rows=len(frame) if state == "landed" else 0,
        values=Values(landed + len(held), landed, len(held)),
        verdict=verdict.short() if verdict else None,
        problems=problems,
        warnings=warnings,
    )
    return MeasurementSection(entry, frame, held, verdict, line, limits or {})


def report(
    *sections: MeasurementSection, window: Window = HOUR, notes: tuple[str, ...] = ()
) -> RunReport:
    outcomes = [
        Outcome(
            measurement=one.line.name,
            state=one.line.state,
            rows=one.line.rows,
            values=one.line.values,
            sinks={"influxdb": SinkValues(one.line.values.landed, one.line.values.landed)},
            verdicts=(one.verdict,) if one.verdict else (),
            problems=one.line.problems,
            warnings=one.line.warnings,
        )
        for one in sections
    ]
    receipt = write_receipt(
        flow="collect",
        run_id="20260131T070112-a1b2c3",
        environment=ENVIRONMENT,
        window=window,
        outcomes=outcomes,
        seconds={"extract": 0.42, "validate": 1.3, "land": 0.11, "load": 0.2, "wall": 2.2},
    )
    return RunReport(receipt, START + timedelta(hours=1, seconds=72), sections, notes)


def small() -> RunReport:
    """Two series of three samples, one of them quarantined, one check failed."""
    entry = measurement(
        "requests", {"latency_p95_seconds": field("seconds", "lower")}, ("method",),
        description="Requests to the service.",
    )  # fmt: skip
    frame = frame_of(
        entry,
        {
            "time": times(3) * 2,
            "method": ["GET"] * 3 + ["POST"] * 3,
            "latency_p95_seconds": [0.1, 0.2, 0.3, 0.5, 9.0, 0.7],
        },
    )
    reason = Reason(
        "suite", "value", "latency.range", "between", Severity.CRITICAL, "≤ 5", "9.0 is above 5"
    )
    held = records(frame, entry, np.array([4]), ["latency_p95_seconds"], reason)
    good = frame.copy()
    good.loc[4, "latency_p95_seconds"] = None
    checks = (
        check("rows.counted", observed="6", limit="≥ 1"),
        check(
            "latency.range", success=False, column="latency_p95_seconds", observed="0.1 to 9.0",
            limit="0 to 5", offending=1,
        ),
    )  # fmt: skip
    return report(section(entry, good, "landed", held, checks, {"latency_p95_seconds": (0.0, 5.0)}))


def training(rng: np.random.Generator) -> MeasurementSection:
    entry = measurement(
        "federated_training",
        {
            "training_loss": field("", "lower", about="Loss of the global model after each round."),
            "model_accuracy_ratio": field("ratio", "higher"),
        },
        type_="federated",
        description="How the global model learns, round by round.",
    )
    rounds = np.arange(60)
    columns = {
        "time": times(60, 60.0),
        "training_loss": 0.35 + 2.1 * np.exp(-rounds / 14) + rng.normal(0, 0.03, 60),
        "model_accuracy_ratio": 0.93 - 0.7 * np.exp(-rounds / 16) + rng.normal(0, 0.006, 60),
    }
    checks = (
        check("rows.counted", observed="60", limit="≥ 1"),
        check("loss.low", Severity.WARNING, False, "training_loss", "2.46", "≤ 2.0", 4),
        check("accuracy.possible", column="model_accuracy_ratio", limit="0 to 1"),
    )
    limits = {"training_loss": (0.0, 2.0), "model_accuracy_ratio": (0.85, 1.0)}
    return section(entry, frame_of(entry, columns), "landed", None, checks, limits)


def latency(rng: np.random.Generator) -> MeasurementSection:
    entry = measurement(
        "requests",
        {
            "latency_p50_seconds": field("seconds", "lower"),
            "latency_p95_seconds": field("seconds", "lower"),
            "requests_per_second": field("per_second"),
            "errors_ratio": field("ratio", "lower"),
        },
        ("method",),
        description="Requests to the service's REST API, by method.",
    )
    columns: dict[str, list[Any]] = {name: [] for name in ("time", "method", *entry.fields)}
    for index, method in enumerate(("GET", "POST", "PUT", "DELETE")):
        p50 = (0.012 + 0.01 * index) * np.exp(rng.normal(0, 0.12, 240))
        p95 = p50 * (3 + rng.gamma(2, 0.6, 240))
        if method == "POST":
            p95[120:150] *= 2.4
        columns["time"] += times(240)
        columns["method"] += [method] * 240
        columns["latency_p50_seconds"] += p50.tolist()
        columns["latency_p95_seconds"] += p95.tolist()
        columns["requests_per_second"] += (rng.poisson(90 / (index + 1), 240) / 3).tolist()
        columns["errors_ratio"] += (rng.poisson(0.6, 240) / 300).tolist()
    checks = (
        check("rows.counted", observed="960", limit="≥ 1"),
        check("keys.unique", observed="0 repeated"),
        check("latency.p95", Severity.HIGH, column="latency_p95_seconds", limit="≤ 5"),
    )
    limits = {"latency_p95_seconds": (0.0, 0.5), "errors_ratio": (0.0, 0.01)}
    return section(entry, frame_of(entry, columns), "landed", None, checks, limits)


def edge(rng: np.random.Generator, clients: int = 30, count: int = 240) -> MeasurementSection:
    entry = measurement(
        "edge_devices",
        {
            "temperature_celsius": field("celsius", "lower"),
            "memory_bytes": field("bytes", "lower"),
        },
        ("client", "instance"),
        description="Temperature and memory of the edge clients.",
    )
    shape = (clients, count)
    walk = np.cumsum(rng.normal(0, 0.25, shape), axis=1)
    heat = rng.normal(44, 3, (clients, 1)) + walk + rng.normal(0, 0.3, shape)
    memory = 2.0**30 * (rng.uniform(0.4, 1.6, (clients, 1)) + 0.01 * walk)
    heat[3, 100:104], heat[7, 180], heat[11, 60:90] = (96.0, 104.0, 99.0, 101.0), 8500.0, np.nan
    frame = frame_of(
        entry,
        {
            "time": times(count) * clients,
            "client": np.repeat([f"client-{index:02}" for index in range(clients)], count),
            "instance": ["edge:9100"] * (clients * count),
            "temperature_celsius": heat.ravel(),
            "memory_bytes": memory.ravel(),
        },
    )
    wrong = frame["temperature_celsius"] > 90
    reason = Reason(
        "suite", "value", "temperature.possible", "expect_column_values_to_be_between",
        Severity.CRITICAL, "-40 to 90", "no device survives this temperature",
    )  # fmt: skip
    held = records(frame, entry, np.flatnonzero(wrong), ["temperature_celsius"], reason)
    good = frame.assign(temperature_celsius=frame["temperature_celsius"].mask(wrong))
    checks = (
        check("rows.counted", observed=f"{len(frame):,}", limit="≥ 1"),
        check(
            "temperature.possible", success=False, column="temperature_celsius",
            observed="31.2 to 8,500", limit="-40 to 90", offending=5,
        ),
        check("temperature.safe", Severity.HIGH, False, "temperature_celsius", "61.4", "≤ 60", 12),
        check("memory.free", Severity.WARNING, column="memory_bytes", limit="≤ 4 GiB"),
    )  # fmt: skip
    warning = ("instance edge:9100: 30 samples of client-11 are missing between 06:15 and 06:22",)
    limits = {"temperature_celsius": (-40.0, 60.0)}
    return section(entry, good, "landed", held, checks, limits, (), warning)


def frame_means(one: MeasurementSection) -> dict[str, float]:
    return {name: float(one.frame[name].mean()) for name in one.measurement.fields}


def earlier_of(
    means: Mapping[str, float], rng: np.random.Generator
) -> dict[str, dict[timedelta, float]]:
    """A history of an hour around these means."""
    shifts = shifts_of(timedelta(hours=1))
    return {
        name: {shift: mean * (1 + float(rng.normal(0, 0.01))) for shift in shifts}
        for name, mean in means.items()
    }


EVENTS = (
    Event("not_collected", START, START + timedelta(minutes=9), "not collected yet"),
    Event("catalogue", START + timedelta(minutes=9), HOUR.stop, "from here on by another entry"),
    Event("quarantined", START + timedelta(minutes=9), HOUR.stop, "5 values quarantined"),
)
CHANGES = Changes(
    run_id="20260131T060112-d4e5f6",
    stop=START,
    status="ok",
    worst=None,
    sentence="all well: 18,310 values landed",
    values=Values(18_310, 18_310),
    measurements=(
        MeasurementChange("inference", "landed", "failed", (), (), None, None),
        MeasurementChange(
            "edge_devices", "landed", "landed", ("temperature.possible",), ("memory.free",), 0, 5
        ),
    ),
    new=("model_files",),
)


def few(rng: np.random.Generator) -> MeasurementSection:
    entry = measurement(
        "model_files", {"size_bytes": field("bytes"), "load_seconds": field("seconds", "lower")},
        ("model",),
    )  # fmt: skip
    columns = {
        "time": times(2, 1800.0),
        "model": ["vit-small"] * 2,
        "size_bytes": [86_400_000.0, 86_400_512.0],
        "load_seconds": rng.uniform(0.8, 1.4, 2),
    }
    return section(entry, frame_of(entry, columns), checks=(check("rows.counted", observed="2"),))


def silent(name: str, state: MeasurementState = "no_data", **words: Any) -> MeasurementSection:
    entry = measurement(name, {"value": field()}, ("job",))
    return section(entry, empty_frame(entry), state, None, None, **words)


def morning() -> RunReport:
    """What a person sees on a morning: learning, latency, a hot device, and some silence."""
    rng = np.random.default_rng(7)
    refused = silent(
        "inference",
        "failed",
        problems=(
            "Prometheus at http://prometheus.internal:9090 could not answer inference.latency_p95: "
            "read timed out after 30 s. Fix: check that it runs and is reachable; the next run tries again",
        ),
    )
    gpu = silent("gpu", problems=("not offered by this service",))
    before = frame_means(latency(np.random.default_rng(8)))
    earlier = earlier_of(before, np.random.default_rng(9))
    curve, slow = training(rng), replace(latency(rng), earlier=earlier)
    files, hot = few(rng), replace(edge(rng), events=EVENTS)
    reported = report(
        curve, slow, files, silent("certificates"), hot, refused, gpu,
        silent("deployments", "unchanged"),
        notes=("client_ids is hashed: client labels here are not the devices' own names.",),
    )  # fmt: skip
    return replace(reported, changes=CHANGES)
