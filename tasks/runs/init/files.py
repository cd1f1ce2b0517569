"""Files of a proposal: shipped ones with the kept entries, and proposed ones."""

import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import yaml

from tasks.core.catalogue import Defaults
from tasks.runs.init.groups import Proposed
from tasks.runs.init.propose import Proposal
from tasks.runs.init.suites import suite_for
from tasks.validation.suites import canonical_json

_ENTRY = re.compile(r"^  ([A-Za-z]\w*):\s*$")
ENTRY_KEYS = ("query", "unit", "description")
MEASUREMENTS = "\nmeasurements:\n"
ENVIRONMENTS = "\nenvironments:"
SERVICES = """\
# The environments with their addresses. Never write a token here: a token's key holds the name of
# the variable that has it.
"""
ENTRIES = """\
  # Proposed by `fedvitals init` from the metrics in Prometheus: names, units and limits are guesses
  # from their names and types. Remove what you do not need, and set in `better` which way is good.
  # `identity` is guessed from the tag's name too: its values are written as client_ids says.
  # The limits are in expectations/, one file a measurement.
"""


def texts_of(
    proposal: Proposal, config: Path, expectations: Path, environment: tuple[str, Mapping[str, str]]
) -> dict[Path, str]:
    """Return the text of each file by path; the folders are the shipped ones."""
    names = [entry.name for entry in proposal.kept]
    catalogue = _read(config / "metrics.yaml")
    environments = _read(config / "environments.yaml")
    texts = {
        Path("config/metrics.yaml"): _catalogue(catalogue, names, proposal.proposed),
        Path("config/environments.yaml"): _environments(environments, *environment),
        Path("config/sinks.yaml"): _read(config / "sinks.yaml"),
    }
    for name in dict.fromkeys(entry.suite_name for entry in proposal.kept):
        texts[Path("expectations", f"{name}.json")] = _read(expectations / f"{name}.json")
    for one in proposal.proposed:
        path = Path("expectations", f"{one.measurement.suite_name}.json")
        texts[path] = canonical_json(suite_for(one))
    return texts


def _read(path: Path) -> str:
    return path.read_text(encoding="utf-8")


def _catalogue(shipped: str, kept: Iterable[str], proposed: Iterable[Proposed]) -> str:
    head, body = shipped.split(MEASUREMENTS, 1)
    blocks = _blocks(body)
    entries = [_entry(one) for one in proposed]
    parts = [head + MEASUREMENTS.rstrip("\n"), *(blocks[name] for name in kept)]
    parts += [ENTRIES, *entries] if entries else []
    return "\n".join(part.rstrip("\n") + "\n" for part in parts)


def _blocks(body: str) -> dict[str, str]:
    """Return the text of each entry, with the comment before it."""
    blocks: dict[str, list[str]] = {}
    comment: list[str] = []
    current: list[str] = []
    for line in body.splitlines():
        if name := _ENTRY.match(line):
            current = blocks[name[1]] = [*comment, line]
            comment = []
        elif line.startswith("  #"):
            comment.append(line)
        else:
            current.append(line)
    return {name: "\n".join(lines).strip("\n") for name, lines in blocks.items()}


def _entry(one: Proposed) -> str:
    measurement = one.measurement
    content: dict[str, Any] = {
        "type": measurement.type,
        "description": measurement.description,
        "tags": list(measurement.tags),
        **({"identity": measurement.identity} if measurement.identity else {}),
        **(
            {"max_series": most}
            if (most := measurement.max_series) != Defaults().max_series
            else {}
        ),
        "fields": {
            name: {key: text for key in ENTRY_KEYS if (text := getattr(spec, key))}
            for name, spec in measurement.fields.items()
        },
    }
    return _indented({measurement.name: content})


def _environments(shipped: str, name: str, entry: Mapping[str, str]) -> str:
    head = shipped.split(ENVIRONMENTS, 1)[0]
    # the comment before the shipped empty list does not apply
    head = re.sub(r"(\n#[^\n]*)+$", "", head).rstrip("\n")
    content = {name: dict(entry)}
    return f"{head}\n\n{SERVICES}{ENVIRONMENTS[1:]}\n{_indented(content)}"


class _Dumper(yaml.SafeDumper):
    """Writes lists on one line, as the shipped files do."""


_Dumper.add_representer(
    list, lambda dumper, items: dumper.represent_sequence("tag:yaml.org,2002:seq", items, True)
)


def _indented(content: Mapping[str, Any]) -> str:
    text = yaml.dump(dict(content), Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=1000)
    return "".join(f"  {line}" if line.strip() else line for line in text.splitlines(keepends=True))


def document_of(proposal: Proposal, written: Iterable[Path]) -> dict[str, Any]:
    """Return the proposal as one JSON document."""
    return {
        "written": [str(path) for path in written],
        "kept": [entry.name for entry in proposal.kept],
        "dropped": [vars(one) for one in proposal.dropped],
        "proposed": [
            {
                "measurement": one.measurement.name,
                "tags": list(one.measurement.tags),
                "identity": one.measurement.identity,
                "fields": list(one.measurement.fields),
                "metrics": list(one.metrics),
            }
            for one in proposal.proposed
        ],
        "skipped": [vars(one) for one in proposal.skipped],
    }
