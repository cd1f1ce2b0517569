"""`fedvitals serve`: the flows on their schedules, in this process, for the Prefect UI."""

import os
import tempfile
from importlib import import_module
from importlib.resources import files
from pathlib import Path
from typing import Any

import typer
import yaml

# a long backfill must not keep the scheduled runs waiting
RUNS_AT_ONCE = 5


def register(app: typer.Typer) -> None:
    """Adds the command."""
    app.command("serve")(serve)


def serve() -> None:
    """Serve the flows: scheduled, and to be started by hand in the Prefect UI.

    Needs a Prefect server: prefect server start, and PREFECT_API_URL=http://127.0.0.1:4200/api.
    It runs until it is stopped; run it as a service. Example:

    fedvitals serve
    """
    from flows.commands.prefect_server import require_server
    from tasks.core.errors import ConfigurationInvalid
    from tasks.core.settings import load_settings

    settings = load_settings()
    if not os.environ.get("PREFECT_API_URL"):
        raise ConfigurationInvalid(
            where="PREFECT_API_URL",
            problem="is not set, so nobody could see the flows",
            mend="Start a server (prefect server start) and set it, e.g. http://127.0.0.1:4200/api",
        )
    require_server()
    from prefect import serve as serve_flows

    # Prefect's runner keeps one folder for all in the temporary one, which another user may own
    tempfile.tempdir = str(settings.home / "tmp")
    Path(tempfile.tempdir).mkdir(parents=True, exist_ok=True)
    deployments = [to_deployment(entry) for entry in definitions()]
    # a restart must find its schedules active
    serve_flows(*deployments, pause_on_shutdown=False, limit=RUNS_AT_ONCE)


def definitions() -> list[dict[str, Any]]:
    """The deployments of deployments/prefect.yaml, which is their only definition."""
    path = Path(str(files("deployments"))) / "prefect.yaml"
    entries: list[dict[str, Any]] = yaml.safe_load(path.read_text(encoding="utf-8"))["deployments"]
    return entries


def to_deployment(entry: dict[str, Any]) -> Any:
    """One entry of prefect.yaml as a deployment that this process serves."""
    from prefect.client.schemas.actions import DeploymentScheduleCreate

    path, name = entry["entrypoint"].split(":")
    flow = getattr(import_module(path.removesuffix(".py").replace("/", ".")), name)
    return flow.to_deployment(
        name=entry["name"],
        description=entry["description"],
        parameters=entry["parameters"],
        tags=entry["tags"],
        schedules=[_schedule(DeploymentScheduleCreate, spec) for spec in entry["schedules"]],
        concurrency_limit=_limit(entry["concurrency_limit"]),
    )


def _limit(spec: dict[str, Any]) -> Any:
    from prefect.client.schemas.objects import ConcurrencyLimitConfig

    return ConcurrencyLimitConfig.model_validate(spec)


def _schedule(create: Any, spec: dict[str, Any]) -> Any:
    from prefect.client.schemas.schedules import CronSchedule

    schedule = CronSchedule(cron=spec["cron"], timezone=spec["timezone"])
    return create(schedule=schedule, active=spec["active"], slug=spec["slug"])
