"""The rules of the house that no linter knows: sizes, adapters, what must be nowhere."""

import ast
import importlib
import inspect
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[1]
PRODUCT = ("flows", "tasks", "deployments", "benchmarks")
MODULES = sorted(path for folder in PRODUCT for path in (ROOT / folder).rglob("*.py"))
MOST_LINES_OF_A_FILE = 400
MOST_LINES_OF_A_FUNCTION = 50
# what makes a class an adapter of its package, beside its name
SHAPES = {"sources": "extract", "sinks": "load"}


def name_of(path: Path) -> str:
    return str(path.relative_to(ROOT))


def functions(tree: ast.Module) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef]:
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            yield node


def test_no_file_is_too_long() -> None:
    lengths = {name_of(path): len(path.read_text("utf-8").splitlines()) for path in MODULES}

    assert len(lengths) > 60
    assert {n: length for n, length in lengths.items() if length > MOST_LINES_OF_A_FILE} == {}


def test_no_function_is_too_long() -> None:
    lengths = {
        f"{name_of(path)}:{node.lineno} {node.name}": (node.end_lineno or 0) - node.lineno + 1
        for path in MODULES
        for node in functions(ast.parse(path.read_text("utf-8")))
    }

    assert len(lengths) > 300
    assert {n: length for n, length in lengths.items() if length > MOST_LINES_OF_A_FUNCTION} == {}


def adapters() -> list[tuple[str, str, type]]:
    """Package, module and class of every source and sink."""
    found = []
    for package, method in SHAPES.items():
        for path in sorted((ROOT / "tasks" / package).glob("*.py")):
            module = importlib.import_module(f"tasks.{package}.{path.stem}")
            for _, kind in inspect.getmembers(module, inspect.isclass):
                if kind.__module__ == module.__name__ and _is_adapter(kind, method):
                    found.append((package, path.stem, kind))
    return found


def _is_adapter(kind: Any, method: str) -> bool:
    return isinstance(getattr(kind, "name", None), str) and hasattr(kind, method)


ADAPTERS = adapters()
IDS = [kind.__name__ for _, _, kind in ADAPTERS]


def test_the_adapters_are_found() -> None:
    assert {"PrometheusSource", "ScrapeSource", "InfluxSink"} <= set(IDS)


@pytest.mark.parametrize(("package", "module", "kind"), ADAPTERS, ids=IDS)
def test_an_adapter_has_its_shape(package: str, module: str, kind: Any) -> None:
    assert callable(kind.close)
    parameters = list(inspect.signature(getattr(kind, SHAPES[package])).parameters)
    last = {"sources": "window", "sinks": "cells"}[package]
    assert parameters == ["self", "measurement", "environment", last]


@pytest.mark.parametrize(("package", "module", "kind"), ADAPTERS, ids=IDS)
def test_an_adapter_has_a_test_file(package: str, module: str, kind: type) -> None:
    assert (ROOT / "tests" / "tasks" / package / f"test_{package}_{module}.py").is_file()


@pytest.mark.parametrize(("package", "module", "kind"), ADAPTERS, ids=IDS)
def test_an_adapter_is_declared(package: str, module: str, kind: type) -> None:
    text = (ROOT / "tasks" / "runs" / "base" / "registry.py").read_text("utf-8")

    assert (
        f'"tasks.{package}.{module}:{kind.__name__}"' in text or f"return {kind.__name__}(" in text
    )


def overwriting(text: str) -> list[tuple[str, list[str | None]]]:
    """The calls that write a table with its schema: in which function, and with which keywords."""
    return [
        (function.name, [each.arg for each in call.keywords])
        for function in functions(ast.parse(text))
        for call in ast.walk(function)
        if isinstance(call, ast.Call)
        for keyword in call.keywords
        if keyword.arg == "schema_mode"
        and isinstance(keyword.value, ast.Constant)
        and keyword.value.value == "overwrite"
    ]


def test_only_a_whole_table_is_ever_overwritten_with_its_schema() -> None:
    found = {name_of(path): overwriting(path.read_text("utf-8")) for path in MODULES}
    found = {name: calls for name, calls in found.items() if calls}

    # with a predicate the column is gone from the rows that stay
    ((name, ((function, keywords),)),) = found.items()
    assert (name, function) == ("tasks/lake/delta.py", "replace_table")
    assert "predicate" not in keywords
    # the failing twin
    twin = 'def f():\n    write(url, rows, schema_mode="overwrite", predicate="x")'
    assert overwriting(twin) == [("f", ["schema_mode", "predicate"])]


def test_the_lock_names_no_host_and_has_hashes() -> None:
    text = (ROOT / "requirements.lock").read_text("utf-8")
    entries = re.split(r"\n(?=\S)", text.strip())

    assert len(entries) > 100
    assert re.search(r"https?://|--(extra-)?index|--find-links|--trusted", text) is None
    assert [entry for entry in entries if "==" in entry and "--hash=sha256:" not in entry] == []


def tracked() -> list[Path]:
    """The files that git has or would take."""
    command = ["git", "ls-files", "--cached", "--others", "--exclude-standard"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    if done.returncode:
        pytest.skip("this is no clone")
    return [path for line in done.stdout.splitlines() if (path := ROOT / line).is_file()]


def test_no_file_names_a_folder_of_somebodys_machine() -> None:
    # put together here, or this file would name them
    homes, others = "|".join(["home", "Users"]), "|".join(["root", "work"])
    folders = re.compile(rf"(?<![a-z])/(?:(?:{homes})/\w[\w.-]*/|(?:{others})/)[A-Za-z.]")
    wrong = []
    for path in tracked():
        try:
            text = path.read_text("utf-8")
        except UnicodeDecodeError:
            continue
        wrong += [f"{name_of(path)}: {found[0]}" for found in folders.finditer(text)]

    assert wrong == []


def test_file_names_of_tests_are_unique() -> None:
    names = [path.name for path in (ROOT / "tests").rglob("test_*.py")]

    assert sorted(names) == sorted(set(names))
    assert list((ROOT / "tests").rglob("__init__.py")) == []


def test_every_yaml_of_the_project_can_be_read() -> None:
    files = [path for path in tracked() if path.suffix in (".yaml", ".yml")]

    assert len(files) >= 4
    for path in files:
        assert list(yaml.safe_load_all(path.read_text("utf-8")))
