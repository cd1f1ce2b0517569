"""The self metrics measurement: one row a run, from its receipt."""

from datetime import timedelta

from tasks.core.measurement import FieldSpec, Measurement

SELF_METRICS = "fedvitals_pipeline"
LEDGER_ID = "ledger_id"

_SECONDS = {
    "duration_seconds": "from the plan to the end of the work, before the report",
    "extract_seconds": "querying sources, summed over concurrent chunks",
    "validate_seconds": "validation, summed over chunks",
    "land_seconds": "committing to the lake, summed over chunks",
    "load_seconds": "loading sinks, summed over chunks",
    "lag_seconds": "age of the newest loaded data of the measurement that is furthest behind",
}
_VALUES = {
    "extracted_values": "values extracted from sources",
    "landed_values": "values landed in the lake",
    "quarantined_values": "values quarantined",
    "dropped_values": "values dropped by rule, such as NaN",
    "unchanged_values": "values that the lake already had",
    "retained_values": "values that the source no longer has and the lake keeps",
    "owed_values": "values owed to sinks",
    "loaded_values": "values loaded into sinks",
    "pending_values": "values still owed to sinks",
    "refused_values": "values that sinks refused for good",
    "skipped_values": "values that sinks skip by rule",
}
_COUNTS = {
    "measurements": "measurements of the run",
    "failed_measurements": "measurements that failed",
    "retries": "retried requests and commits",
}
_WORSE_WHEN_HIGHER = frozenset(
    {"duration_seconds", "lag_seconds", "quarantined_values", "pending_values", "refused_values"}
    | {"failed_measurements", "retries"}
)


def self_measurement() -> Measurement:
    """Return the built-in entry of the catalogue, equal in every installation."""
    units = {
        **dict.fromkeys(_SECONDS, "seconds"),
        **dict.fromkeys(_VALUES, "values"),
        **dict.fromkeys(("measurements", "failed_measurements"), "measurements"),
        "retries": "retries",
    }
    fields = {
        name: FieldSpec(
            unit=units[name],
            better="lower" if name in _WORSE_WHEN_HIGHER else "none",
            required=name == "duration_seconds",
            description=description,
        )
        for name, description in {**_SECONDS, **_VALUES, **_COUNTS}.items()
    }
    fields["exit_code"] = FieldSpec(description="0 good, 1 something bad, 3 work pending")
    # not a tag: a new ledger would start new series, and a table takes no new tag
    fields[LEDGER_ID] = FieldSpec(type="string", description="ledger of the run's home")
    fields["status"] = FieldSpec(type="string", description="ok, degraded, failed or no_data")
    fields["worst"] = FieldSpec(
        type="string",
        description="most severe finding: info, warning, high or critical; null: none",
    )
    return Measurement(
        name=SELF_METRICS,
        type="pipeline",
        source="receipt",
        description="runs of fedvitals itself, outside of the sums that they report",
        tags=("flow",),
        fields=fields,
        step=timedelta(seconds=1),
        every=timedelta(seconds=1),
        max_series=100,
    )
