"""Service variables that are set and have no effect."""

from pathlib import Path
from typing import Any

import pytest
import yaml

from tasks.core.settings import load_settings
from tasks.core.variables import VARIABLES

pytestmark = pytest.mark.promise(
    "Accounts: a service variable without effect is named by every run and by `doctor`"
)


def unused(tmp_path: Path, entries: dict[str, Any], **variables: str) -> dict[str, str]:
    config = tmp_path / "config"
    config.mkdir(exist_ok=True)
    content = {"environments": entries}
    (config / "environments.yaml").write_text(yaml.safe_dump(content), "utf-8")
    (config / "sinks.yaml").write_text("{}", "utf-8")
    return dict(load_settings({"FEDVITALS_CONFIG": str(config), **variables}).unused)


EVERY = {
    variable: "http://x" if key.endswith("_url") else "some" for key, variable in VARIABLES.items()
} | {"AWS_CLOUDWATCH_ROLE": "arn:aws:iam::1:role/cloudwatch"}


def test_all_are_used_by_the_default_environment(tmp_path: Path) -> None:
    assert unused(tmp_path, {}, **EVERY) == {}
    assert unused(tmp_path, {"staging": {"prometheus_url": "http://s"}}, **EVERY) == {}


def test_an_entry_replaces_them_all(tmp_path: Path) -> None:
    found = unused(tmp_path, {"production": {"prometheus_url": "http://p"}}, **EVERY)
    assert list(found) == list(VARIABLES.values())
    assert found["PROMETHEUS_URL"] == (
        "environments.yaml has an entry for production, which replaces the variables. "
        "Fix: set prometheus_url there, or unset PROMETHEUS_URL"
    )
    assert found["GRAFANA_API_KEY"].endswith(
        "Fix: name it in grafana_token there, or unset GRAFANA_API_KEY"
    )


def test_a_token_that_an_entry_names_is_used(tmp_path: Path) -> None:
    entry = {"prometheus_url": "http://p", "prometheus_token": "PROMETHEUS_API_TOKEN"}
    assert unused(tmp_path, {"production": entry}, PROMETHEUS_API_TOKEN="t") == {}
    # also one of another environment, or one with another service's name
    entry = {"influxdb_url": "http://i", "influxdb_token": "PROMETHEUS_API_TOKEN"}
    assert unused(tmp_path, {"production": {}, "staging": entry}, PROMETHEUS_API_TOKEN="t") == {}
    # the failing twins: of a service that is not configured, and of no entry
    entry = {"prometheus_token": "PROMETHEUS_API_TOKEN"}
    assert list(unused(tmp_path, {"production": entry}, PROMETHEUS_API_TOKEN="t"))
    assert list(unused(tmp_path, {"production": {}}, PROMETHEUS_API_TOKEN="t"))


@pytest.mark.parametrize("variable", ["INFLUXDB_TOKEN", "INFLUXDB_ORG", "INFLUXDB_BUCKET"])
def test_what_goes_with_an_address_that_is_missing(tmp_path: Path, variable: str) -> None:
    assert unused(tmp_path, {}, **{variable: "x"}) == {
        variable: f"INFLUXDB_URL is not set. Fix: set it, or unset {variable}"
    }
    assert unused(tmp_path, {}, INFLUXDB_URL="http://i", **{variable: "x"}) == {}


def test_an_address_that_the_entry_has_too_makes_no_difference(tmp_path: Path) -> None:
    entry = {"prometheus_url": "http://p:9090"}
    assert unused(tmp_path, {"production": entry}, PROMETHEUS_URL="http://p:9090/") == {}
    assert list(unused(tmp_path, {"production": entry}, PROMETHEUS_URL="http://q:9090"))


def test_what_is_empty_is_not_set(tmp_path: Path) -> None:
    empty = dict.fromkeys(VARIABLES.values(), "")
    assert unused(tmp_path, {"production": {}}, **empty) == {}
