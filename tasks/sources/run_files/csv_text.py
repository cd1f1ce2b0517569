"""CSV: comma, semicolon or tab, with a header line, quotes and decimal commas."""

import csv
from collections.abc import Sequence
from itertools import islice

from tasks.core.finding import Finding
from tasks.core.severity import Severity
from tasks.sources.run_files import charts
from tasks.sources.run_files.table import MOST_CELLS, About, Table, check_cells, invalid, odd

SEPARATORS = {",": "comma", ";": "semicolon", "\t": "tab", "|": "bar"}
Line = tuple[int, list[str]]
MOST_LINES = 1_000_000
"""A run of 1,000 rounds and 200 clients has 200,000; each takes half a kilobyte of memory."""
LINES_FIX = "Keep one line a round, or one a client and round: leave out some of the rounds"
CSV_FIX = "The first line names the columns, such as round,loss,accuracy"


def table_of(text: str, file: str, run_id: str) -> Table:
    """Read a CSV file."""
    _check_amount(text, file)
    lines = text.splitlines()
    start = next((place for place, line in enumerate(lines) if line.strip()), None)
    if start is None:
        raise invalid(file, "it is empty", CSV_FIX)
    header = lines[start].lstrip("# ") if lines[start].startswith("#") else lines[start]
    separator = max(SEPARATORS, key=header.count)
    if not header.count(separator):
        raise invalid(file, f"line {start + 1} has one column only", CSV_FIX)
    body = (f"{line}\n" for line in (header, *islice(lines, start + 1, None)))
    reader = csv.reader(body, delimiter=separator, skipinitialspace=True)
    try:
        names = [name.strip() for name in next(reader)]
        rows = [(reader.line_num + start, row) for row in reader]
    except csv.Error as error:
        raise invalid(file, f"line {reader.line_num + start}: {error}", CSV_FIX) from error
    filled = [(line, row) for line, row in rows if any(cell.strip() for cell in row)]
    sections = _sections((start + 1, names), [r for r in filled if not r[1][0].startswith("#")])
    kept: list[Line] = []
    columns: dict[str, list[str]] = {}
    findings: tuple[Finding, ...] = ()
    for (line, heads), part in sections:
        _check_header(file, heads, line)
        whole, found = _whole(file, heads, part)
        findings += found
        check_cells(file, len(kept) + len(whole), len(columns.keys() | set(heads)))
        for place, name in enumerate(heads):
            if name:
                cells = columns.setdefault(name, [])
                cells += [""] * (len(kept) - len(cells)) + [row[place] for _, row in whole]
        kept += whole
    if not kept:
        raise invalid(file, "it has a header and no round", "Name a file of a run that has begun")
    columns = {name: cells + [""] * (len(kept) - len(cells)) for name, cells in columns.items()}
    if not names[0] and "round" not in columns:
        # the index that pandas writes without a name
        columns = {"step": [row[0] for _, row in kept], **columns}
    table = Table(About(run_id, file), columns, [f"line {line}" for line, _ in kept], findings)
    return charts.table_of(table)


def _check_amount(text: str, file: str) -> None:
    count = text.count("\n")
    if count > MOST_LINES:
        raise invalid(file, f"it has {count:,} lines, at most {MOST_LINES:,} are read", LINES_FIX)
    amount = sum(map(text.count, SEPARATORS)) + count
    if amount > MOST_CELLS:
        raise invalid(file, f"it has {amount:,} cells, at most {MOST_CELLS:,} are read", LINES_FIX)


def _sections(head: Line, rows: list[Line]) -> list[tuple[Line, list[Line]]]:
    """Cut the rows where a logger wrote its header again, maybe with further columns."""
    sections: list[tuple[Line, list[Line]]] = [(head, [])]
    for line, row in rows:
        if row[0].strip() == head[1][0] and set(head[1]) <= {cell.strip() for cell in row}:
            sections.append(((line, [cell.strip() for cell in row]), []))
        else:
            sections[-1][1].append((line, row))
    return sections


def cut_off(line: int) -> Finding:
    """Report a last line that is still being written."""
    sentence = f"The last line ({line}) is truncated and skipped."
    return odd("line_cut_off", sentence, Severity.INFO, line=line)


def _check_header(file: str, names: Sequence[str], line: int) -> None:
    if all(_is_number(name) for name in names):
        raise invalid(file, f"line {line} has numbers where the columns' names should be", CSV_FIX)
    folded = [name.casefold() for name in names]
    for place, name in enumerate(folded):
        if name and name in folded[:place]:
            both = f"{folded.index(name) + 1} and {place + 1}"
            problem = f"line {line}: column {names[place]} is repeated, as column {both}"
            raise invalid(file, problem, "Remove or rename one of them")


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def _whole(
    file: str, names: Sequence[str], rows: list[Line]
) -> tuple[list[Line], tuple[Finding, ...]]:
    """Return the rows, without a last one that is still being written."""
    findings: tuple[Finding, ...] = ()
    if len(rows) > 1 and len(rows[-1][1]) < len(names):
        findings = (cut_off(rows[-1][0]),)
        rows = rows[:-1]
    for line, row in rows:
        if len(row) != len(names):
            problem = (
                f"line {line} has {len(row)} cells where the header names {len(names)} columns"
            )
            raise invalid(
                file, problem, "Correct the line; a cell with a separator in it needs quotes"
            )
    return rows, findings
