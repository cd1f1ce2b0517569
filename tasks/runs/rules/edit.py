"""Change alert-thresholds.yaml: adopt a threshold, or import a team's own rules."""

import re
from collections.abc import Mapping
from importlib.resources import files
from pathlib import Path
from typing import Any

from tasks.analysis.rules.imported import Imported, import_rules
from tasks.core.documents import closest, read_yaml
from tasks.core.errors import ConfigurationInvalid, UsageInvalid
from tasks.core.settings import Settings
from tasks.core.thresholds import FILE, Threshold, read_file
from tasks.core.whole_file import draft_of, replace_file
from tasks.runs.base.thresholds import thresholds_in_force

# the files of an installed package are replaced by the next version
PACKAGED = Path(str(files("tasks"))) / "defaults" / "config"


def named(settings: Settings, name: str) -> Threshold:
    """Return the threshold of that id; raise UsageInvalid with a similar one."""
    known = thresholds_in_force(settings).thresholds
    if name not in known:
        similar = closest(name, known)
        fix = f"Did you mean {similar}?" if similar else f"See {settings.config_file(FILE)}"
        raise UsageInvalid(argument="ID", problem=f"there is no threshold {name!r}", fix=fix)
    return known[name]


def adopt(settings: Settings, name: str) -> Path:
    """Switch a threshold from observe to alert."""
    if named(settings, name).mode == "alert":
        problem, fix = f"{name} is in mode alert already", "Nothing needs to be done"
        raise UsageInvalid(argument="ID", problem=problem, fix=fix)
    return rewrite(settings, "mode", {name: "alert"})


def rewrite(settings: Settings, key: str, values: Mapping[str, Any]) -> Path:
    """Set a key of thresholds by id, and leave all else of the file as it is."""
    path = settings.config_file(FILE)
    if path.parent != settings.config or path.parent == PACKAGED:
        problem = "these are the shipped thresholds"
        fix = "Copy the file to your config folder, without fields that your catalogue lacks"
        raise ConfigurationInvalid(where=path, problem=problem, fix=fix)
    text, expected = path.read_text("utf-8"), dict(thresholds_in_force(settings).thresholds)
    for name, value in values.items():
        expected[name] = expected[name].model_copy(update={key: value})
        block = re.search(rf"^  {name}:.*\n(?:(?:   .*|\s*|\s*#.*)\n)*", text, re.MULTILINE)
        if block:
            changed = re.sub(rf"(\b{key}:\s*)[^\s,}}#]+", rf"\g<1>{value}", block[0], count=1)
            text = text.replace(block[0], changed, 1)
    with draft_of(path) as draft:
        draft.write_text(text, "utf-8")
        found = read_file(draft).thresholds
        if wrong := [name for name in expected if found.get(name) != expected[name]]:
            problem = f"`{key}` of {wrong[0]} is written in a way that cannot be changed here"
            raise ConfigurationInvalid(where=path, problem=problem, fix="Change it there by hand")
        return replace_file(path, draft.read_bytes())


def import_file(settings: Settings, rules: Path, output: Path | None) -> tuple[Path, Imported]:
    """Write thresholds made of a file of Prometheus's rules; never over another file."""
    path = output or settings.config / FILE
    try:
        found = import_rules(read_yaml(rules))
    except (KeyError, TypeError, AttributeError) as error:
        problem = f"it is not a file of Prometheus's rules ({error!r})"
        fix = "Name a file that `promtool check rules` accepts"
        raise ConfigurationInvalid(where=rules, problem=problem, fix=fix) from error
    if not found.thresholds:
        fix = "Name a file with alerting rules"
        raise ConfigurationInvalid(where=rules, problem="it has no alerting rule", fix=fix)
    if path.exists():
        problem, fix = "the file exists, and is not overwritten", "Name another one with --output"
        raise UsageInvalid(argument=str(path), problem=problem, fix=fix)
    with draft_of(path) as draft:
        draft.write_text(found.text(), "utf-8")
        read_file(draft)
        return replace_file(path, draft.read_bytes()), found
