"""`fedvitals suites`: check and write suites, learn ranges, compare with the shipped ones."""

import sys
from dataclasses import asdict
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated

import typer

from flows.commands.options import AsJson, EnvironmentName
from flows.commands.show import print_json, print_table
from tasks.core.errors import UsageInvalid
from tasks.core.severity import Severity
from tasks.core.window import Window, parse_time

if TYPE_CHECKING:
    from tasks.core.catalogue import Catalogue
    from tasks.core.measurement import Measurement as Entry
    from tasks.core.settings import Settings
    from tasks.validation.difference import Difference

Measurement = Annotated[str, typer.Argument(help="Name of the measurement.")]


group = typer.Typer(
    help="Write and check suites, learn limits, compare with the shipped ones.",
    no_args_is_help=True,
)


@group.command("check")
def check(
    fix: Annotated[
        bool, typer.Option("--fix", help="Rewrite sound suites in canonical form.")
    ] = False,
    json: AsJson = False,
) -> None:
    """Check every suite of the catalogue: list all flaws, and unused files.

    Exit code 1 when something must be fixed.

    Examples:

        fedvitals suites check

        fedvitals suites check --fix
    """
    from tasks.core.settings import load_settings
    from tasks.validation.review import review

    settings = load_settings()
    catalogue = _catalogue(settings)
    if fix:
        _require_own(settings, "--fix")
    flaws = [asdict(flaw) for flaw in review(settings.expectations, catalogue.values(), fix)]
    names = sorted({entry.suite_name for entry in catalogue.values()})
    print_json({"suites": names, "flaws": flaws}) if json else print_table(
        flaws, empty=f"suites checked: {len(names)}, all valid"
    )
    if flaws:
        raise typer.Exit(1)


@group.command("new")
def new(
    measurement: Measurement,
    field: Annotated[
        str | None, typer.Option(help="Field to limit; its only numeric one when not given.")
    ] = None,
    low: Annotated[float | None, typer.Option("--min", help="Least value within limits.")] = None,
    high: Annotated[float | None, typer.Option("--max", help="Greatest such value.")] = None,
    severity: Annotated[Severity, typer.Option(help="Severity of the limit.")] = Severity.HIGH,
    json: AsJson = False,
) -> None:
    """Write a measurement's suite from its catalogue entry, or add a limit to it.

    A new suite has the required checks, and limits that follow from the units. --min and --max add
    a limit of the team, in place of an earlier one of the same field.

    Examples:

        fedvitals suites new checkout

        fedvitals suites new checkout --field error_ratio --max 0.01 --severity high
    """
    from tasks.core.settings import load_settings
    from tasks.validation.boilerplate import boilerplate, with_limit
    from tasks.validation.difference import difference
    from tasks.validation.suites import read_suite, suite_of, verify, write_suite

    settings = load_settings()
    _require_own(settings, "MEASUREMENT")
    entry = _sole(_catalogue(settings), measurement)
    path = settings.expectations / f"{entry.suite_name}.json"
    has_limit = low is not None or high is not None
    if path.is_file() and not has_limit:
        fix = "Add a limit with --min or --max, or edit it"
        raise UsageInvalid(argument="MEASUREMENT", problem=f"{path} exists already", fix=fix)
    old = read_suite(settings.expectations, entry) if path.is_file() else None
    content = old.content if old else boilerplate(entry)
    if has_limit:
        content = with_limit(content, entry, field, (low, high), severity)
    suite = suite_of(content, entry, path)
    verify(suite, entry)
    write_suite(suite)
    changes = difference(old, suite)
    if json:
        print_json({"suite": str(path), "changes": [asdict(change) for change in changes]})
        return
    _print(changes, empty="nothing changes")
    print(f"written to {path}", file=sys.stderr)


@group.command("learn")
def learn(
    measurement: Measurement,
    start: Annotated[str, typer.Option(help="Start: ISO 8601 (UTC), or relative.")] = "-7d",
    stop: Annotated[str, typer.Option(help="Stop: ISO 8601 (UTC), relative, or now.")] = "now",
    environment: EnvironmentName = None,
    write: Annotated[
        bool, typer.Option("--write", help="Write the suite instead of showing the change.")
    ] = False,
    json: AsJson = False,
) -> None:
    """Learn each numeric field's usual range from landed history, as warnings.

    A range reaches six times the distance of median and quartile beyond each quartile. Learned
    ranges replace earlier learned ones; all other checks stay.

    Examples:

        fedvitals suites learn http_latency

        fedvitals suites learn http_latency --start -30d --write
    """
    from tasks.core.settings import load_settings
    from tasks.lake.tables import Lake
    from tasks.validation.difference import difference
    from tasks.validation.learn import learn as learn_from
    from tasks.validation.suites import read_suite, verify, write_suite

    settings = load_settings()
    if write:
        _require_own(settings, "--write")
    entry = _sole(_catalogue(settings), measurement)
    suite = read_suite(settings.expectations, entry)
    now = datetime.now(UTC)
    window = Window(parse_time(start, now, "--start"), parse_time(stop, now, "--stop"))
    chosen = settings.environment(environment).name
    learned = learn_from(suite, entry, Lake(settings.lake_url).read(entry, chosen, window), window)
    if write:
        verify(learned.suite, entry)
        write_suite(learned.suite)
    changes = difference(suite, learned.suite)
    if json:
        head = {"suite": str(suite.path), "written": write, "left_out": dict(learned.left_out)}
        print_json({**head, "changes": [asdict(change) for change in changes]})
        return
    _print(changes, empty="nothing changes")
    for name, reason in learned.left_out.items():
        print(f"fedvitals: no range for {name}: {reason}", file=sys.stderr)
    end = f"written to {suite.path}" if write else "not written. Fix: to write it, add --write"
    print(end, file=sys.stderr)


@group.command("diff")
def diff(measurement: Measurement, json: AsJson = False) -> None:
    """Compare the suite in force with the shipped one.

    Example:

        fedvitals suites diff http_latency
    """
    from tasks.core.settings import load_settings, shipped
    from tasks.validation.difference import difference
    from tasks.validation.suites import read_suite, read_unchecked

    settings = load_settings()
    entry = _entry(_catalogue(settings), measurement)
    suite = read_suite(settings.expectations, entry)
    theirs = read_unchecked(shipped("expectations"), entry.suite_name)
    changes = difference(theirs, suite)
    if json:
        facts = {"suite": str(suite.path), "shipped": str(theirs.path) if theirs else None}
        print_json({**facts, "changes": [asdict(change) for change in changes]})
        return
    if theirs is None:
        print(f"fedvitals: no suite {entry.suite_name} is shipped with fedvitals", file=sys.stderr)
    _print(changes, empty="it equals the shipped suite")


def _print(changes: "tuple[Difference, ...]", empty: str) -> None:
    print_table([asdict(change) for change in changes], empty=empty)


def _catalogue(settings: "Settings") -> "Catalogue":
    from tasks.core.catalogue import Catalogue

    return Catalogue.read(settings.config / "metrics.yaml")


def _entry(catalogue: "Catalogue", name: str) -> "Entry":
    catalogue.require(name)
    return catalogue[name]


def _require_own(settings: "Settings", argument: str) -> None:
    """Refuse to write shipped suites: one service's history is no default for all."""
    from tasks.core.settings import shipped

    if settings.expectations == shipped("expectations"):
        raise UsageInvalid(
            argument=argument,
            problem=f"the suites in force are the shipped ones ({settings.expectations})",
            fix="Copy the folders config and expectations to a place of your own, and set "
            "FEDVITALS_CONFIG to that config",
        )


def _sole(catalogue: "Catalogue", name: str) -> "Entry":
    """Return the measurement, which must be the only one of its suite: ranges differ."""
    entry = _entry(catalogue, name)
    others = [
        other.name
        for other in catalogue.values()
        if other.suite_name == entry.suite_name and other.name != entry.name
    ]
    if others:
        problem = f"its suite {entry.suite_name} is shared with {', '.join(others)}"
        fix = "Give it a suite of its own (`suite` in the catalogue), since ranges differ"
        raise UsageInvalid(argument="MEASUREMENT", problem=problem, fix=fix)
    return entry
