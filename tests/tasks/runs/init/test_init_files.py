"""The files of a proposal."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
import yaml

from tasks.core.catalogue import Catalogue
from tasks.core.settings import load_settings
from tasks.runs.init.families import Family, Skipped
from tasks.runs.init.fields import drafted
from tasks.runs.init.files import document_of, texts_of
from tasks.runs.init.groups import grouped
from tasks.runs.init.propose import Dropped, Proposal

METRICS = """\
# Head.

defaults:
  step: 30s

measurements:
  # about a
  a:
    type: performance
    fields:
      # about x
      x: {query: q}

  # about b
  # and more
  b:
    type: performance
    fields:
      y: {query: q}
"""
ENVIRONMENTS = """\
default_environment: production

# none yet
environments:
#  staging:
"""


@pytest.fixture
def config(tmp_path: Path) -> Path:
    folder = tmp_path / "shipped"
    folder.mkdir()
    (folder / "metrics.yaml").write_text(METRICS)
    (folder / "environments.yaml").write_text(ENVIRONMENTS)
    (folder / "sinks.yaml").write_text("influxdb: {enabled: false}\n")
    (folder / "b.json").write_text("the suite of b")
    return folder


@pytest.fixture
def proposal(config: Path) -> Proposal:
    kept = Catalogue.read(config / "metrics.yaml")["b"]
    help_text = "Hits: of \x1b[31m « les régimes »"
    labels = {"job": "a", "client": "hospital-1"}
    drafts = drafted(Family("app_hits_total", "counter", (labels,), help=help_text))
    assert drafts is not None
    skipped = (Skipped("odd", "its reason"),)
    return Proposal(
        (kept,), (Dropped("a", "x: no series now"),), tuple(grouped([drafts], ())), skipped
    )


def texts(proposal: Proposal, config: Path) -> dict[str, str]:
    entry = {"prometheus_url": "http://p", "prometheus_token": "PROMETHEUS_API_TOKEN"}
    found = texts_of(proposal, config, config, ("production", entry))
    return {str(path): text for path, text in found.items()}


def test_what_is_kept_stands_as_it_stood_and_the_rest_is_gone(
    proposal: Proposal, config: Path
) -> None:
    text = texts(proposal, config)["config/metrics.yaml"]

    head, _, rest = text.partition("measurements:\n")
    assert head == "# Head.\n\ndefaults:\n  step: 30s\n\n"
    assert rest.startswith(
        "\n  # about b\n  # and more\n  b:\n    type: performance\n    fields:\n"
        "      y: {query: q}\n\n  # Proposed by `fedvitals init`"
    )
    assert "about a" not in text


def test_a_proposed_entry_reads_back_as_it_was(
    proposal: Proposal, config: Path, tmp_path: Path
) -> None:
    (tmp_path / "metrics.yaml").write_text(texts(proposal, config)["config/metrics.yaml"], "utf-8")
    read = Catalogue.read(tmp_path / "metrics.yaml")

    assert [name for name in read if not read[name].is_own] == ["b", "app_by_client"]
    [proposed] = proposal.proposed
    assert read["app_by_client"].fields == proposed.measurement.fields
    assert read["app_by_client"].tags == ("client", "job")
    assert read["app_by_client"].identity == "client"
    assert read["b"].identity is None


def test_room_for_more_series_than_the_default_is_written(
    proposal: Proposal, config: Path, tmp_path: Path
) -> None:
    series = [tuple({"id": f"{part}{n}"} for n in range(400)) for part in "ab"]
    drafts = [drafted(Family(f"app_{number}x", "gauge", one)) for number, one in enumerate(series)]
    many = replace(proposal, proposed=tuple(grouped(filter(None, drafts), ())))
    (tmp_path / "metrics.yaml").write_text(texts(many, config)["config/metrics.yaml"], "utf-8")

    assert Catalogue.read(tmp_path / "metrics.yaml")["app_by_id"].max_series == 1600


def test_the_environment_has_its_addresses_and_names_of_variables(
    proposal: Proposal, config: Path, tmp_path: Path
) -> None:
    written = texts(proposal, config)
    assert yaml.safe_load(written["config/environments.yaml"]) == {
        "default_environment": "production",
        "environments": {
            "production": {
                "prometheus_url": "http://p",
                "prometheus_token": "PROMETHEUS_API_TOKEN",
            }
        },
    }
    assert "none yet" not in written["config/environments.yaml"]
    for name in ("environments", "sinks"):
        (tmp_path / f"{name}.yaml").write_text(written[f"config/{name}.yaml"])
    settings = load_settings({"FEDVITALS_CONFIG": str(tmp_path)})
    assert not settings.sinks["influxdb"].enabled


def test_suites_are_copied_or_made(proposal: Proposal, config: Path) -> None:
    written = texts(proposal, config)

    assert written["expectations/b.json"] == "the suite of b"
    assert json.loads(written["expectations/app_by_client.json"])["name"] == "app_by_client"
    assert sorted(written) == [
        "config/environments.yaml",
        "config/metrics.yaml",
        "config/sinks.yaml",
        "expectations/app_by_client.json",
        "expectations/b.json",
    ]


def test_the_document(proposal: Proposal) -> None:
    assert document_of(proposal, [Path("out/config/metrics.yaml")]) == {
        "written": ["out/config/metrics.yaml"],
        "kept": ["b"],
        "dropped": [{"measurement": "a", "reason": "x: no series now"}],
        "proposed": [
            {
                "measurement": "app_by_client",
                "tags": ["client", "job"],
                "identity": "client",
                "fields": ["hits_per_second"],
                "metrics": ["app_hits_total"],
            }
        ],
        "skipped": [{"metric": "odd", "reason": "its reason"}],
    }
