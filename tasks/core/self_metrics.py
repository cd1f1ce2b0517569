"""The measurement that fedvitals takes of itself: one row a run, from its receipt."""

from datetime import timedelta

from tasks.core.measurement import FieldSpec, Measurement

SELF_METRICS = "fedvitals_pipeline"
LEDGER_ID = "ledger_id"

_SECONDS = {
    "duration_seconds": "from the plan to the end of the work, before the report",
    "extract_seconds": "asking sources, summed over chunks that ran at once",
    "validate_seconds": "checking, summed over chunks",
    "land_seconds": "committing to the lake, summed over chunks",
    "load_seconds": "filling sinks, summed over chunks",
    "lag_seconds": "age of the newest loaded data of the measurement that is furthest behind",
}
_VALUES = {
    "extracted_values": "values that sources gave",
    "landed_values": "values that went to the lake",
    "quarantined_values": "values that were quarantined",
    "dropped_values": "values that were left out by rule, such as NaN",
    "unchanged_values": "values that were there already",
    "retained_values": "values that the source no longer has and the lake keeps",
    "owed_values": "values that sinks had to get",
    "loaded_values": "values that sinks took",
    "pending_values": "values that sinks have yet to get",
    "refused_values": "values that sinks refused for good",
    "skipped_values": "values that sinks do not take by rule",
}
_COUNTS = {
    "measurements": "measurements that the run was about",
    "failed_measurements": "measurements that failed",
    "retries": "requests and commits that were tried again",
}
_WORSE_WHEN_HIGHER = frozenset(
    {"duration_seconds", "lag_seconds", "quarantined_values", "pending_values", "refused_values"}
    | {"failed_measurements", "retries"}
)


def self_measurement() -> Measurement:
    """Its entry of the catalogue. It is built in, so that every installation has the same."""
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
    # no tag: each new ledger would begin other series in every panel, and a table takes no new tag
    fields[LEDGER_ID] = FieldSpec(type="string", description="of the home that the run worked from")
    fields["status"] = FieldSpec(type="string", description="ok, degraded, failed or no_data")
    fields["worst"] = FieldSpec(
        type="string",
        description="most severe finding: info, warning, high or critical; null: none",
    )
    return Measurement(
        name=SELF_METRICS,
        type="pipeline",
        source="receipt",
        description="runs of fedvitals itself, outside of the sums that they tell",
        tags=("flow",),
        fields=fields,
        step=timedelta(seconds=1),
        every=timedelta(seconds=1),
        max_series=100,
    )
