"""health.yaml: what is checked where, and what is refused."""

from pathlib import Path

import pytest

from tasks.core.documents import parse
from tasks.core.errors import ConfigurationInvalid
from tasks.core.health import FILE, Health, read_health
from tasks.core.services import Environment, Service
from tasks.core.settings import load_settings, shipped
from tasks.core.severity import Severity

API = Service(url="https://fl.example.com", origin="FED_VIT_API_URL")
WITH_API = Environment(name="production", services={"api": API})
SHIPPED = [
    "/health",
    "/health/detailed",
    "/metrics",
    "/api/status",
    "/api/clients/count",
    "/api/training/status",
]


def config(**content: object) -> Health:
    return parse(Health, content, FILE)


def test_shipped_file_asks_the_endpoints_of_the_service(bare_config: Path) -> None:
    health = read_health(load_settings({"FEDVITALS_CONFIG": str(bare_config)}))

    assert [one.check for one in health.targets(WITH_API)] == SHIPPED
    assert {one.url for one in health.targets(WITH_API)} == {API.url + name for name in SHIPPED}
    assert health.targets(Environment(name="staging")) == ()


@pytest.fixture
def bare_config(tmp_path: Path) -> Path:
    """A config folder of before, without health.yaml."""
    text = (shipped("config") / "environments.yaml").read_text("utf-8")
    (tmp_path / "environments.yaml").write_text(text, "utf-8")
    (tmp_path / "sinks.yaml").write_text("{}", "utf-8")
    return tmp_path


def test_own_file_wins(bare_config: Path) -> None:
    (bare_config / FILE).write_text("endpoints: {/ready: {environments: [staging]}}\n", "utf-8")
    health = read_health(load_settings({"FEDVITALS_CONFIG": str(bare_config)}))

    assert list(health.endpoints) == ["/ready"]
    assert health.targets(WITH_API) == ()


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        ({"interval": "0s"}, "interval"),
        ({"endpoints": {"health": {}}}, "endpoints.health: is no path"),
        ({"endpoints": {"x": {"url": "ftp://host/"}}}, "is not an http or https URL"),
        ({"endpoints": {"x": {"url": "https://u:secret@host/"}}}, "without credentials"),
        ({"endpoints": {"/x": {"body": [{"value": 1}]}}}, "go together"),
        ({"endpoints": {"/x": {"body": [{"path": "$["}]}}}, "is not a JSON path"),
        ({"endpoints": {"/x": {"body": [{"pattern": "("}]}}}, "is not a regular expression"),
        ({"endpoints": {"/x": {"body": [{}]}}}, "needs a `path`, a `pattern`"),
        ({"endpoints": {"/x": {"body": [{"comparison": ">", "value": 1}]}}}, "needs a `path`"),
        ({"endpoints": {"/x": {}}, "pushed": {"/x": {"every": "1h"}}}, "has this name"),
        ({"maintenance": [{"cron": "0 0 30 2 *", "duration": "1h", "reason": "x"}]}, "fires"),
        ({"endpoinds": {}}, "did you mean endpoints"),
    ],
)
def test_wrong_configuration_names_its_key(content: dict[str, object], problem: str) -> None:
    with pytest.raises(ConfigurationInvalid, match=problem.replace("[", r"\[")):
        parse(Health, content, FILE)


@pytest.mark.parametrize(
    ("own", "environment", "expected"),
    [
        (None, "production", Severity.HIGH),
        (None, "staging", Severity.WARNING),
        ("critical", "staging", Severity.CRITICAL),
    ],
)
def test_no_data_has_a_severity_of_its_own(
    own: str | None, environment: str, expected: Severity
) -> None:
    health = config(no_data_severity=own)
    assert health.severity_of_no_data(environment, default="production") is expected


@pytest.mark.parametrize(("value", "is_local"), [("local", True), ("", False)])
def test_variable_marks_the_default_environment_as_local(value: str, is_local: bool) -> None:
    assert load_settings({"FED_VIT_HOST": value}).environment(None).is_local is is_local


def test_another_host_is_refused() -> None:
    with pytest.raises(ConfigurationInvalid, match="FED_VIT_HOST: 'remote' is not local"):
        load_settings({"FED_VIT_HOST": "remote"})
