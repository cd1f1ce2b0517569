"""`fedvitals health`: the health of the service, and reports of jobs."""

import os
import sys
from typing import TYPE_CHECKING, Annotated

import typer

from flows.commands.options import AsJson, EnvironmentName, Output, Verbose
from flows.commands.prefect_server import VARIABLE
from flows.commands.running import run_command
from flows.commands.show import print_clean
from flows.commands.summary import summary

if TYPE_CHECKING:
    from tasks.core.health import Health, Sample
    from tasks.core.health_report import HealthReport
    from tasks.core.receipt import Receipt
    from tasks.core.settings import Settings

group = typer.Typer(invoke_without_command=True)


@group.callback()
def health(
    context: typer.Context,
    environment: EnvironmentName = None,
    output: Output = None,
    verbose: Verbose = False,
    json: AsJson = False,
) -> None:
    """Check endpoints, machine, training and pushed checks, once; exit code 1 when unhealthy.

    Without -e it checks all environments that have an address. config/health.yaml says what is
    asked. health-report.json is written into --output, or below reports/health in FEDVITALS_HOME;
    --json prints the same document.

    Examples:

        fedvitals health

        fedvitals health -e staging --json
    """
    if context.invoked_subcommand is not None:
        return
    from tasks.core.health import read_health
    from tasks.core.settings import load_settings
    from tasks.runs.health.round import take_samples

    settings = load_settings()
    config = read_health(settings)
    names = _environments(settings, config, environment)
    samples: list[Sample] = []
    # before the imports of a run, which are slow; a flow run takes its own
    if not os.environ.get(VARIABLE):
        chosen = [settings.environment(name) for name in names]
        samples = take_samples(config, chosen, certificates=True)
    receipts = [
        _run(name, str(output / name if len(names) > 1 else output) if output else None, samples)
        for name in names
    ]
    if json:
        print_clean(_joined(receipts).model_dump_json(indent=2))
    else:
        print_clean("\n\n".join(summary(one, settings, verbose) for one in receipts))
    raise typer.Exit(max(int(one.exit_code) for one in receipts))


def _environments(settings: "Settings", config: "Health", environment: str | None) -> list[str]:
    """Return the environment, or all that have an address; the default one when none has."""
    if environment is not None:
        return [settings.environment(environment).name]
    named = settings.environments.values()
    found = [one.name for one in named if config.targets(one) or config.pushed_in(one.name)]
    for one in named:
        if found and one.name not in found:
            unset = one.setting("api_url")
            print(f"fedvitals: {one.name} is left out, since {unset} is not set", file=sys.stderr)
    return found or [settings.default_environment]


def _run(environment: str, output: str | None, samples: "list[Sample]") -> "Receipt":
    from tasks.runs.health.run import HealthRequest

    of_it = [one for one in samples if one.environment in ("", environment)]
    return run_command("health", HealthRequest(output), environment, samples=of_it)


def _joined(receipts: "list[Receipt]") -> "HealthReport":
    """Return the first environment's document, with the others in it."""
    from tasks.core.health_report import HealthReport

    found = [one.details for one in receipts if isinstance(one.details, HealthReport)]
    others = {one.environment: one for one in found[1:]}
    return found[0].model_copy(update={"environments": others})


@group.command()
def push(
    name: Annotated[str, typer.Argument(help="The check's name in health.yaml: pushed.")],
    failed: Annotated[bool, typer.Option("--failed", help="The job failed.")] = False,
    environment: EnvironmentName = None,
) -> None:
    """Report that a job ended, well or failed; its next report is due from now.

    Example:

        fedvitals health push nightly-export
    """
    from tasks.core.health import read_health
    from tasks.core.settings import load_settings
    from tasks.core.window import iso
    from tasks.ledger.opening import opened_ledger
    from tasks.runs.health.round import push_report

    settings = load_settings()
    where = settings.environment(environment).name
    with opened_ledger(settings) as ledger:
        kept = push_report(ledger, read_health(settings), where, name, failed=failed)
    zone = settings.timezone
    print(
        f"{name} in {where} {'failed' if failed else 'ended well'}; next by {iso(kept.deadline, zone)}"
    )


@group.command()
def watch(environment: EnvironmentName = None) -> None:
    """Sample every check at the `interval` of health.yaml, until Ctrl-C.

    `fedvitals serve` runs it; one for all environments is enough. Where health.yaml has pushed
    checks it also takes reports: POST /checks/NAME at FEDVITALS_INTAKE_ADDRESS (127.0.0.1:4210), with
    the bearer token of FEDVITALS_INTAKE_TOKEN, without which only this machine is listened to.

    Example:

        fedvitals health watch
    """
    from contextlib import ExitStack

    from tasks.core.health import read_health
    from tasks.core.settings import load_settings
    from tasks.runs.health.round import require_checks
    from tasks.servers.probe_loop import ProbeLoop
    from tasks.servers.supervisor import end_with_parent

    end_with_parent()
    settings = load_settings()
    config = read_health(settings)
    chosen = [settings.environment(one) for one in _environments(settings, config, environment)]
    require_checks(config, chosen[0])

    def notify(text: str) -> None:
        print(f"fedvitals: {text}", file=sys.stderr, flush=True)

    with ExitStack() as serving:
        names, every = ", ".join(one.name for one in chosen), config.interval.total_seconds()
        notify(f"sampling the checks of {names} every {every:g} s")
        if config.pushed:
            from tasks.servers.health_api import health_api

            address = serving.enter_context(health_api(settings, config))
            notify(f"taking reports at {address}/checks/NAME")
        ProbeLoop(settings, config, chosen, notify).run()
