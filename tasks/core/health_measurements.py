"""The built-in measurements of health, which every installation has."""

from datetime import timedelta

from tasks.core.measurement import FieldSpec, Measurement

# how long samples are kept, and states
SAMPLES_KEPT, STATES_KEPT = timedelta(days=14), timedelta(days=400)
SOURCE = "health"
CHECKS, HOURS, HOST = "health_checks", "health_hours", "health_host"
STATES = ("up", "degraded", "down", "no_data")

_CHECKS = {
    "up_ratio": FieldSpec(
        unit="ratio",
        better="higher",
        description="1 healthy, 0.5 degraded, 0 down; null when the checker could not see",
    ),
    "response_time_seconds": FieldSpec(
        unit="seconds", better="lower", description="of the whole answer; null without one"
    ),
    "status_code": FieldSpec(description="of HTTP; null without an answer"),
    "certificate_days_left": FieldSpec(
        unit="days", better="higher", description="as runs look at it; negative when it expired"
    ),
}
_HOURS = {
    **{
        f"{state}_seconds": FieldSpec(unit="seconds", description=f"in the state {state}")
        for state in STATES
    },
    "maintenance_seconds": FieldSpec(
        unit="seconds", description="of these, in planned maintenance"
    ),
}
_HOST = {
    f"{what}_usage_ratio": FieldSpec(unit="ratio", better="lower", description=f"{what} in use")
    for what in ("cpu", "memory", "disk")
} | {"load_1m": FieldSpec(description="load average of a minute")}


def _entry(
    name: str, about: str, kept: timedelta, fields: dict[str, FieldSpec], *tags: str
) -> Measurement:
    return Measurement(
        name=name,
        type="health",
        source=SOURCE,
        description=about,
        tags=tags,
        fields=fields,
        step=timedelta(seconds=1),
        every=timedelta(seconds=1),
        max_series=2000,
        retention=kept,
    )


def health_measurements() -> tuple[Measurement, ...]:
    """Return the built-in entries of the catalogue."""
    return (
        _entry(CHECKS, "samples of health checks", SAMPLES_KEPT, _CHECKS, "check"),
        _entry(HOURS, "seconds of an hour in each state", STATES_KEPT, _HOURS, "check"),
        _entry(HOST, "the machine of a service marked host: local", SAMPLES_KEPT, _HOST),
    )
