"""Thresholds made of a team's own rules of Prometheus."""

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import yaml
from promql_parser import parse_duration

from tasks.analysis.rules.checks import OF_LABEL
from tasks.analysis.rules.promql import kept_labels, parsed, split_comparison
from tasks.core.severity import Severity
from tasks.core.thresholds import OF_VALUE, WATCHDOG
from tasks.core.window import format_duration

HEAD = "# Made by `fedvitals rules import`. See docs/configuration.md for the keys.\n"
# what other tools call them
SEVERITIES = {
    "page": Severity.CRITICAL,
    "error": Severity.HIGH,
    "warn": Severity.WARNING,
    "none": Severity.INFO,
    **{str(each): each for each in Severity},
}
HELD = ("for", "keep_firing_for")
_NOT_IN_NAMES = re.compile(r"\W+", re.ASCII)


@dataclass
class Imported:
    """The thresholds by id, and what could not be taken over, by rule."""

    thresholds: dict[str, dict[str, Any]] = field(default_factory=dict)
    left_out: list[str] = field(default_factory=list)

    def text(self) -> str:
        """Return the thresholds as a file."""
        content = {"thresholds": self.thresholds}
        return HEAD + yaml.safe_dump(content, sort_keys=False, allow_unicode=True, width=1000)


def import_rules(content: dict[str, Any]) -> Imported:
    """Take over the alerting rules of a file; raise KeyError, TypeError when it is none."""
    found = Imported()
    for group in content["groups"]:
        if group.get("interval"):
            found.left_out.append(f"group {group['name']}: interval {group['interval']}")
        for rule in group["rules"]:
            if "alert" in rule:
                _take(rule, found)
            else:
                found.left_out.append(f"{rule['record']}: a recording rule")
    return found


def _take(rule: dict[str, Any], found: Imported) -> None:
    name = _NOT_IN_NAMES.sub("_", str(rule["alert"])).strip("_")
    if name == WATCHDOG:
        found.left_out.append(f"{name}: it is built in")
        return
    alike = sum(re.sub(r"_\d+$", "", other) == name for other in found.thresholds)
    key = f"{name}_{alike + 1}" if alike else name
    try:
        expr, comparison, value = split_comparison(str(rule["expr"]).strip())
        kept = kept_labels(parsed(expr))
        # it parses no 0s, which says the same as nothing
        texts = {key: str(rule.get(key, "")) for key in HELD}
        held = {key: parse_duration(text) for key, text in texts.items() if text.strip("0smhd")}
    except ValueError as error:
        found.left_out.append(f"{name}: not PromQL, or no duration: {error}")
        return
    labels = {name: str(text) for name, text in (rule.get("labels") or {}).items()}
    given = labels.pop("severity", None)
    severity = SEVERITIES.get(str(given).lower(), Severity.WARNING)
    if given != str(severity):
        found.left_out.append(f"{key}: severity {given or 'is missing'}: it is {severity} here")
    annotations = dict(_annotations(key, rule.get("annotations") or {}, found))
    used = {label for text in annotations.values() for label in OF_LABEL.findall(text)}
    tags = kept.names if not kept.is_all_but else used
    one = {
        "expr": expr,
        **({"comparison": comparison, "value": value} if comparison else {}),
        **{key: format_duration(length) for key, length in held.items()},
        "severity": str(severity),
        "mode": "observe",
        "tags": sorted(label for label in tags if kept.has(label)),
        "runbook": annotations.pop("runbook_url", ""),
        "summary": annotations.pop("summary", name),
        "labels": labels,
        "annotations": annotations,
    }
    found.thresholds[key] = {key: part for key, part in one.items() if part or part == 0}


def _annotations(
    key: str, annotations: dict[str, Any], found: Imported
) -> Iterator[tuple[str, str]]:
    for name, text in annotations.items():
        is_runbook = name == "runbook_url"
        if OF_VALUE.search(str(text)):
            found.left_out.append(f"{key}: annotation {name} shows the value: {text}")
        elif is_runbook and not re.fullmatch(r"https?://\S+", str(text)):
            found.left_out.append(f"{key}: annotation {name} is no URL: {text}")
        else:
            yield name, str(text)
