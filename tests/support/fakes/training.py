"""A federated training behind an API, whose rounds and totals a test sets as it wants them."""

import json
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

from pytest_httpserver import HTTPServer
from werkzeug import Request, Response

from tasks.core.services import Service

PROGRESS = "/api/training/progress"
PARTICIPATION = "/api/clients/participation"
PRIVACY = "/api/privacy/status"
HISTORY = "/api/training/history"
METRICS = "/metrics"
PAGE = """\
# TYPE fed_vit_autorl_convergence_rate gauge
fed_vit_autorl_convergence_rate 0.125
# TYPE fed_vit_autorl_total_clients gauge
fed_vit_autorl_total_clients 4
# TYPE fed_vit_autorl_active_clients gauge
fed_vit_autorl_active_clients 1
# TYPE fed_vit_autorl_privacy_epsilon_remaining gauge
fed_vit_autorl_privacy_epsilon_remaining 7
# TYPE fed_vit_autorl_client_updates_total counter
fed_vit_autorl_client_updates_total 21
"""
START = datetime(2026, 1, 1, 0, 30, tzinfo=UTC)
ROUND = timedelta(minutes=1)


def a_client(name: str = "client-0", **changed: Any) -> dict[str, Any]:
    """One client of a round, which reported."""
    reported = {"id": name, "examples": 7, "accuracy": 0.5, "seconds": 0.25, "state": "reported"}
    return {**reported, "data_quality": 0.75, **changed}


def a_round(number: int, started: datetime | None = None, **changed: Any) -> dict[str, Any]:
    """One round; without a start, so many minutes after START as its number says."""
    when = started or START + (number - 1) * ROUND
    reported = {"round": number, "started": when.isoformat(), "seconds": 30.0, "loss": 1.0 / number}
    return {
        **reported,
        "accuracy": 0.5,
        "epsilon": 0.125 * number,
        "clients": [a_client(), a_client("client-1", state="late"), a_client("client-2", state="dropped", accuracy=None, seconds=None)],
        **changed,
    }  # fmt: skip


@dataclass
class FakeTraining:
    """The service. `raw` holds bodies that are given as they are; `gone` are paths it does not have."""

    server: HTTPServer
    rounds: list[dict[str, Any]] = field(default_factory=list)
    run_id: str | None = "run-a"
    planned: int = 10
    gone: set[str] = field(default_factory=set)
    raw: dict[str, str] = field(default_factory=dict)
    reported: dict[str, dict[str, Any]] = field(default_factory=dict)
    asked: list[str] = field(default_factory=list)
    status: int = 200

    def __post_init__(self) -> None:
        for path in (PROGRESS, PARTICIPATION, PRIVACY, HISTORY, METRICS):
            self.server.expect_request(path).respond_with_handler(self._answer)

    @property
    def url(self) -> str:
        return self.server.url_for("").rstrip("/")

    def service(self) -> Service:
        return Service(url=self.url, origin="FED_VIT_API_URL", token_from="FED_VIT_API_TOKEN")

    def _answer(self, request: Request) -> Response:
        query = request.query_string.decode()
        self.asked.append(request.path + (f"?{query}" if query else ""))
        if request.path in self.gone:
            return Response("no such path", 404)
        if request.path == METRICS:
            return Response(PAGE, content_type="text/plain; version=0.0.4")
        text = self.raw.get(request.path) or json.dumps(self._body(request))
        return Response(text, self.status, content_type="application/json")

    def _body(self, request: Request) -> dict[str, Any]:
        bodies = {
            PROGRESS: self._progress,
            PARTICIPATION: self._participation,
            PRIVACY: self._privacy,
        }
        if request.path == HISTORY:
            body = self._history(int(request.args.get("since", 0)))
        else:
            body = bodies[request.path]()
        merged = {**body, **self.reported.get(request.path, {})}
        # a test takes a key away by setting it to an ellipsis
        return {key: value for key, value in merged.items() if value is not ...}

    @property
    def last(self) -> dict[str, Any]:
        return self.rounds[-1] if self.rounds else {"round": 0, "accuracy": 0.1, "epsilon": 0.0}

    def _progress(self) -> dict[str, Any]:
        return {
            "run_id": self.run_id if self.run_id is not None else ...,
            "current_round": self.last["round"],
            "total_rounds": self.planned,
            "active_clients": 1,
            "global_accuracy": self.last["accuracy"],
            "convergence_rate": 0.125,
        }

    def _participation(self) -> dict[str, Any]:
        return {
            "total_clients": 4,
            "active_clients": 1,
            "participation_rate": 0.25,
            "avg_data_quality": 0.75,
        }

    def _privacy(self) -> dict[str, Any]:
        spent = self.last["epsilon"]
        return {
            "epsilon_remaining": 8.0 - spent,
            "delta_used": 1e-5,
            "privacy_budget_utilization": spent / 8.0,
            "epsilon_budget": 8.0,
            "noise_multiplier": 16.0,
            "sampling_rate": 0.5,
        }

    def _history(self, since: int) -> dict[str, Any]:
        return {
            "run_id": self.run_id if self.run_id is not None else ...,
            "delta": 1e-5,
            "sampling_rate": 0.5,
            "noise_multiplier": 16.0,
            "epsilon_budget": 8.0,
            "rounds": [r for r in self.rounds if _number(r) > since],
        }


def _number(reported: dict[str, Any]) -> float:
    found = reported.get("round")
    return found if isinstance(found, int | float) else float("inf")
