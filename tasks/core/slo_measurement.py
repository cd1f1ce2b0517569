"""The built-in measurements of SLOs: a row an SLO and run, and its events of each hour."""

from datetime import timedelta

from tasks.core.measurement import Better, FieldSpec, Measurement

SLO, HOURS = "fedvitals_slo", "fedvitals_slo_hours"
# of the built-in tiers
BURN_RATES = ("fast", "slow", "ticket")
# days within which the budget may be spent
CHANCES = (1, 7, 30)
_STATES: dict[str, tuple[str, Better, str]] = {
    "objective_ratio": ("ratio", "none", "least share of good events"),
    "good_ratio": ("ratio", "higher", "share of good events in the window"),
    "good_without_maintenance_ratio": ("ratio", "higher", "the same outside of maintenance"),
    "maintenance_seconds": ("seconds", "none", "maintenance in the window"),
    "budget_left_ratio": ("ratio", "higher", "share of the error budget; below 0: overspent"),
    "bad_events": ("events", "lower", "in the window"),
    "total_events": ("events", "none", "in the window"),
    "covered_ratio": ("ratio", "higher", "share of the window with data"),
    **{f"{name}_burn_rate": ("rate", "lower", f"of the tier {name}") for name in BURN_RATES},
    **{
        f"spent_in_{days}d_ratio": ("ratio", "lower", f"chance to spend the budget in {days} d")
        for days in CHANCES
    },
    "spent_after_days": ("days", "higher", "median until the budget is spent; null: not in its window"),
}  # fmt: skip
_HOURS: dict[str, tuple[str, Better, str]] = {
    "total_events": ("events", "none", "in the hour"),
    "bad_events": ("events", "lower", "in the hour"),
    "planned_total_events": ("events", "none", "of them in maintenance"),
    "planned_bad_events": ("events", "lower", "of them in maintenance"),
}


def slo_measurements() -> tuple[Measurement, Measurement]:
    """Return the built-in entries of the catalogue."""
    texts = {"state": "burning, no_data, no_traffic, partial, ok", "definition": "hash of the SLO"}
    states = _specs(_STATES, frozenset({"objective_ratio"})) | {
        name: FieldSpec(type="string", description=text) for name, text in texts.items()
    }
    hours = _specs(_HOURS, frozenset({"total_events"}))
    return (
        _entry(SLO, "service level objectives: budgets and burn rates", ("slo",), states),
        # counts of another indicator are others
        _entry(HOURS, "events of service level objectives", ("slo", "indicator"), hours),
    )


def _specs(
    fields: dict[str, tuple[str, Better, str]], required: frozenset[str]
) -> dict[str, FieldSpec]:
    return {
        name: FieldSpec(unit=unit, better=better, required=name in required, description=about)
        for name, (unit, better, about) in fields.items()
    }


def _entry(
    name: str, description: str, tags: tuple[str, ...], fields: dict[str, FieldSpec]
) -> Measurement:
    return Measurement(
        name=name,
        type="pipeline",
        source="slo",
        description=description,
        tags=tags,
        fields=fields,
        step=timedelta(seconds=1),
        every=timedelta(seconds=1),
        max_series=1000,
    )
