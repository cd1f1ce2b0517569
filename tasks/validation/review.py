"""Review of all suites of a catalogue, with each flaw."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from tasks.core.errors import SuiteInvalid
from tasks.core.measurement import Measurement
from tasks.core.settings import shipped
from tasks.validation.model import Suite
from tasks.validation.suites import all_flaws, canonical_json, read_suite, write_suite


@dataclass(frozen=True)
class Flaw:
    """A flaw of a suite's file, or of the named check of it, with the fix."""

    suite: str
    check_id: str | None
    problem: str
    fix: str


def review(folder: Path, measurements: Iterable[Measurement], fix: bool) -> Iterator[Flaw]:
    """Yield all flaws of the folder's suites by measurement, then unused files.

    The shipped suites may lie there unused. A sound suite has to be in canonical form, in which two
    can be compared line by line; `fix` rewrites it.
    """
    used = {path.stem for path in shipped("expectations").glob("*.json")}
    for entry in measurements:
        try:
            flaws = all_flaws(folder, entry)
        except SuiteInvalid as error:
            flaws = [error]
        for one in flaws:
            yield Flaw(Path(one.suite).name, one.check_id, one.problem, one.fix)
        if not flaws and _is_odd(suite := read_suite(folder, entry)):
            if fix:
                write_suite(suite)
            else:
                advice = "Rewrite it: fedvitals suites check --fix"
                yield Flaw(suite.path.name, None, "is not in canonical form", advice)
        used.add(entry.suite_name)
    for path in sorted(folder.glob("*.json")):
        if path.stem not in used:
            advice = "Delete it, or name it under `suite` in the catalogue"
            yield Flaw(path.name, None, "no measurement uses it", advice)


def _is_odd(suite: Suite) -> bool:
    # without a file the shipped one is in force
    is_there = suite.path.is_file()
    return is_there and suite.path.read_text(encoding="utf-8-sig") != canonical_json(suite.content)
