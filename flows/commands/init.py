"""`fedvitals init`: scaffold a configuration for a Prometheus."""

import os
import sys
from collections import defaultdict
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, TextIO

import typer

from flows.commands.options import AsJson
from flows.commands.show import print_json
from tasks.core.errors import UsageInvalid
from tasks.core.outside import escaped

if TYPE_CHECKING:
    from tasks.core.measurement import Measurement
    from tasks.core.services import Environment
    from tasks.runs.init.propose import Proposal

# the addresses to ask for, with their prompts and defaults
ADDRESSES = {
    "prometheus_url": ("Prometheus", "http://localhost:9090"),
    "api_url": ("The service's API (empty for none)", ""),
    "influxdb_url": ("InfluxDB (empty for none)", ""),
}
MOST_SHOWN = 4  # fields of a measurement in the list
Select = Annotated[
    list[str] | None,
    typer.Option(help="Only metrics with such a name, as in 'node_*'; may be repeated."),
]
Jobs = Annotated[list[str] | None, typer.Option(help="Only metrics of this job; may be repeated.")]
PrometheusUrl = Annotated[
    str | None, typer.Option(help="Address of Prometheus; PROMETHEUS_URL when not given.")
]


def init(
    prometheus_url: PrometheusUrl = None,
    select: Select = None,
    job: Jobs = None,
    output: Annotated[
        Path, typer.Option("--output", "-o", help="Folder for config/ and expectations/.")
    ] = Path("."),
    yes: Annotated[
        bool, typer.Option("--yes", "-y", help="Do not ask; needed without a terminal.")
    ] = False,
    force: Annotated[bool, typer.Option("--force", help="Overwrite existing files.")] = False,
    json: AsJson = False,
) -> None:
    """Write a catalogue and suites for a Prometheus's metrics, ready to edit.

    Measurements of the shipped catalogue that have data are kept. Other metrics are proposed:

    - a counter as its rate per second over 5 minutes, a gauge as its value
    - a histogram or summary as quantiles and the rate of its observations
    - above 500 series without the labels that have the most values

    Two words of a metric and its labels name the measurement, as in node_disk_by_device. Tokens are read from their variables, never asked for or written. Exit code 1 when Prometheus
    does not answer or has no recent data.

    Examples:

        fedvitals init --prometheus-url http://localhost:9090

        fedvitals init --select 'node_*' --select up --job node

        fedvitals init --output monitoring --yes --json
    """
    from tasks.core.settings import shipped
    from tasks.runs.init.files import document_of, texts_of

    asks = sys.stdin.isatty() and not yes
    chosen, entry = _environment(addresses(prometheus_url, os.environ, asks))
    proposal = _proposal(chosen, select, job)
    texts = texts_of(proposal, shipped("config"), shipped("expectations"), (chosen.name, entry))
    _refuse_existing(output, texts, force)
    if not (yes and json):
        _show(_contents(proposal), sys.stderr if json else sys.stdout)
    if not yes:
        _confirm(f"Write {len(texts)} files to {output.resolve()}?", asks)
    _write(output, texts)
    measurements = _checked(output)
    if json:
        print_json(document_of(proposal, (output / path for path in texts)))
    else:
        _show(_next(output, measurements), sys.stdout)


def _proposal(chosen: "Environment", select: list[str] | None, job: list[str] | None) -> "Proposal":
    from tasks.core.catalogue import Catalogue
    from tasks.core.settings import shipped
    from tasks.runs.init.propose import propose
    from tasks.sources.inventory import Selection

    selection = Selection(tuple(select or ()), tuple(job or ()))
    prometheus = chosen.services["prometheus"]
    catalogue = Catalogue.read(shipped("config") / "metrics.yaml")
    _tell(f"looking at {prometheus.url}")
    has_api = "api" in chosen.services
    proposal = propose(prometheus, catalogue, has_api, datetime.now(UTC), selection)
    _tell(f"{len(proposal.kept)} measurements kept, {len(proposal.proposed)} proposed")
    return proposal


def addresses(prometheus_url: str | None, environ: Mapping[str, str], asks: bool) -> dict[str, str]:
    """Return the variables with given or typed addresses; raise UsageInvalid for none."""
    from tasks.core.variables import VARIABLES

    found = dict(environ)
    if prometheus_url:
        found[VARIABLES["prometheus_url"]] = prometheus_url
    for key, (what, default) in ADDRESSES.items():
        # a variable that is set has answered
        if asks and not found.get(VARIABLES[key]):
            found[VARIABLES[key]] = typer.prompt(
                what, default=default, show_default=bool(default), err=True
            )
    if not found.get(VARIABLES["prometheus_url"]):
        fix = "Give it, or set PROMETHEUS_URL"
        raise UsageInvalid(argument="--prometheus-url", problem="no Prometheus is named", fix=fix)
    return found


def _environment(variables: Mapping[str, str]) -> "tuple[Environment, dict[str, str]]":
    from tasks.core.settings import load_settings, shipped
    from tasks.core.variables import SERVICES, is_secret

    own = {"FEDVITALS_CONFIG": str(shipped("config"))}
    chosen = load_settings({**variables, **own}).environment(None)
    entry: dict[str, str] = {}
    for name, keys in SERVICES.items():
        if service := chosen.services.get(name):
            said = {key: v if is_secret(key) else getattr(service, key) for key, v in keys.items()}
            entry |= {f"{name}_{key}": value for key, value in said.items() if value is not None}
    return chosen, entry


def _refuse_existing(output: Path, texts: Mapping[Path, str], force: bool) -> None:
    there = [str(path) for path in texts if os.path.lexists(output / path)]
    if there and not force:
        more = f" and {len(there) - 1} more" if len(there) > 1 else ""
        problem = f"{output / there[0]}{more} exists already"
        fix = "Name another folder, or overwrite with --force"
        raise UsageInvalid(argument="--output", problem=problem, fix=fix)


def _confirm(question: str, asks: bool) -> None:
    if not asks:
        problem = "nothing was written, since there is no terminal to ask at"
        raise UsageInvalid(argument="--yes", problem=problem, fix="Write the files with --yes")
    typer.confirm(question, abort=True, err=True)


def _write(output: Path, texts: Mapping[Path, str]) -> None:
    try:
        for path, text in texts.items():
            (output / path).parent.mkdir(parents=True, exist_ok=True)
            (output / path).write_text(text, encoding="utf-8")
    except OSError as error:
        problem = f"{error.filename} cannot be written: {error.strerror}"
        fix = "Name another folder"
        raise UsageInvalid(argument="--output", problem=problem, fix=fix) from error


def _checked(output: Path) -> "tuple[Measurement, ...]":
    """Load the written files as a run would, and record that the suites are valid."""
    from tasks.core.catalogue import Catalogue
    from tasks.core.settings import load_settings
    from tasks.ledger.opening import opened_ledger
    from tasks.runs.base.plan import verified_suites

    settings = load_settings({**os.environ, "FEDVITALS_CONFIG": str(output / "config")})
    entries = Catalogue.read(settings.config / "metrics.yaml").values()
    # the self metrics are built in
    measurements = tuple(entry for entry in entries if not entry.is_own)
    _tell(f"checking the suites of {len(measurements)} measurements")
    with opened_ledger(settings) as ledger:
        verified_suites(settings, ledger, measurements)
    return measurements


def _contents(proposal: "Proposal") -> list[str]:
    """List what is kept, what is left out by reason, then what is proposed."""
    left_out = [("dropped", one.reason, one.measurement) for one in proposal.dropped]
    left_out += [("skipped", one.reason, one.metric) for one in proposal.skipped]
    by_reason: dict[tuple[str, str], list[str]] = defaultdict(list)
    for how, reason, name in left_out:
        by_reason[how, reason].append(name)
    lines = [f"kept     {_names([entry.name for entry in proposal.kept])}"]
    lines += [f"{how:8} {', '.join(names)}: {why}" for (how, why), names in by_reason.items()]
    return lines + [
        f"proposed {one.measurement.name}: {_some(list(one.drafts))}" for one in proposal.proposed
    ]


def _some(names: list[str]) -> str:
    more = f" and {len(names) - MOST_SHOWN} more" if len(names) > MOST_SHOWN else ""
    return ", ".join(names[:MOST_SHOWN]) + more


def _next(output: Path, measurements: "tuple[Measurement, ...]") -> list[str]:
    config = (output / "config").resolve()
    where = "" if output.resolve() == Path.cwd() else f"FEDVITALS_CONFIG={config} "
    return [
        f"written  {config} and {config.parent / 'expectations'}; both are valid",
        "next     edit them as you like, then collect:",
        f"         {where}fedvitals collect{_types(measurements)}",
    ]


def _types(measurements: "tuple[Measurement, ...]") -> str:
    by_default = ("performance", "federated")
    return "" if all(entry.type in by_default for entry in measurements) else " --type all"


def _names(names: list[str]) -> str:
    return ", ".join(names) or "none of the shipped catalogue has data there"


def _show(lines: Iterable[str], file: TextIO) -> None:
    for line in lines:
        print(escaped(line), file=file)


def _tell(text: str) -> None:
    print(f"init: {text}", file=sys.stderr)
