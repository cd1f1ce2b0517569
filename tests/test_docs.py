"""The pages: generated ones are as their sources, links lead somewhere, hand-written ones stay short."""

import re
from pathlib import Path

import pytest

from docs.generate import PAGES, promises, reliability_page

ROOT = Path(__file__).resolve().parents[1]
RUNBOOKS = ROOT / "docs" / "runbooks"
DOCS = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
WRITTEN = [path for path in (ROOT / "CHANGELOG.md", *DOCS) if path.name not in PAGES]
MOST_WORDS = 31_000
MARKED = """
import pytest

@pytest.mark.slow
@pytest.mark.promise("Landing: one")
@pytest.mark.promise("Twice: two")
def test_a() -> None: ...

class TestB:
    @pytest.mark.promise("Landing: one")
    def test_b(self) -> None: ...
"""


@pytest.mark.slow
@pytest.mark.parametrize("name", PAGES)
def test_a_generated_page_is_as_its_source(name: str) -> None:
    """`make docs` writes it anew."""
    assert (ROOT / "docs" / name).read_text("utf-8") == PAGES[name]()


def test_promises_are_found_on_functions_methods_and_files(tmp_path: Path) -> None:
    (tmp_path / "test_marked.py").write_text(MARKED, "utf-8")
    whole = 'import pytest\npytestmark = [pytest.mark.slow, pytest.mark.promise("Repair: three")]\n'
    (tmp_path / "test_whole.py").write_text(whole, "utf-8")

    assert set(promises(tmp_path)) == {
        ("test_marked.py::test_a", "Landing: one"),
        ("test_marked.py::test_a", "Twice: two"),
        ("test_marked.py::test_b", "Landing: one"),
        ("test_whole.py", "Repair: three"),
    }
    assert "| one | `test_marked.py::test_a`, `test_marked.py::test_b` |" in reliability_page(
        tmp_path
    )


@pytest.mark.parametrize("text", ["no topic", "Nowhere: a topic that the page lacks"])
def test_a_promise_without_a_topic_of_the_page_is_refused(text: str, tmp_path: Path) -> None:
    marked = f"import pytest\n@pytest.mark.promise({text!r})\ndef test_a() -> None: ...\n"
    (tmp_path / "test_marked.py").write_text(marked, "utf-8")

    with pytest.raises(ValueError, match=re.escape(text)):
        reliability_page(tmp_path)


@pytest.mark.slow
def test_no_promise_is_lost() -> None:
    held = list(promises(ROOT / "tests"))

    assert len({text for _, text in held}) >= 120
    assert len({test for test, _ in held}) >= 240


def anchors(text: str) -> set[str]:
    """The anchors that GitHub gives to the headings of a page."""
    headings = re.findall(r"^#+ (.+)$", text, re.M)
    return {re.sub(r"[^\w\- ]", "", head.lower()).strip().replace(" ", "-") for head in headings}


def broken(page: Path) -> list[str]:
    """The links of a page to files and headings that are not there."""
    wrong = []
    for link in re.findall(r"\]\(([^)\s]+)\)", page.read_text("utf-8")):
        file, _, anchor = link.partition("#")
        if "://" in link:
            continue
        target = page.parent / file if file else page
        if not target.exists() or (anchor and anchor not in anchors(target.read_text("utf-8"))):
            wrong.append(link)
    return wrong


@pytest.mark.parametrize("page", DOCS, ids=lambda page: page.name)
def test_links_lead_somewhere(page: Path) -> None:
    assert broken(page) == []


def test_a_link_to_nowhere_is_found(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text("# A `b` c\n[1](#a-b-c) [2](#d) [3](page.md#a-b-c) [4](other.md)\n", "utf-8")

    assert broken(page) == ["#d", "other.md"]


def test_the_index_lists_every_runbook() -> None:
    listed = re.findall(r"\]\(([\w-]+\.md)\)", (RUNBOOKS / "index.md").read_text("utf-8"))

    assert {*listed, "index.md"} == {page.name for page in RUNBOOKS.glob("*.md")}
    assert len(listed) > 25


def test_hand_written_pages_stay_short() -> None:
    """Runbooks may grow: one is read at a time, when something is wrong."""
    words = {
        path.name: len(path.read_text("utf-8").split())
        for path in WRITTEN
        if path.parent != RUNBOOKS
    }

    assert len(words) >= 8
    assert sum(words.values()) <= MOST_WORDS, words


@pytest.mark.parametrize("page", WRITTEN, ids=lambda page: page.name)
def test_pages_speak_the_language_of_the_field(page: Path) -> None:
    text = page.read_text("utf-8")

    assert re.findall(r"\b(?:un)?told\b|\bmend(?:s|ed)?\b", text, re.I) == []
