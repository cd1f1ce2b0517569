"""The deployments of prefect.yaml: what they are made of, for which environments, and when idle."""

from collections.abc import Mapping
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import yaml
from prefect.client.schemas.schedules import IntervalSchedule, RRuleSchedule

from flows.commands.definitions import Deployment, read_deployments, to_prefect, why_idle
from tasks.core.errors import ConfigurationInvalid
from tasks.core.settings import Settings, load_settings
from tests.support.installation import Installation, entry

SHIPPED = Path(__file__).parents[2] / "deployments" / "prefect.yaml"
NAMES = [
    "collect/hourly",
    "federated/training",
    "health/health",
    "slo/slo",
    "alerts/alerts",
    "alerts/digest-daily",
    "alerts/digest-weekly",
    "alerts/review-monthly",
    "alerts/drill-monthly",
    "maintain/maintain",
    "replay/replay",
    "reconcile/reconcile",
    "backfill/backfill",
]
EVERY_HOUR = {"slug": "mine", "cron": "5 * * * *"}
COLLECT = {"name": "mine", "entrypoint": "flows/collect.py:collect", "schedules": [EVERY_HOUR]}
SOURCES = {"PROMETHEUS_URL": "http://127.0.0.1:9", "FED_VIT_API_URL": "http://127.0.0.1:9"}
INFLUXDB = {"INFLUXDB_URL": "http://127.0.0.1:9", "INFLUXDB_TOKEN": "planted"}

ROUNDS = {
    "type": "federated",
    "source": "rest",
    "rest": {"endpoint": "/r"},
    "fields": {"x": {"path": "$.x", "required": True}},
}


@pytest.fixture
def here(bare: Installation) -> Installation:
    """One measurement, none of a training; and a second environment."""
    bare.configure({"a": entry("a")})
    with bare.changed("environments.yaml") as content:
        content["environments"] = {"staging": {"prometheus_url": "http://127.0.0.1:9"}}
    return bare


def settings_of(here: Installation, variables: Mapping[str, str] | None = None) -> Settings:
    return load_settings({**here.environment, **(variables or {})})


def read(here: Installation, **content: Any) -> list[Deployment]:
    """The deployments of a prefect.yaml of one's own."""
    here.write_yaml("prefect.yaml", {"name": "mine", "deployments": [COLLECT], **content})
    return read_deployments(settings_of(here))


def all_of(here: Installation, content: dict[str, Any]) -> None:
    """Does with each deployment of a file what `serve` does before it serves them."""
    for each in read(here, **content):
        why_idle(each, settings_of(here, SOURCES))
        to_prefect(each)


def test_every_shipped_deployment_has_a_flow_and_at_most_one_schedule_with_a_slug(
    bare: Installation,
) -> None:
    deployments = read_deployments(settings_of(bare))

    assert [each.name for each in deployments] == NAMES
    for each in deployments:
        definition = each.definition
        assert (SHIPPED.parents[1] / definition.entrypoint.split(":")[0]).is_file()
        each.flow.validate_parameters(definition.parameters)
        # what is started by hand alone has none
        assert [spec["slug"] for spec in definition.schedules] in ([definition.name], [])
        assert definition.work_pool == {"name": "fedvitals"}


def test_a_deployment_is_made_of_its_definition(bare: Installation) -> None:
    made = to_prefect(read_deployments(settings_of(bare))[0])

    assert (made.name, made.parameters, made.tags) == ("hourly", {"type": "all"}, ["fedvitals"])
    assert made.concurrency_options is not None
    assert (made.concurrency_limit, made.concurrency_options.collision_strategy) == (
        1,
        "CANCEL_NEW",
    )
    assert made.concurrency_options.grace_period_seconds == 120
    (schedule,) = made.schedules or []
    assert (schedule.slug, schedule.active, schedule.schedule.cron) == ("hourly", True, "5 * * * *")
    assert schedule.schedule.timezone == "UTC"


def test_an_inactive_deployment_keeps_its_schedule(bare: Installation) -> None:
    made = to_prefect(read_deployments(settings_of(bare))[0], is_active=False)

    (schedule,) = made.schedules or []
    assert (schedule.slug, schedule.active) == ("hourly", False)


def test_a_file_in_the_config_folder_is_in_force(here: Installation) -> None:
    assert [each.name for each in read_deployments(settings_of(here))] == NAMES

    (mine,) = read(here)
    assert (mine.name, mine.is_scheduled) == ("collect/mine", True)
    (schedule,) = to_prefect(mine).schedules or []
    assert (schedule.slug, schedule.active) == ("mine", True)


@pytest.mark.parametrize(
    ("key", "value", "kind", "stored"),
    [
        ("interval", 90, IntervalSchedule, timedelta(seconds=90)),
        ("rrule", "FREQ=DAILY", RRuleSchedule, "DTSTART:20200101T000000\nFREQ=DAILY"),
    ],
)
def test_every_kind_of_schedule_that_prefect_knows(
    here: Installation, key: str, value: object, kind: type, stored: object
) -> None:
    spec = {key: value, "active": False}
    (mine,) = read(here, deployments=[{**COLLECT, "schedules": [spec]}])

    (schedule,) = to_prefect(mine).schedules or []
    assert isinstance(schedule.schedule, kind)
    assert (getattr(schedule.schedule, key), schedule.slug) == (stored, "mine")
    assert (mine.is_scheduled, schedule.active) == (False, False)


def test_each_listed_environment_has_a_deployment_of_its_own(here: Installation) -> None:
    shipped = yaml.safe_load(SHIPPED.read_text("utf-8"))["deployments"]
    own = {**COLLECT, "parameters": {"environment": "staging"}}

    found = {
        each.name: each.definition
        for each in read(here, environments=["production", "staging"], deployments=[*shipped, own])
    }

    # these are for all environments, and one that names its environment is for that alone
    whole = ("maintain", "alerts/digest", "alerts/review", "alerts/drill")
    both = {name: [name, f"{name}-staging"] for name in NAMES if not name.startswith(whole)}
    expected = [each for name in NAMES for each in both.get(name, [name])]
    assert list(found) == [*expected, "collect/mine"]
    assert found["collect/hourly"].parameters == {"type": "all"}
    staging = found["collect/hourly-staging"]
    assert staging.parameters == {"type": "all", "environment": "staging"}
    assert [spec["slug"] for spec in staging.schedules] == ["hourly-staging"]
    assert [spec["slug"] for spec in found["collect/hourly"].schedules] == ["hourly"]


WRONG = {
    "an unknown environment": (
        {"environments": ["stagin"]},
        "/prefect.yaml: environments: there is no environment 'stagin'. Fix: use one of: production, staging",
    ),
    "an environment that a deployment names": (
        {"deployments": [{**COLLECT, "parameters": {"environment": "stagin"}}]},
        "/prefect.yaml: deployments.mine.parameters.environment: there is no environment 'stagin'",
    ),
    "an unknown key": (
        {"enviroments": ["staging"]},
        "/prefect.yaml: unknown key enviroments (did you mean environments?)",
    ),
    "a deployment twice": (
        {"deployments": [COLLECT, COLLECT]},
        "/prefect.yaml: deployments.mine: another deployment has the same name",
    ),
    "no such module": (
        {"deployments": [{**COLLECT, "entrypoint": "flows/colect.py:collect"}]},
        "/prefect.yaml: deployments.mine.entrypoint: No module named 'flows.colect'",
    ),
    "no flow": (
        {"deployments": [{**COLLECT, "entrypoint": "flows/collect.py:record"}]},
        "/prefect.yaml: deployments.mine.entrypoint: record is not a flow",
    ),
    "an unknown parameter": (
        {"deployments": [{**COLLECT, "parameters": {"typ": "all"}}]},
        "/prefect.yaml: deployments.mine.parameters: Function expects parameters",
    ),
    "a parameter of another kind": (
        {"deployments": [{**COLLECT, "parameters": {"type": "busines"}}]},
        "/prefect.yaml: deployments.mine.parameters: Flow run received invalid parameters",
    ),
    "an unknown measurement": (
        {"deployments": [{**COLLECT, "parameters": {"measurements": ["b"]}}]},
        "/prefect.yaml: deployments.mine.parameters: b is not in the catalogue",
    ),
    "a schedule without a time": (
        {"deployments": [{**COLLECT, "schedules": [{"slug": "mine"}]}]},
        "/prefect.yaml: deployments.mine.schedules: cron: Field required",
    ),
    "a misspelt key of a schedule": (
        {"deployments": [{**COLLECT, "schedules": [{**EVERY_HOUR, "activ": False}]}]},
        "/prefect.yaml: deployments.mine.schedules: unknown key activ",
    ),
    "no cron": (
        {"deployments": [{**COLLECT, "schedules": [{"cron": "hourly"}]}]},
        "/prefect.yaml: deployments.mine.schedules: cron: ",
    ),
}  # fmt: skip


@pytest.mark.parametrize(("content", "words"), WRONG.values(), ids=WRONG.keys())
def test_a_wrong_file_is_refused_with_its_key(
    here: Installation, content: dict[str, Any], words: str
) -> None:
    with pytest.raises(ConfigurationInvalid) as raised:
        all_of(here, content)
    assert str(raised.value).replace(str(here.config), "").startswith(words)


def idle(here: Installation, variables: Mapping[str, str], name: str) -> str | None:
    settings = settings_of(here, variables)
    (found,) = [each for each in read_deployments(settings) if each.name == name]
    reason = why_idle(found, settings)
    return reason and reason.replace(str(here.config), "")


def test_with_everything_configured_nothing_is_idle(bare: Installation) -> None:
    settings = settings_of(bare, {**SOURCES, **INFLUXDB})

    reasons = {each.name: why_idle(each, settings) for each in read_deployments(settings)}
    assert reasons == dict.fromkeys(NAMES)


IDLE = {
    "no source": (
        "collect/hourly", INFLUXDB,
        "environment production: no source is configured. Fix: set PROMETHEUS_URL, or FED_VIT_API_URL",
    ),
    "no InfluxDB": (
        "reconcile/reconcile", SOURCES,
        "environment production: no InfluxDB is configured. Fix: set INFLUXDB_URL and INFLUXDB_TOKEN",
    ),
    "no token of the InfluxDB": (
        "reconcile/reconcile", {"INFLUXDB_URL": "http://127.0.0.1:9"},
        "INFLUXDB_URL: InfluxDB is off, since its token is not set. Fix: set INFLUXDB_TOKEN",
    ),
}  # fmt: skip


@pytest.mark.promise(
    "Prefect: a schedule without work is inactive with the reason, and active again when there is work"
)
@pytest.mark.parametrize(("name", "variables", "words"), IDLE.values(), ids=IDLE.keys())
def test_what_lacks_its_service_is_idle(
    bare: Installation, name: str, variables: dict[str, str], words: str
) -> None:
    reason = idle(bare, variables, name)

    assert reason is not None
    assert reason.startswith(words)
    assert "--" not in reason


def test_a_training_that_is_read_from_an_api_needs_one(bare: Installation) -> None:
    bare.configure({"a": entry("a"), "r": ROUNDS})

    assert idle(bare, {"PROMETHEUS_URL": "http://127.0.0.1:9"}, "federated/training") == (
        "environment production: no service that these measurements are read from is configured. "
        "Fix: set FED_VIT_API_URL"
    )
    assert idle(bare, SOURCES, "federated/training") is None


def test_a_catalogue_without_federated_measurements_leaves_it_idle(here: Installation) -> None:
    words = "there is no measurement of type federated. Fix: add one, or see what there is: "

    assert idle(here, SOURCES, "federated/training") == (
        f"/metrics.yaml: {words}fedvitals catalogue"
    )
    assert idle(here, SOURCES, "collect/hourly") is None
    # the command and a run by hand say the same, and name no option
    ran = Installation(here.folder, SOURCES).here("federated")
    assert (ran.code, ran.complaint.replace(str(here.config), "")) == (
        2,
        f"/metrics.yaml: {words}fedvitals catalogue",
    )


def test_an_environment_is_idle_by_itself(here: Installation) -> None:
    found = read(here, environments=["staging"])
    settings = settings_of(here)

    production, staging = [why_idle(each, settings) for each in found]
    assert (production or "").startswith("environment production: no source is configured")
    assert staging is None
