"""What fedvitals measures of itself: built into every catalogue, and nobody else's."""

from pathlib import Path
from typing import Any

import pytest
import yaml

from tasks.core.catalogue import Catalogue
from tasks.core.errors import ConfigurationInvalid
from tasks.core.measurement import Measurement
from tasks.core.self_metrics import SELF_METRICS, self_measurement
from tasks.core.settings import shipped
from tasks.validation.suites import read_suite

ENTRY = {"type": "performance", "fields": {"load": {"query": "up"}}}


def read(folder: Path, measurements: dict[str, Any]) -> Catalogue:
    path = folder / "metrics.yaml"
    path.write_text(yaml.safe_dump({"measurements": measurements}), "utf-8")
    return Catalogue.read(path)


def test_every_catalogue_ends_with_it(tmp_path: Path) -> None:
    catalogue = read(tmp_path, {"loads": ENTRY})

    assert list(catalogue) == ["loads", SELF_METRICS]
    assert catalogue[SELF_METRICS] == self_measurement()
    assert self_measurement().digest == self_measurement().digest


def test_what_kind_it_is() -> None:
    own = self_measurement()

    assert (own.name, own.type, own.source) == ("fedvitals_pipeline", "pipeline", "receipt")
    assert own.all_tags == ("environment", "flow")
    assert {name for name, spec in own.fields.items() if spec.required} == {"duration_seconds"}
    assert {spec.type for spec in own.fields.values()} == {"float", "string"}


@pytest.mark.parametrize(
    ("name", "entry"),
    [
        (SELF_METRICS, ENTRY),
        ("mine", {"type": "pipeline", "source": "receipt", "fields": {"load": {}}}),
    ],
)
def test_no_file_can_have_it(tmp_path: Path, name: str, entry: dict[str, Any]) -> None:
    with pytest.raises(ConfigurationInvalid, match="reserved for a built-in measurement") as error:
        read(tmp_path, {"loads": ENTRY, name: entry})

    assert error.value.where.endswith(f"metrics.yaml: measurements.{name}")


def test_a_field_of_it_has_no_other_origin() -> None:
    entry = self_measurement().model_dump(by_alias=True)
    entry["fields"]["retries"]["query"] = "up"

    with pytest.raises(ValueError, match="`query` does not go with `source: receipt`"):
        Measurement.model_validate(entry)


def test_a_folder_without_its_suite_has_the_shipped_one(tmp_path: Path) -> None:
    own = self_measurement()

    suite = read_suite(tmp_path, own)

    assert suite.path == tmp_path / f"{SELF_METRICS}.json"
    assert suite.content == read_suite(shipped("expectations"), own).content
