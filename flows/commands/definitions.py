"""The deployments of prefect.yaml: one a flow and environment, idle without work."""

from collections.abc import Iterator
from dataclasses import dataclass
from importlib import import_module
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, cast

from pydantic import Field

from tasks.core.documents import Strict, parse, read_yaml
from tasks.core.errors import ConfigurationInvalid, NothingConfigured, UsageInvalid
from tasks.core.services import Environment
from tasks.core.settings import EnvironmentName, Settings

if TYPE_CHECKING:
    from prefect import Flow
    from prefect.client.schemas.actions import DeploymentScheduleCreate
    from prefect.deployments.runner import RunnerDeployment

FILE = "prefect.yaml"


class _ForPrefectDeploy(Strict):
    """Keys for `prefect deploy` alone."""

    build: Any = None
    push: Any = None
    pull: Any = None


class _Limit(Strict):
    limit: int = Field(ge=1)
    collision_strategy: Literal["ENQUEUE", "CANCEL_NEW"] = "ENQUEUE"
    grace_period_seconds: int | None = Field(default=None, ge=60, le=86_400)


class Definition(_ForPrefectDeploy):
    """One deployment of prefect.yaml."""

    name: str = Field(pattern=r"^[^/%&<>]+$")
    entrypoint: str = Field(pattern=r"^[\w./]+\.py:\w+$")
    description: str | None = None
    tags: list[str] = Field(default_factory=list)
    parameters: dict[str, Any] = Field(default_factory=dict)
    schedules: list[dict[str, Any]] = Field(default_factory=list)
    concurrency_limit: int | _Limit | None = None
    work_pool: Any = None

    def of(self, environment: str) -> "Definition":
        """Return this deployment for an environment other than the default one."""
        schedules = [
            {**spec, "slug": f"{spec.get('slug', self.name)}-{environment}"}
            for spec in self.schedules
        ]
        parameters = {**self.parameters, "environment": environment}
        more = {"name": f"{self.name}-{environment}", "parameters": parameters}
        return self.model_copy(update={**more, "schedules": schedules})


class _File(_ForPrefectDeploy):
    name: str | None = None
    prefect_version: Any = Field(default=None, alias="prefect-version")
    definitions: Any = Field(default=None, description="holds YAML anchors")
    environments: list[EnvironmentName] = Field(default_factory=list)
    deployments: list[Definition]


@dataclass(frozen=True)
class Deployment:
    """A deployment to serve; `where` is its position in prefect.yaml."""

    definition: Definition
    flow: "Flow[..., Any]"
    where: str

    @property
    def name(self) -> str:
        """Return the name that the Prefect UI shows: FLOW/DEPLOYMENT."""
        return f"{self.flow.name}/{self.definition.name}"

    @property
    def is_scheduled(self) -> bool:
        """Return whether prefect.yaml has an active schedule for it."""
        return any(spec.get("active", True) for spec in self.definition.schedules)


def definitions_file(settings: Settings) -> Path:
    """Return the prefect.yaml in force: the config folder's, else the shipped one."""
    own = settings.config / FILE
    return own if own.is_file() else Path(str(files("deployments"))) / FILE


def read_deployments(settings: Settings) -> list[Deployment]:
    """Read the deployments in force; raise ConfigurationInvalid naming a wrong key."""
    path = definitions_file(settings)
    content = parse(_File, read_yaml(path), str(path))
    found: dict[str, Deployment] = {}
    for each in _by_environment(content, settings, path):
        if each.name in found:
            raise ConfigurationInvalid(
                where=each.where, problem="another deployment has the same name", fix="Rename one"
            )
        found[each.name] = each
    return list(found.values())


def _by_environment(content: _File, settings: Settings, path: Path) -> Iterator[Deployment]:
    for name in content.environments:
        _environment(name, settings, f"{path}: environments")
    others = [name for name in content.environments if name != settings.default_environment]
    for definition in content.deployments:
        where = f"{path}: deployments.{definition.name}"
        flow = _load_flow(definition.entrypoint, where)
        yield Deployment(definition, flow, where)
        is_open = "environment" not in definition.parameters
        if is_open and "environment" in flow.parameters.properties:
            for name in others:
                yield Deployment(definition.of(name), flow, where)


def _load_flow(entrypoint: str, where: str) -> "Flow[..., Any]":
    from prefect import Flow

    path, name = entrypoint.split(":")
    try:
        flow = getattr(import_module(path.removesuffix(".py").replace("/", ".")), name)
    except (ImportError, AttributeError) as error:
        raise ConfigurationInvalid(
            where=f"{where}.entrypoint", problem=str(error), fix="Name a flow that is installed"
        ) from error
    if not isinstance(flow, Flow):
        raise ConfigurationInvalid(
            where=f"{where}.entrypoint", problem=f"{name} is not a flow", fix="Name a flow"
        )
    return flow


def _environment(name: str | None, settings: Settings, where: str) -> Environment:
    found = settings.environments.get(name or settings.default_environment)
    if found is None:
        problem = f"there is no environment {name!r}"
        fix = f"Use one of: {', '.join(settings.environments)} (environments.yaml)"
        raise ConfigurationInvalid(where=where, problem=problem, fix=fix)
    return found


def why_idle(deployment: Deployment, settings: Settings) -> str | None:
    """Return why the configuration leaves a deployment without work, if it does.

    Raises ConfigurationInvalid when no run could take the deployment's parameters.
    """
    from prefect.exceptions import PrefectException

    where = f"{deployment.where}.parameters"
    parameters = deployment.definition.parameters
    try:
        deployment.flow.validate_parameters(parameters)
        chosen = _environment(parameters.get("environment"), settings, f"{where}.environment")
        _require_work(deployment.flow.name, settings, chosen, parameters)
    except NothingConfigured as error:
        return str(error)
    except UsageInvalid as error:
        raise ConfigurationInvalid(where=where, problem=error.problem, fix=error.fix) from error
    except PrefectException as error:
        problem = " ".join(str(error).split())
        raise ConfigurationInvalid(
            where=where, problem=problem, fix="Correct the parameters"
        ) from error
    return None


def _require_work(
    flow: str, settings: Settings, environment: Environment, parameters: dict[str, Any]
) -> None:
    from tasks.core.health import read_health
    from tasks.runs.base.lake_plan import LakeRequest, check_sink
    from tasks.runs.base.plan import Request, choose_measurements
    from tasks.runs.base.slos import require_prometheus
    from tasks.runs.health.round import require_checks

    if flow == "collect":
        asked = Request(parameters.get("type", "all"), parameters.get("measurements"))
        choose_measurements(settings, environment, asked)
    elif flow == "federated":
        choose_measurements(settings, environment, Request("federated"))
    elif flow == "health":
        require_checks(read_health(settings), environment)
    elif flow == "slo":
        require_prometheus(environment)
    elif flow == "reconcile":
        check_sink(parameters.get("sink", LakeRequest.sink), settings, environment)


def to_prefect(deployment: Deployment, is_active: bool = True) -> "RunnerDeployment":
    """Return the deployment for Prefect's runner; inactive: with its schedules off."""
    from prefect.client.schemas.objects import ConcurrencyLimitConfig

    definition, where = deployment.definition, deployment.where
    limit = definition.concurrency_limit
    made = deployment.flow.to_deployment(
        name=definition.name,
        description=definition.description,
        parameters=definition.parameters,
        tags=definition.tags,
        schedules=[
            _schedule({"slug": definition.name, **spec}, is_active, f"{where}.schedules")
            for spec in definition.schedules
        ],
        concurrency_limit=ConcurrencyLimitConfig.model_validate(limit.model_dump())
        if isinstance(limit, _Limit)
        else limit,
    )
    return cast("RunnerDeployment", made)


def _schedule(spec: dict[str, Any], is_active: bool, where: str) -> "DeploymentScheduleCreate":
    from prefect.client.schemas.actions import DeploymentScheduleCreate
    from prefect.client.schemas.schedules import CronSchedule, IntervalSchedule, RRuleSchedule

    about = {key: spec[key] for key in spec if key in DeploymentScheduleCreate.model_fields}
    times = {key: spec[key] for key in spec if key not in about}
    kind = IntervalSchedule if "interval" in times else CronSchedule
    schedule = parse(RRuleSchedule if "rrule" in times else kind, times, where)
    active = is_active and about.get("active", True)
    return parse(DeploymentScheduleCreate, {**about, "schedule": schedule, "active": active}, where)
