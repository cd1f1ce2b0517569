"""A run's plan: what it warns of before any work, and what its messages name."""

from pathlib import Path
from typing import Any

import pytest

from tasks.core.errors import ConfigurationInvalid, NothingConfigured, SuiteInvalid, UsageInvalid
from tasks.core.settings import load_settings
from tasks.runs.base.plan import Plan, Request, make_plan
from tasks.runs.base.run import Run
from tests.support.installation import Installation, entry

REST = {
    "type": "performance",
    "source": "rest",
    "rest": {"endpoint": "/api/load"},
    "step": "60s",
    "max_series": 1,
    "fields": {"load": {"path": "$.load", "required": True}},
}


@pytest.fixture
def installation(tmp_path: Path) -> Installation:
    made = Installation(tmp_path).configure({"loads": entry("load"), "sampled": REST})
    made.variables["PROMETHEUS_URL"] = "http://127.0.0.1:9"
    return made


def plan_of(installation: Installation, *names: str, **more: Any) -> Plan:
    with Run("collect", load_settings(installation.environment)) as run:
        return make_plan(run, Request(measurements=list(names), **more))


def warnings_of(installation: Installation, caplog: pytest.LogCaptureFixture) -> list[str]:
    """What a plan warns of, but for a new home."""
    caplog.clear()
    with caplog.at_level("WARNING", "fedvitals"):
        plan_of(installation)
    found = [each.getMessage() for each in caplog.records if each.name.startswith("fedvitals")]
    return [text for text in found if "is a new home" not in text]


def test_a_variable_that_has_no_effect_is_a_warning(
    installation: Installation, caplog: pytest.LogCaptureFixture
) -> None:
    installation.variables |= {"FED_VIT_API_URL": "http://127.0.0.1:9"}
    assert warnings_of(installation, caplog) == []

    with installation.changed("environments.yaml") as content:
        content["environments"] = {"production": {"prometheus_url": "http://127.0.0.1:9"}}
    left_out, unused = warnings_of(installation, caplog)

    assert unused.startswith("FED_VIT_API_URL is set and not used: environments.yaml has an entry")
    assert unused.endswith("Fix: set api_url there, or unset FED_VIT_API_URL")
    # so the setting that counts is named, not the variable
    assert left_out == (
        "left out, since api_url of production in environments.yaml is not set: sampled"
    )


def test_an_environment_of_variables_is_set_by_them(
    installation: Installation, caplog: pytest.LogCaptureFixture
) -> None:
    assert warnings_of(installation, caplog) == [
        "left out, since FED_VIT_API_URL is not set: sampled"
    ]
    with pytest.raises(ConfigurationInvalid, match=r"is configured\. Fix: set FED_VIT_API_URL"):
        plan_of(installation, "sampled")
    with installation.changed("environments.yaml") as content:
        content["environments"] = {"production": {}}
    with pytest.raises(ConfigurationInvalid, match="set prometheus_url of production in env"):
        plan_of(installation)


def test_an_output_is_absolute(
    installation: Installation, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    assert plan_of(installation, output="out").output == tmp_path / "out"
    assert plan_of(installation).output.parent == installation.home / "reports"


def test_nothing_is_left_since_clients_are_off(installation: Installation) -> None:
    of_clients = entry("load", tags=("client",), identity="client")
    installation.configure({"loads": entry("load"), "clients": of_clients})
    assert len(plan_of(installation).measurements) == 2
    with installation.changed("environments.yaml") as content:
        content["client_ids"] = "off"
    assert [each.name for each in plan_of(installation).measurements] == ["loads"]
    with pytest.raises(
        UsageInvalid, match=r"--measurement: clients is of single clients, which are off"
    ):
        plan_of(installation, "clients", "loads")
    installation.configure({"clients": of_clients})
    with installation.changed("environments.yaml") as content:
        content["client_ids"] = "off"
    with pytest.raises(NothingConfigured, match=r"but for those of single clients, which are off"):
        plan_of(installation)


def test_a_refused_suite_leaves_no_home(installation: Installation) -> None:
    (installation.expectations / "loads.json").unlink()
    with pytest.raises(SuiteInvalid):
        plan_of(installation)
    assert not installation.home.exists()
