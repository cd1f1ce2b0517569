"""The built-in measurement of incidents: a row a change."""

from datetime import timedelta

from tasks.core.health_measurements import STATES_KEPT
from tasks.core.measurement import FieldSpec, Measurement

INCIDENTS = "incidents"
_TEXTS = {
    "incident": "id of `fedvitals alerts show`",
    "before": "what it was before",
    "after": "what it is now",
    "by": "who changed it; empty: its source, or time",
    "why": "the reason given",
}


def incident_measurement() -> Measurement:
    """Return the built-in entry of the catalogue."""
    seconds = FieldSpec(
        unit="seconds", better="lower", required=True, description="since the incident opened"
    )
    texts = {name: FieldSpec(type="string", description=text) for name, text in _TEXTS.items()}
    return Measurement(
        name=INCIDENTS,
        type="pipeline",
        source=INCIDENTS,
        description="changes of incidents: opened, acknowledged, resolved and others",
        tags=("alert", "severity", "fingerprint", "change"),
        fields={"open_seconds": seconds, **texts},
        step=timedelta(seconds=1),
        every=timedelta(seconds=1),
        max_series=20_000,
        retention=STATES_KEPT,
    )
