"""`fedvitals slo`: objectives, their budgets and burn rates."""

from dataclasses import asdict
from datetime import UTC, datetime

import typer

from flows.commands.options import AsJson, EnvironmentName, FailOnOption
from flows.commands.running import run_command
from flows.commands.show import print_clean, print_json, print_table
from flows.commands.summary import finish

group = typer.Typer(
    help="Judge the objectives of slos.yaml: error budgets and burn rates.",
    no_args_is_help=True,
)


@group.command("check")
def check(environment: EnvironmentName = None, json: AsJson = False) -> None:
    """Show each tier with the events that it needs, and what can never fire.

    Of a live Prometheus it also looks at retention, scrapes and traffic. Exit code 1 when something
    is wrong, 3 when it only lacks the service.

    Example:

        fedvitals slo check
    """
    from tasks.analysis.rules.checks import FIXES
    from tasks.core.receipt import ExitCode
    from tasks.core.settings import load_settings
    from tasks.runs.slo.check import check as checked

    settings = load_settings()
    tiers, problems = checked(settings, settings.environment(environment), datetime.now(UTC))
    rows = [one.document() for one in tiers]
    wrong = [{**asdict(one), "fix": FIXES[one.check]} for one in problems]
    if json:
        print_json({"tiers": rows, "problems": wrong})
    else:
        print_table(rows, empty="no SLOs", zone=settings.timezone)
        lines = (f"{o['rule']}: {o['check']}: {o['problem']}. Fix: {o['fix']}" for o in wrong)
        print_clean("\n".join(lines) or "the SLOs are good")
    if wrong:
        is_unchecked = all(one.check == "no_indicator" for one in problems)
        raise typer.Exit(ExitCode.PARTIAL if is_unchecked else ExitCode.BAD_FOUND)


@group.command("evaluate")
def evaluate(
    environment: EnvironmentName = None, fail_on: FailOnOption = "high", json: AsJson = False
) -> None:
    """Judge every SLO by the samples of Prometheus, whether or not it has our rules.

    Budgets and burn rates are landed as fedvitals_slo. Exit code 1 when one in mode alert burns, or
    one cannot be judged.

    Example:

        fedvitals slo evaluate
    """
    from tasks.runs.slo.run import SloRequest

    finish(run_command("slo", SloRequest(), environment, fail_on), json)
