"""Change alert-thresholds.yaml: adopt a threshold, or import a team's own rules."""

import re
from importlib.resources import files
from pathlib import Path

from tasks.analysis.rules.imported import Imported, import_rules
from tasks.core.documents import closest, read_yaml
from tasks.core.errors import ConfigurationInvalid, UsageInvalid
from tasks.core.settings import Settings
from tasks.core.thresholds import FILE, read_file
from tasks.core.whole_file import draft_of, replace_file
from tasks.runs.base.thresholds import thresholds_in_force, thresholds_path

# the files of an installed package are replaced by the next version
PACKAGED = Path(str(files("tasks"))) / "defaults" / "config"


def adopt(settings: Settings, name: str) -> Path:
    """Switch a threshold from observe to alert, and leave all else of the file as it is."""
    known, path = thresholds_in_force(settings).thresholds, thresholds_path(settings)
    if path.parent != settings.config or path.parent == PACKAGED:
        problem = "these are the shipped thresholds"
        fix = "Copy the file to your config folder, without fields that your catalogue lacks"
        raise ConfigurationInvalid(where=path, problem=problem, fix=fix)
    if name not in known:
        similar = closest(name, known)
        fix = f"Did you mean {similar}?" if similar else f"See {path}"
        raise UsageInvalid(argument="ID", problem=f"there is no threshold {name!r}", fix=fix)
    if known[name].mode == "alert":
        problem, fix = f"{name} is in mode alert already", "Nothing needs to be done"
        raise UsageInvalid(argument="ID", problem=problem, fix=fix)
    text = path.read_text("utf-8")
    block = re.search(rf"^  {name}:.*\n(?:(?:   .*|\s*|\s*#.*)\n)*", text, re.MULTILINE)
    changed = block and re.sub(r"(\bmode:\s*)observe\b", r"\1alert", block[0], count=1)
    with draft_of(path) as draft:
        draft.write_text(text.replace(block[0], changed or "", 1) if block else text, "utf-8")
        expected = {**known, name: known[name].model_copy(update={"mode": "alert"})}
        if read_file(draft).thresholds != expected:
            problem = f"`mode: observe` of {name} is written in a way that cannot be changed here"
            raise ConfigurationInvalid(where=path, problem=problem, fix="Write `mode: alert` there")
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
