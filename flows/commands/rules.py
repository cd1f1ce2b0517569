"""`fedvitals rules`: thresholds as rules of Prometheus, and their state now."""

from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import asdict
from datetime import UTC, datetime, tzinfo
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from flows.commands.options import AsJson, EnvironmentName
from flows.commands.show import print_clean, print_json, print_table

if TYPE_CHECKING:
    from tasks.analysis.rules.backtest import BackTest
    from tasks.core.settings import Settings
    from tasks.core.window import Window
    from tasks.runs.rules.backtest import Past

group = typer.Typer(
    help="Judge the thresholds of alert-thresholds.yaml, and give them to Prometheus.",
    no_args_is_help=True,
)
Ids = Annotated[
    list[str] | None, typer.Argument(metavar="[ID]...", help="Ids of thresholds; all by default.")
]
Since = Annotated[
    str, typer.Option("--start", help="Start: ISO 8601 (UTC), or relative; it ends now.")
]
MONTH = "-30d"
COLUMNS = ("rule", "state", "severity", "mode", "labels", "value", "limit", "since")


@group.command("evaluate")
def evaluate(
    environment: EnvironmentName = None,
    at: Annotated[
        str | None, typer.Option(help="Time: ISO 8601 (UTC), or relative such as -2h.")
    ] = None,
    json: AsJson = False,
) -> None:
    """Judge every threshold now, in Prometheus or in the lake, whether or not Prometheus has rules.

    Exit code 1 when one in mode alert fires, or one cannot be judged.

    Example:

        fedvitals rules evaluate --at -2h
    """
    from tasks.core.settings import load_settings
    from tasks.core.window import parse_time
    from tasks.lake.tables import Lake
    from tasks.runs.base.thresholds import evaluate as judge_all

    settings, now = load_settings(), datetime.now(UTC)
    moment = parse_time(at, now, "--at") if at else now
    found = judge_all(settings, settings.environment(environment), Lake(settings.lake_url), moment)
    rows = [one.document() for one in found]
    if json:
        print_json({"thresholds": rows})
    else:
        shown = [{name: row[name] for name in COLUMNS} for row in rows]
        for row in shown:
            row["labels"] = _text(row["labels"])
        print_table(shown, empty="no thresholds", zone=settings.timezone)
        print_clean("\n".join(f"{one.threshold.id}: {one.problem}" for one in found if one.problem))
    if any(one.is_bad for one in found):
        raise typer.Exit(1)


@group.command("build")
def build(
    environment: EnvironmentName = None,
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder to write to.")] = Path("."),
    json: AsJson = False,
) -> None:
    """Write the rules for Prometheus, and unit tests of them for promtool.

    The tests are made of alert-tests.yaml beside alert-thresholds.yaml.

    Example:

        fedvitals rules build --output rules
    """
    from tasks.core.settings import load_settings
    from tasks.runs.rules.build import build as write

    settings = load_settings()
    files = [str(path) for path in write(settings, settings.environment(environment), output)]
    print_json({"written": files}) if json else print_clean("\n".join(files))


@group.command("check")
def check(environment: EnvironmentName = None, json: AsJson = False) -> None:
    """Check the rules with promtool, by their PromQL, and against the live Prometheus.

    promtool is found on PATH or by PROMTOOL. Exit code 1 when something is wrong.

    Example:

        fedvitals rules check
    """
    from tasks.analysis.rules.checks import FIXES
    from tasks.core.settings import load_settings
    from tasks.runs.rules.build import check as problems_of

    settings = load_settings()
    chosen = settings.environment(environment)
    found = problems_of(settings, chosen, datetime.now(UTC))
    rows = [{**asdict(each), "fix": FIXES[each.check]} for each in found]
    if json:
        print_json({"problems": rows})
    else:
        lines = (
            f"{row['rule']}: {row['check']}: {row['problem']}. Fix: {row['fix']}" for row in rows
        )
        print_clean("\n".join(lines) or "the rules are good")
    if rows:
        raise typer.Exit(1)


@group.command("push")
def push(environment: EnvironmentName = None, json: AsJson = False) -> None:
    """Write the rules into `rules_dir`, reload Prometheus, and compare what it runs.

    On any failure the old file is put back. It needs the promtool of the server's version.

    Example:

        fedvitals rules push
    """
    from tasks.core.settings import load_settings
    from tasks.runs.rules.push import push as give

    settings = load_settings()
    path = give(settings, settings.environment(environment))
    print_json({"written": str(path)}) if json else print(f"Prometheus runs the rules of {path}")


@group.command("import")
def import_(
    file: Annotated[Path, typer.Argument(help="File of rules of a Prometheus.")],
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="File to write; that in use by default.")
    ] = None,
    json: AsJson = False,
) -> None:
    """Make thresholds of a team's own rules, and list what cannot be taken over.

    They begin in mode observe.

    Example:

        fedvitals rules import alerts.yml --output config/alert-thresholds.yaml
    """
    from tasks.core.settings import load_settings
    from tasks.runs.rules.edit import import_file

    path, found = import_file(load_settings(), file, output)
    if json:
        taken = sorted(found.thresholds)
        print_json({"written": str(path), "thresholds": taken, "left_out": found.left_out})
        return
    print_clean("\n".join(f"not taken over: {line}" for line in found.left_out))
    print(f"{len(found.thresholds)} thresholds in {path}")


@group.command("adopt")
def adopt(
    rule: Annotated[str, typer.Argument(metavar="ID", help="Id of the threshold.")],
    environment: EnvironmentName = None,
    json: AsJson = False,
) -> None:
    """Switch a threshold from observe to alert, and print its back-test of 30 days.

    Example:

        fedvitals rules adopt active_clients
    """
    from tasks.runs.rules.edit import adopt as switch

    with _past(environment, MONTH) as (settings, past, window):
        tests = [each for one in past.chosen([rule]) for each in past.tests(one, window)]
    path = switch(settings, rule)
    if json:
        rows = [one.document() for one in tests]
        print_json({"adopted": rule, "file": str(path), "backtests": rows})
    else:
        _print_tests(tests, settings.timezone)
        print(f"{rule} alerts ({path})")


@group.command("backtest")
def backtest(
    rules: Ids = None,
    start: Since = MONTH,
    environment: EnvironmentName = None,
    json: AsJson = False,
) -> None:
    """Show when each threshold would have fired, how often and how long.

    It needs no rule to have run: Prometheus, or the lake for fields, evaluates the past at the
    rules' own interval. `days` are those with a value. With IDs each firing is listed. Exit code 1
    when one cannot be tested.

    Example:

        fedvitals rules backtest active_clients --start -7d
    """
    with _past(environment, start) as (settings, past, window):
        tests = [each for one in past.chosen(rules or ()) for each in past.tests(one, window)]
    if json:
        print_json({"backtests": [one.document() for one in tests]})
    else:
        _print_tests(tests, settings.timezone)
        firings = [(one.alert, each._asdict()) for one in tests for each in one.firings]
        rows = [
            {"rule": name} | one | {"labels": _text(dict(one["labels"]))} for name, one in firings
        ]
        if rules and rows:
            print_table(rows, empty="", zone=settings.timezone)
    if any(one.problem for one in tests):
        raise typer.Exit(1)


@group.command("learn")
def learn(
    rules: Ids = None,
    start: Since = MONTH,
    write: Annotated[bool, typer.Option("--write", help="Write the limits to the file.")] = False,
    environment: EnvironmentName = None,
    json: AsJson = False,
) -> None:
    """Propose limits from history, each with back-tests of the present and the proposed one.

    A day to come reaches a proposed limit with a probability of at most 1 in 15, if days are
    independent. Without --write nothing is changed.

    Example:

        fedvitals rules learn request_latency --start -60d
    """
    from tasks.runs.rules.edit import rewrite

    with _past(environment, start) as (settings, past, window):
        found = [past.learn(each, window) for each in past.chosen(rules or ())]
    limits = {one.rule: one.limit for one, _ in found if one.limit is not None}
    path = rewrite(settings, "value", limits) if write and limits else None
    if json:
        rows = [asdict(one) | {"backtests": [t.document() for t in tests]} for one, tests in found]
        print_json({"limits": rows, "written": path})
        return
    _print_tests([each for _, tests in found for each in tests], settings.timezone)
    print_clean("\n".join(f"{one.rule}: {one}" for one, _ in found))
    if path:
        print(f"{len(limits)} limits written to {path}")


@contextmanager
def _past(environment: str | None, start: str) -> "Iterator[tuple[Settings, Past, Window]]":
    from tasks.core.settings import load_settings
    from tasks.core.window import asked_window
    from tasks.runs.rules.backtest import Past

    settings, window = load_settings(), asked_window(start, None, datetime.now(UTC))
    with closing(Past(settings, settings.environment(environment))) as past:
        yield settings, past, window


def _print_tests(tests: "list[BackTest]", zone: tzinfo) -> None:
    from tasks.core.units import human

    rows = [one.document() for one in tests]
    for row in rows:
        row["firing"] = human(row["seconds"], "seconds") if row["fired"] else None
    names = ("rule", "limit", "days", "fired", "firing")
    shown = [{name: row[name] for name in names} for row in rows]
    print_table(shown, empty="no thresholds", zone=zone)
    print_clean("\n".join(f"{one.alert}: {one.problem}" for one in tests if one.problem))


def _text(labels: dict[str, str]) -> str:
    return ", ".join(f"{name}={text}" for name, text in labels.items())
