"""The intake under requests that schemathesis draws from what each path takes."""

import time
from collections.abc import Iterator
from typing import Any
from unittest.mock import Mock, patch

import pytest
import requests
import schemathesis
from hypothesis import settings as drawing
from pydantic import TypeAdapter
from requests.auth import AuthBase
from schemathesis.specs.openapi.checks import negative_data_rejection, positive_data_acceptance

from tasks.alerts.notices import Event, Webhook
from tasks.core.finding import Finding
from tasks.core.settings import load_settings
from tasks.runs.base.alerts import SIGNATURE, TIME, signature
from tasks.servers.intake import intake, make_app

TOKEN = "planted-token"
FINDINGS: TypeAdapter[tuple[Finding, ...]] = TypeAdapter(tuple[Finding, ...])
PROBLEM = {"type": "object", "properties": {"detail": {"type": "string"}}, "required": ["detail"]}
# what can be read is taken, or an alert would be lost; what a name or an environment is, no schema says
NOT_OURS = [negative_data_rejection, positive_data_acceptance]


def content(schema: Any) -> dict[str, Any]:
    return {"application/json": {"schema": schema}}


def described() -> dict[str, Any]:
    """Return the app's OpenAPI, with the bodies that its functions read by themselves."""
    document: dict[str, Any] = make_app(*[Mock()] * 5).openapi()
    findings = FINDINGS.json_schema(ref_template="#/components/schemas/{model}")
    models = {"Finding": findings.pop("$defs")["Finding"]}
    bodies: dict[str, dict[str, Any]] = {
        "/findings": {
            "type": "object",
            "properties": {
                "flow": {"type": "string"},
                "environment": {"type": "string"},
                "findings": findings,
            },
            "required": ["flow", "environment", "findings"],
        }
    }
    for path, model in (("/alertmanager", Webhook), ("/events", Event)):
        bodies[path] = model.model_json_schema(ref_template="#/components/schemas/{model}")
        models |= bodies[path].pop("$defs", {})
    document["components"] = {
        "schemas": models,
        "securitySchemes": {"bearer": {"type": "http", "scheme": "bearer"}},
    }
    for path, body in bodies.items():
        operation = document["paths"][path]["post"]
        operation["requestBody"] = {"required": True, "content": content(body)}
        for status in ("400", "401"):
            operation["responses"][status] = {"description": "no", "content": content(PROBLEM)}
    document["paths"]["/alertmanager"]["post"]["security"] = [{"bearer": []}]
    return document


class Signed(AuthBase):
    """Signs the body."""

    def __call__(self, request: requests.PreparedRequest) -> requests.PreparedRequest:
        at, body = str(int(time.time())), request.body or b""
        data = body.encode() if isinstance(body, str) else bytes(body)
        request.headers.update({TIME: at, SIGNATURE: signature(TOKEN, at, data)})
        return request


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    home = tmp_path_factory.mktemp("home")
    variables = {"FEDVITALS_ALERTS_ADDRESS": "127.0.0.1:0", "FEDVITALS_INTAKE_TOKEN": TOKEN}
    with intake(load_settings({"FEDVITALS_HOME": str(home)}), print, variables) as url:
        yield url


schema = schemathesis.openapi.from_dict(described())


@schema.parametrize()
@drawing(max_examples=100, deadline=None)
def test_schemathesis_finds_nothing(case: schemathesis.Case, url: str) -> None:
    headers = {"Authorization": f"Bearer {TOKEN}"}
    answer = case.call_and_validate(
        base_url=url, headers=headers, auth=Signed(), excluded_checks=NOT_OURS
    )
    assert answer.status_code < 500


def test_schemathesis_would_find_a_defect(url: str) -> None:
    case = schema["/alertmanager"]["POST"].Case(body={"version": "4", "alerts": []})
    headers = {"Authorization": f"Bearer {TOKEN}"}
    answer = case.call_and_validate(base_url=url, headers=headers, excluded_checks=NOT_OURS)
    assert (answer.status_code, answer.json()) == (200, {"taken": 0})
    with (
        patch("tasks.servers.intake._taken", side_effect=KeyError("x")),
        pytest.raises(schemathesis.errors.FailureGroup, match="Server error"),
    ):
        case.call_and_validate(base_url=url, headers=headers, excluded_checks=NOT_OURS)
