"""Prometheus's own tool reads every query of the shipped catalogue."""

import subprocess
from pathlib import Path

import pytest
import yaml

from tasks.core.catalogue import Catalogue
from tasks.core.settings import shipped
from tests.support.process import program

CATALOGUE = Catalogue.read(shipped("config") / "metrics.yaml")


@pytest.fixture
def promtool() -> str:
    return program("promtool", "apt install prometheus")


def check(promtool: str, folder: Path, queries: dict[str, str]) -> subprocess.CompletedProcess[str]:
    rules = [{"record": name, "expr": query} for name, query in queries.items()]
    path = folder / "rules.yaml"
    path.write_text(yaml.safe_dump({"groups": [{"name": "all", "rules": rules}]}), "utf-8")
    return subprocess.run(
        [promtool, "check", "rules", str(path)], capture_output=True, text=True, check=False
    )


def test_every_query_parses(promtool: str, tmp_path: Path) -> None:
    queries = {
        f"{name}:{field}": spec.query
        for name, measurement in CATALOGUE.items()
        for field, spec in measurement.fields.items()
        if spec.query is not None
    }

    done = check(promtool, tmp_path, queries)

    assert done.returncode == 0, done.stdout + done.stderr
    assert f"SUCCESS: {len(queries)} rules found" in done.stdout


def test_a_query_with_a_fault_would_be_seen(promtool: str, tmp_path: Path) -> None:
    done = check(promtool, tmp_path, {"a:b": "sum by (a (b)"})

    assert done.returncode != 0
