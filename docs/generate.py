"""Write docs/commands.md from the CLI's own help, docs/reliability.md from the tests' markers,
docs/alert-routes.md from the shipped routes, and the schemas of alerts from their models."""

import ast
import json
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import typer
from pydantic import BaseModel
from typer.main import get_command

from tasks.core.alert_report import DOCUMENTS

ROOT = Path(__file__).resolve().parents[1]
TOPICS = (
    "Landing",
    "Sources",
    "Gaps",
    "Training",
    "Backfill",
    "Loading",
    "Quarantine",
    "Accounts",
    "Secrets",
    "Security",
    "Twice",
    "Two runs",
    "Maintenance",
    "Ledger",
    "Alerts",
    "Migration",
    "Repair",
    "Replay",
    "Reconcile",
    "Prefect",
    "Health",
    "Crash",
    "Faults",
)
COMMANDS_HEAD = """# Commands

This page is `fedvitals --help`, written by `make docs`. The documents of `--json` are in [receipt.md](receipt.md).
"""
RELIABILITY_HEAD = """# Reliability

Each promise stands as a marker on the tests that hold it; `make docs` writes this page from the markers. Paths are below `tests/`. `make test` runs all of them; those in `real/` drive real servers. `make soak` combines the faults at random for `SOAK_MINUTES` (20), and then compares every value of Prometheus, lake and InfluxDB. It prints its seed, and `SOAK_SEED` repeats its choices. The limits of these promises are in [the guide](guide.md#known-limits).
"""


ROUTES_HEAD = """# Routes of alerts

Where alerts go with the shipped `config/routes.yaml`, written by `make docs` from it. The default environment is that of environments.yaml; channels whose variables are not set are left out. What a channel refuses for good goes to the first of the last column that takes it.
"""
NEIGHBOUR = """## What a hostile neighbour can and cannot do

A neighbour is a service that is asked, a sink that is written to, a proxy between them, a file of a training, another user of the machine, or a program that writes into the lake.

It cannot:

- fill the memory, or hold a command: an answer has a limit (64 MiB; of a query of Prometheus 128 MiB, of `/metrics` 32 MiB, of the REST API 16 MiB, of channels 1 MiB) and a deadline for all of it, an encoding is refused, and so are JSON, pages and files that would multiply in memory. The tests print the peak of each case, 1 GB at most, in a process of its own.
- end a run with a traceback, write controls or turned text to a terminal, or bloat a report: what it says is one line of 300 characters at most.
- make the receipt lie: what was landed is counted, and pending for a sink whose answer makes no sense.
- get a token of another service or product by a redirect, a file or a folder that happens to lie in the working directory.
- lead a command to a file outside of a table of the lake: its log is damaged then, and `lake repair` moves only the log aside.
- guess the name of a file that is being written, or read the home of another user.

It can:

- lie in its values. Suites turn the impossible away; what is possible lands.
- refuse or delay: the cells are gaps or pending, and later runs return to them. A sink may refuse every value, which then is in quarantine with its reason.
- see what is meant for it: the token of its own service, and what a sink is given.
- choose addresses and limits where you name its folder (`FEDVITALS_CONFIG`) or run as its user. `doctor` shows folders, addresses and variables before it asks anything.
- put formulas into tags: give `lake export --safe-csv` for a file that a spreadsheet opens.
"""


def commands_page() -> str:
    """Return the help of every command as one Markdown page."""
    from flows.cli import app

    return "\n\n".join([COMMANDS_HEAD.strip(), *_command(("fedvitals",), get_command(app))]) + "\n"


def _command(words: tuple[str, ...], command: Any) -> Iterator[str]:
    context = typer.Context(command, info_name=words[-1])
    if words[1:]:
        yield f"{'#' * len(words)} {' '.join(words[1:])}"
    yield f"`{' '.join([*words, *command.collect_usage_pieces(context)])}`"
    yield command.help.strip()
    rows = [_parameter(*each.get_help_record(context)) for each in command.params]
    if rows:
        yield "\n".join(["| parameter | meaning |", "|---|---|", *rows])
    for name, inner in getattr(command, "commands", {}).items():
        yield from _command((*words, name), inner)


def _parameter(name: str, meaning: str) -> str:
    cells = (f"`{name}`", " ".join(meaning.split()))
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"


def reliability_page(tests: Path = ROOT / "tests") -> str:
    """Return the table of promises and the tests that hold them.

    Raises:
        ValueError: when a promise does not begin with a topic of this page.
    """
    held: dict[str, dict[str, list[str]]] = {topic: defaultdict(list) for topic in TOPICS}
    for test, text in promises(tests):
        topic, colon, sentence = text.partition(": ")
        if not colon or topic not in held:
            raise ValueError(f"{test}: the promise {text!r} must begin with one of: {TOPICS}")
        held[topic][sentence].append(f"`{test}`")
    parts = [RELIABILITY_HEAD]
    for topic, sentences in held.items():
        rows = [
            f"| {sentence} | {', '.join(names)} |" for sentence, names in sorted(sentences.items())
        ]
        if rows:
            parts.append("\n".join([f"## {topic}\n", "| promise | held by |", "|---|---|", *rows]))
    parts.append(NEIGHBOUR)
    return "\n\n".join(part.strip() for part in parts) + "\n"


def promises(tests: Path) -> Iterator[tuple[str, str]]:
    """Yield each marked test, or test file, with its promise, without importing any."""
    for path in sorted(tests.rglob("test_*.py")):
        name = path.relative_to(tests).as_posix()
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                marks, test = node.decorator_list, f"{name}::{node.name}"
            elif isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "pytestmark":
                marks, test = [node.value], name
            else:
                continue
            yield from ((test, text) for mark in marks for text in _promised(mark))


def _promised(mark: ast.expr) -> Iterator[str]:
    for call in ast.walk(mark):
        if isinstance(call, ast.Call) and ast.unparse(call.func) == "pytest.mark.promise":
            yield ast.literal_eval(call.args[0])


def routes_page() -> str:
    """Return the matrix of environment, severity and channel as one Markdown page."""
    from tasks.core.routes import read_routes
    from tasks.core.settings import load_settings

    routes = read_routes(load_settings({"FEDVITALS_CONFIG": str(ROOT / "config")}))
    head = "| environment | severity | at once | not acknowledged | when refused |\n|---|---|---|---|---|"
    default = routes.default_environment
    rows = [
        f"| {'the default one' if cell['environment'] == default else 'any other'} "
        f"| {cell['severity']} | {_names(cell['channels'])} "
        f"| {'; '.join(f'{after}: {_names(names)}' for after, names in cell['escalation'].items()) or 'none'} "
        f"| {_names(routes.routes[cell['route']].fallback)} |"
        for cell in routes.matrix((default, "another"))
    ]
    return "\n".join([ROUTES_HEAD, head, *rows]) + "\n"


def _names(channels: Iterable[str]) -> str:
    return ", ".join(channels) or "none"


def schema_page(model: type[BaseModel]) -> str:
    """Return the JSON schema of a document."""
    return json.dumps(model.model_json_schema(), indent=2, ensure_ascii=False) + "\n"


PAGES: dict[str, Callable[[], str]] = {
    "commands.md": commands_page,
    "reliability.md": reliability_page,
    "alert-routes.md": routes_page,
    **{f"schemas/{name}.json": partial(schema_page, one) for name, one in DOCUMENTS.items()},
}


def main() -> None:
    """Write all pages."""
    for name, page in PAGES.items():
        (ROOT / "docs" / name).write_text(page(), encoding="utf-8")


if __name__ == "__main__":
    main()
