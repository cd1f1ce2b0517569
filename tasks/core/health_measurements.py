"""The built-in measurements of health, which every installation has."""

from datetime import timedelta

from tasks.core.measurement import Better, FieldSpec, Measurement

# how long samples are kept, and states
SAMPLES_KEPT, STATES_KEPT = timedelta(days=14), timedelta(days=400)
CHECKS, HOURS, HOST = "health_checks", "health_hours", "health_host"

_FIELDS: dict[str, dict[str, tuple[str, Better, str]]] = {
    CHECKS: {
        "observed_ratio": ("ratio", "higher", "1; 0 when the checker could not see"),
        "up_ratio": ("ratio", "higher", "1 healthy, 0.5 degraded, 0 down; null: not observed"),
        "response_time_seconds": ("seconds", "lower", "of the whole answer"),
        "status_code": ("", "none", "of HTTP"),
        "certificate_days": ("days", "higher", "days left, when a run looked at it"),
    },
    HOURS: {
        "up_seconds": ("seconds", "higher", "in the state up"),
        "degraded_seconds": ("seconds", "lower", "in the state degraded"),
        "down_seconds": ("seconds", "lower", "in the state down"),
        "no_data_seconds": ("seconds", "lower", "not observed"),
        "maintenance_seconds": ("seconds", "none", "of all these, in planned maintenance"),
    },
    HOST: {
        "cpu_usage_ratio": ("ratio", "lower", "of all cores"),
        "memory_usage_ratio": ("ratio", "lower", "of the memory"),
        "disk_usage_ratio": ("ratio", "lower", "of the root file system"),
        "load_1m": ("", "lower", "load average of a minute"),
    },
}
REQUIRED = frozenset({"observed_ratio", "up_seconds", "cpu_usage_ratio"})
_ENTRIES = (
    (CHECKS, "samples of health checks", SAMPLES_KEPT, ("check",)),
    (HOURS, "seconds of an hour that a check was in each state", STATES_KEPT, ("check",)),
    (HOST, "the machine of a service marked host: local", SAMPLES_KEPT, ()),
)


def health_measurements() -> tuple[Measurement, ...]:
    """Return the built-in entries of the catalogue."""
    return tuple(
        Measurement(
            name=name,
            type="health",
            source="health",
            description=description,
            tags=tags,
            fields={
                field: FieldSpec(
                    unit=unit, better=better, required=field in REQUIRED, description=about
                )
                for field, (unit, better, about) in _FIELDS[name].items()
            },
            step=timedelta(seconds=1),
            every=timedelta(seconds=1),
            max_series=2000,
            retention=kept,
        )
        for name, description, kept, tags in _ENTRIES
    )
