"""`fedvitals health`: its document, its exit code, and reports of jobs."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from jsonschema import Draft202012Validator
from pytest_httpserver import HTTPServer

from tasks.core.health_report import schema
from tests.support.installation import Installation, entry

ROOT = Path(__file__).resolve().parents[2]
HEAVY = ("pandas", "pyarrow", "deltalake", "great_expectations", "prefect", "matplotlib")


@pytest.fixture
def site(bare: Installation, httpserver: HTTPServer) -> Installation:
    """Production is well, staging is degraded, and nothing is known where qa is."""
    url = httpserver.url_for("").rstrip("/")
    bare.configure({"m": entry("a")}, settle_delay="1ms")
    with bare.changed("environments.yaml") as content:
        content["environments"] = {
            "production": {"api_url": f"{url}/production"},
            "staging": {"api_url": f"{url}/staging"},
            "qa": {"prometheus_url": "http://127.0.0.1:9"},
        }
    health = {"endpoints": {"/health": {}}, "training": None, "failures": 1}
    bare.write_yaml("health.yaml", health)
    httpserver.expect_request("/production/health").respond_with_json({"status": "ok"})
    httpserver.expect_request("/staging/health").respond_with_json({"status": "degraded"})
    return bare


def test_document_of_all_environments_is_the_one_on_stdout(site: Installation) -> None:
    done = site.here("health", "--json")

    document = json.loads(done.out)
    Draft202012Validator(schema()).validate(document)
    assert done.code == 1
    assert (document["environment"], document["overall_status"]) == ("production", "healthy")
    (other,) = document["environments"].values()
    assert (other["environment"], other["state"]) == ("staging", "degraded")
    assert "qa is left out, since api_url of qa in environments.yaml is not set" in done.err
    written = sorted(path.parent.name for path in site.home.rglob("health-report.json"))
    assert written == ["production", "staging"]


@pytest.mark.parametrize(
    ("arguments", "code", "where"),
    [
        (("-e", "production"), 0, "production"),
        (("-e", "staging"), 1, "staging"),
    ],
)
def test_one_environment_ends_by_its_own_health(
    site: Installation, arguments: tuple[str, ...], code: int, where: str
) -> None:
    done = site.here("health", *arguments, "--output", str(site.folder / "out"))
    assert done.code == code
    assert json.loads((site.folder / "out" / "health-report.json").read_text())["environment"] == where  # fmt: skip
    assert "/health" in done.out


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        (("health", "-e", "qa"), "there is no address to check"),
        (("health", "-e", "nowhere"), "there is no environment 'nowhere'"),
        (("health", "push", "nightly"), "is no pushed check of production"),
    ],
)
def test_what_cannot_be_checked_is_refused(
    site: Installation, arguments: tuple[str, ...], problem: str
) -> None:
    done = site.here(*arguments)
    assert (done.code, done.out) == (2, "")
    assert problem in done.err


def test_job_reports_by_command(site: Installation) -> None:
    with site.changed("health.yaml") as content:
        content["pushed"] = {"nightly": {"every": "24h"}}
    assert site.here("health", "push", "nightly").code == 0
    assert site.here("health", "-e", "production").code == 0
    assert site.here("health", "push", "nightly", "--failed").code == 0
    done = site.here("health", "-e", "production")
    assert (done.code, "the job reported a failure" in done.out) == (1, True)


def test_wrong_health_file_names_its_key(site: Installation) -> None:
    site.write_yaml("health.yaml", {"intervall": "30s"})
    done = site.here("health")
    assert done.code == 2
    assert "unknown key intervall (did you mean interval?)" in done.err
    checks = json.loads(site.here("doctor", "--json").out)["checks"]
    (found,) = (one for one in checks if one["service"] == "health")
    assert (found["ok"], "intervall" in found["fix"]) == (False, True)


@pytest.mark.promise("Health: samples are taken before the slow imports of a run")
def test_probes_import_nothing_heavy() -> None:
    code = (
        "import sys, tasks.runs.health.round, flows.commands.health\n"
        "import tasks.core.settings, tasks.ledger.opening\n"
        f"print([name for name in {HEAVY} if name in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "[]"


def test_published_schema_is_the_models() -> None:
    text = (ROOT / "docs" / "schemas" / "health-report.json").read_text("utf-8")
    assert json.loads(text) == schema()


def test_shipped_file_reads_as_its_defaults() -> None:
    """The values in the shipped file are those of a file without them."""
    from tasks.core.documents import parse
    from tasks.core.health import Health

    content = yaml.safe_load((ROOT / "config" / "health.yaml").read_text("utf-8"))
    shipped = parse(Health, content, "health.yaml")
    endpoints = {"endpoints": shipped.endpoints}
    assert shipped == Health(**endpoints)
