"""Review of all suites of a catalogue, with each flaw."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from tasks.core.errors import SuiteInvalid
from tasks.core.measurement import Measurement
from tasks.validation.model import Suite
from tasks.validation.suites import canonical_json, read_suite, verify


@dataclass(frozen=True)
class Flaw:
    """A flaw of a suite's file, or of the named check of it, with the fix."""

    suite: str
    check_id: str | None
    problem: str
    fix: str


def review(folder: Path, measurements: Iterable[Measurement]) -> Iterator[Flaw]:
    """Yield flaws of the folder's suites by measurement, then unused files.

    Of one suite it is the first error of Great Expectations or fedvitals, and whether the file is in
    canonical form, in which two suites can be compared line by line.
    """
    used = set()
    for entry in measurements:
        try:
            suite = read_suite(folder, entry)
            if suite.name not in used:
                yield from _form(suite)
            verify(suite, entry)
        except SuiteInvalid as error:
            name = Path(error.suite).name
            yield Flaw(name, error.check_id, error.problem, error.fix)
        used.add(entry.suite_name)
    for path in sorted(folder.glob("*.json")):
        if path.stem not in used:
            fix = "Delete it, or name it under `suite` in the catalogue"
            yield Flaw(path.name, None, "no measurement uses it", fix)


def _form(suite: Suite) -> Iterator[Flaw]:
    if not suite.path.is_file():
        # the shipped one is in force
        return
    found = suite.path.read_text(encoding="utf-8-sig")
    wanted = canonical_json(suite.content)
    if found == wanted:
        return
    theirs, ours = found.split("\n"), wanted.split("\n")
    same = [mine == other for mine, other in zip(theirs, ours, strict=False)]
    line = same.index(False) if False in same else len(same)
    expected = "nothing more" if line == len(ours) else f"`{ours[line].strip()}`"
    if line == len(ours) - 1:
        expected = "a line end and nothing more"
    problem = f"is not in canonical form, from line {line + 1} on"
    fix = f"Sort its keys and indent it by 2 spaces; there should be {expected}"
    yield Flaw(suite.path.name, None, problem, fix)
