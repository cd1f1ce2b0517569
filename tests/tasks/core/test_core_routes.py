"""Routes: the shipped matrix of environment, severity and channel, and files that are refused."""

from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from tasks.core.errors import ConfigurationInvalid
from tasks.core.incidents import Incident
from tasks.core.routes import Routes, read_routes
from tasks.core.settings import load_settings, shipped
from tests.support.incident_samples import NOW, firing

SHIPPED = shipped("config")
EMAIL = ["email", "apprise"]
MATRIX = {
    ("production", "critical"): (["pagerduty", "slack", "github", "grafana"], {"15m": EMAIL}),
    ("production", "high"): (["slack", "github", "grafana"], {"1h": EMAIL}),
    ("production", "warning"): ([], {}),
    ("production", "info"): ([], {}),
    ("another", "critical"): (["slack"], {}),
    ("another", "high"): (["slack"], {}),
    ("another", "warning"): ([], {}),
    ("another", "info"): ([], {}),
}


def routes(folder: Path, text: str | None = None) -> Routes:
    for name in ("environments.yaml", "sinks.yaml", "metrics.yaml"):
        (folder / name).write_text((SHIPPED / name).read_text("utf-8"), "utf-8")
    if text is not None:
        (folder / "routes.yaml").write_text(text, "utf-8")
    return read_routes(load_settings({"FEDVITALS_CONFIG": str(folder)}))


def incident(severity: str, **facts: Any) -> Incident:
    return Incident("0" * 16, firing(0, severity, **facts), NOW, NOW, NOW)


@pytest.mark.promise("Alerts: of the shipped routes only those of the default environment page")
def test_the_shipped_matrix(tmp_path: Path) -> None:
    found = {
        (cell["environment"], cell["severity"]): (cell["channels"], cell["escalation"])
        for cell in routes(tmp_path).matrix(("production", "another"))
    }
    assert found == MATRIX
    pages = {key for key, (names, _) in found.items() if "pagerduty" in names}
    assert pages == {("production", "critical")}


def test_the_matrix_is_where_incidents_go(tmp_path: Path) -> None:
    read = routes(tmp_path)
    for (environment, severity), (first, later) in MATRIX.items():
        name = environment if environment == "production" else "staging"
        steps = list(read.steps_of(incident(severity, environment=name)))
        assert [list(step.channels) for step in steps] == [first, *later.values()]
        assert [step.number for step in steps] == list(range(len(later) + 1))
        assert steps[0].at == NOW


def test_the_first_route_that_fits_decides(tmp_path: Path) -> None:
    text = """
routes:
  slos: {kinds: [slo], channels: [github], escalation: [{after: 10m, channels: [slack]}]}
  named: {environments: [staging], channels: [email]}
  rest: {severities: [critical], channels: [pagerduty]}
"""
    read = routes(tmp_path, text)
    assert read.route_of(incident("info", kind="slo", environment="staging"))[0] == "slos"
    assert read.route_of(incident("info", environment="staging"))[0] == "named"
    assert read.route_of(incident("critical"))[0] == "rest"
    name, none = read.route_of(incident("high"))
    assert (name, none.channels) == ("none", ())
    _, step = read.steps_of(incident("info", kind="slo"))
    assert step == (NOW + timedelta(minutes=10), 1, ("slack",))


@pytest.mark.parametrize(
    ("route", "key"),
    [
        ("{channel: [slack]}", "routes.one.channel"),
        ("{channels: [pager]}", "routes.one.channels"),
        ("{severities: [fatal]}", "routes.one.severities"),
        ("{escalation: [{after: 15, channels: [slack]}]}", "after"),
        ("{escalation: [{after: 15m, channels: []}]}", "channels"),
        (
            "{escalation: [{after: 2h, channels: [slack]}, {after: 1h, channels: [email]}]}",
            "one after the other",
        ),
    ],
)
def test_a_wrong_route_is_refused(route: str, key: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigurationInvalid, match=key.replace(".", r"\.")):
        routes(tmp_path, f"routes:\n  one: {route}\n")
