"""`fedvitals catalogue`: list the measurements and check them."""

from contextlib import closing
from dataclasses import asdict
from datetime import UTC, datetime
from textwrap import wrap
from typing import TYPE_CHECKING, Annotated, Any

import typer

from flows.commands.options import AsJson, EnvironmentName, Verbose
from flows.commands.show import print_clean, print_json, print_table
from tasks.core.units import counted

if TYPE_CHECKING:
    from tasks.core.measurement import Measurement
    from tasks.core.services import Environment
    from tasks.core.settings import Settings

WIDTH = 100  # of a terminal


def catalogue(
    live: Annotated[
        bool, typer.Option("--live", help="Read every field once and show its state.")
    ] = False,
    verbose: Verbose = False,
    environment: EnvironmentName = None,
    json: AsJson = False,
) -> None:
    """List the measurements, and check the catalogue and its suites.

    With --live every field is read once and those not ok are shown. Its state is one of:

    - `ok`: it answers
    - `no_data`: no series now, or the service does not offer it; no error
    - `labels_differ`: the answer has labels that are not tags
    - `too_many_series`: more than `max_series`
    - `refused`: the query or endpoint gave no usable answer

    Exit code 1 when --live finds one of the last three.

    Example:

        fedvitals catalogue --live
    """
    from tasks.core.catalogue import Catalogue
    from tasks.core.settings import load_settings
    from tasks.ledger.opening import opened_ledger
    from tasks.runs.base.plan import verified_suites
    from tasks.sources.promql import check_queries

    settings = load_settings()
    chosen = settings.environment(environment)
    path = settings.config / "metrics.yaml"
    entries = tuple(Catalogue.read(path).values())
    if not live:
        # the server judges each query, and knows more of them
        check_queries(entries, path)
    with opened_ledger(settings) as ledger:
        verified_suites(settings, ledger, entries)
    rows = _findings(settings, chosen, entries) if live else [_row(entry) for entry in entries]
    if json:
        print_json({"live" if live else "measurements": rows})
    else:
        _print(rows, live, verbose)
    if live and any(row["state"] not in ("ok", "no_data") for row in rows):
        raise typer.Exit(1)


def _print(rows: list[dict[str, Any]], live: bool, verbose: bool) -> None:
    if live:
        print_clean("\n".join(_lines(rows, verbose)))
        return
    from tasks.core.measurement import ORIGINS

    # built-in measurements have no key to look up, and are wider than a terminal
    print_table([row for row in rows if ORIGINS.get(row["source"]) != ()], empty="none")


def _lines(rows: list[dict[str, Any]], verbose: bool) -> list[str]:
    """Return the fields that are not ok, equal ones of a measurement together, and a count."""
    alike: dict[tuple[str, ...], list[str]] = {}
    for row in rows:
        if verbose or row["state"] != "ok":
            about = (row["state"], row["measurement"], row["detail"], row["fix"])
            alike.setdefault(about, []).append(row["field"])
    lines = []
    for (state, measurement, detail, fix), fields in alike.items():
        text = f"{state:<16} {measurement}: {', '.join(fields)}: {detail}"
        text += f". Fix: {fix[0].lower()}{fix[1:]}" if fix else ""
        lines += wrap(text, WIDTH, subsequent_indent=" " * 17, break_on_hyphens=False)
    return [*lines, f"{counted(sum(row['state'] == 'ok' for row in rows), 'field')} ok"]


def _row(entry: "Measurement") -> dict[str, Any]:
    lists = {"tags": list(entry.tags), "fields": list(entry.fields)}
    kind = {"name": entry.name, "type": entry.type, "source": entry.source}
    return {**kind, **lists, "suite": entry.suite_name}


def _findings(
    settings: "Settings", environment: "Environment", entries: tuple["Measurement", ...]
) -> list[dict[str, Any]]:
    from tasks.runs.base.live import Live
    from tasks.runs.base.plan import check_source

    check_source(environment)
    with closing(Live(environment, datetime.now(UTC))) as live:
        return [asdict(finding) for entry in entries for finding in live.findings(entry)]
