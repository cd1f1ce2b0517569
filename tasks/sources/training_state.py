"""The state of a training, and its round, from the service's API."""

from datetime import timedelta
from typing import Any

from tasks.core.errors import FedvitalsError
from tasks.core.health import TrainingCheck
from tasks.core.health_report import FederatedLearning
from tasks.core.json_path import values_at
from tasks.core.outside import shortened
from tasks.core.services import Service
from tasks.http import Limits
from tasks.sources.http import API, Client
from tasks.sources.json_body import MISSING, fetch_json


def training_state(service: Service, check: TrainingCheck, timeout: timedelta) -> FederatedLearning:
    """Return what the service reports of its training, or why that is not known."""
    seconds = timeout.total_seconds()
    try:
        with Client(service, API, Limits(seconds, seconds, seconds, 1 << 20)) as client:
            document = fetch_json(client, check.endpoint, client.request(check.endpoint))
    except FedvitalsError as error:
        return FederatedLearning(error=error.facts["problem"])
    if document is MISSING:
        return FederatedLearning(error=f"there is no {check.endpoint}")
    state = next(iter(values_at(check.state, document)), None)
    if not isinstance(state, str):
        return FederatedLearning(error=f"{check.state} of {check.endpoint} is not a string")
    number, total = (_whole(path, document) for path in (check.round, check.total_rounds))
    unknown = f"{check.round} of {check.endpoint} is not a whole number"
    is_blind = state == check.running and number is None
    return FederatedLearning(
        state=shortened(state),
        round=number,
        total_rounds=total,
        error=unknown if is_blind else None,
    )


def _whole(path: str, document: Any) -> int | None:
    found = next(iter(values_at(path, document)), None)
    return found if isinstance(found, int) and not isinstance(found, bool) else None
