"""The built-in measurement of SLOs: one row an SLO and run."""

from datetime import timedelta

from tasks.core.measurement import Better, FieldSpec, Measurement

SLO = "fedvitals_slo"
# of the built-in tiers
BURN_RATES = ("fast", "slow", "ticket")
_FIELDS: dict[str, tuple[str, Better, str]] = {
    "objective_ratio": ("ratio", "none", "least share of good events"),
    "good_ratio": ("ratio", "higher", "share of good events in the window"),
    "budget_left_ratio": ("ratio", "higher", "share of the error budget; below 0: overspent"),
    "bad_events": ("events", "lower", "in the window"),
    "total_events": ("events", "none", "in the window"),
    "covered_ratio": ("ratio", "higher", "share of the window with data"),
    **{f"{name}_burn_rate": ("rate", "lower", f"of the tier {name}") for name in BURN_RATES},
}


def slo_measurement() -> Measurement:
    """Return the built-in entry of the catalogue."""
    fields = {
        name: FieldSpec(
            unit=unit, better=better, required=name == "objective_ratio", description=about
        )
        for name, (unit, better, about) in _FIELDS.items()
    }
    texts = {"state": "burning, no_data, no_traffic, partial, ok", "definition": "hash of the SLO"}
    fields |= {n: FieldSpec(type="string", description=text) for n, text in texts.items()}
    return Measurement(
        name=SLO,
        type="pipeline",
        source="slo",
        description="service level objectives: budgets and burn rates",
        tags=("slo",),
        fields=fields,
        step=timedelta(seconds=1),
        every=timedelta(seconds=1),
        max_series=1000,
    )
