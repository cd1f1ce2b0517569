"""Every alert that ships has a page that says what it means, how to look and what to do."""

from datetime import timedelta
from pathlib import Path

import pytest

from tasks.analysis.slo.slo_rules import thresholds_of
from tasks.core.settings import shipped
from tasks.core.slos import read_slos
from tasks.core.thresholds import RUNBOOKS, WATCHDOG_RULE, Threshold, read_thresholds

ROOT = Path(__file__).resolve().parents[1]
SHIPPED = [WATCHDOG_RULE, *read_thresholds(shipped("config") / "alert-thresholds.yaml")]
MINUTE = timedelta(minutes=1)
PARTS = ("*You see*", "*What it means*", "*How to look*", "*What to do*")


def flaws(rules: list[Threshold], root: Path) -> list[str]:
    """The rules whose page is missing, lacks a part, or says no more than another one."""
    found, seen = [], set[str]()
    for each in rules:
        page = root / each.runbook_page
        text = page.read_text("utf-8") if page.is_file() else ""
        body = text.replace(each.id, "")
        is_whole = text.startswith(f"# {each.id}: ") and all(part in text for part in PARTS)
        if not is_whole or not 10 <= len(text.splitlines()) <= 25 or body in seen:
            found.append(each.id)
        seen.add(body)
    return found


def test_every_shipped_rule_has_its_page() -> None:
    assert len(SHIPPED) > 20
    assert flaws(SHIPPED, ROOT) == []


@pytest.mark.parametrize("how", ["missing", "cut off", "copied"])
def test_a_page_that_is_no_help_is_found(how: str, tmp_path: Path) -> None:
    one, other = SHIPPED[1:3]
    folder = tmp_path / RUNBOOKS
    folder.mkdir(parents=True)
    for each in (one, other):
        (folder / f"{each.id}.md").write_bytes((ROOT / each.runbook_page).read_bytes())
    assert flaws([one, other], tmp_path) == []

    page = folder / f"{other.id}.md"
    text = (folder / f"{one.id}.md").read_text("utf-8")
    if how == "missing":
        page.unlink()
    elif how == "cut off":
        page.write_text(page.read_text("utf-8").partition("*What to do*")[0], "utf-8")
    else:
        page.write_text(text.replace(one.id, other.id), "utf-8")

    assert flaws([one, other], tmp_path) == [other.id]


def test_every_alert_of_an_objective_links_the_page_of_objectives() -> None:
    objectives = read_slos(shipped("config") / "slos.yaml", ())
    alerts = [one for slo in objectives for one in thresholds_of(slo, "production", MINUTE)]
    assert {one.runbook_page for one in alerts} == {f"{RUNBOOKS}/slo.md"}
    text = (ROOT / RUNBOOKS / "slo.md").read_text("utf-8")
    assert all(part in text for part in PARTS)
