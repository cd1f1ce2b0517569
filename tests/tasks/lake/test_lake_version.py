"""The lake's version: written with the first table, and a newer one is never read."""

import json
from pathlib import Path

import pytest

from tasks.core.errors import LakeDamaged, MadeByNewer
from tasks.lake.tables import Lake
from tasks.lake.version import check_version, write_version
from tests.support.lake_samples import M, put, ratios


def test_first_table_writes_it_and_looking_does_not(tmp_path: Path) -> None:
    folder = tmp_path / "lake"
    assert Lake(str(folder)).names() == []
    assert not Lake(str(folder)).has("example")
    assert not folder.exists()
    Lake(str(folder)).prepare(M)
    assert json.loads((folder / "_fedvitals.json").read_text()) == {"lake": 1}
    assert sorted(path.name for path in folder.iterdir()) == ["_fedvitals.json", "example"]


def test_lake_from_before_is_of_the_first_version(tmp_path: Path) -> None:
    folder = tmp_path / "lake"
    put(Lake(str(folder)), [0.5], 0)
    (folder / "_fedvitals.json").unlink()
    assert ratios(Lake(str(folder))) == [0.5]
    put(Lake(str(folder)), [0.6], 0)
    assert (folder / "_fedvitals.json").exists()


@pytest.mark.promise(
    "Ledger: a newer lake or ledger is refused; an older ledger is migrated, with a copy of the SQLite file"
)
def test_newer_lake_is_refused_whatever_is_asked(tmp_path: Path) -> None:
    folder = tmp_path / "lake"
    put(Lake(str(folder)), [0.5], 0)
    (folder / "_fedvitals.json").write_text('{"lake": 2, "more": true}')
    lake = Lake(str(folder))
    for ask in (ratios, lambda lake: put(lake, [0.6], 0), lambda lake: lake.quarantined("example")):
        with pytest.raises(
            MadeByNewer, match="made by a newer fedvitals: it has version 2"
        ) as reported:
            ask(lake)
        assert reported.value.exit_code == 2


@pytest.mark.parametrize("content", ["", "{", "[]", "{}", '{"lake": "1"}', '{"lake": 0}'])
def test_torn_file_is_reported(tmp_path: Path, content: str) -> None:
    (tmp_path / "_fedvitals.json").write_text(content)
    with pytest.raises(LakeDamaged, match="fedvitals lake repair"):
        check_version(str(tmp_path))


def test_url_of_a_local_folder(tmp_path: Path) -> None:
    write_version(tmp_path.as_uri())
    assert check_version(tmp_path.as_uri())
    assert not check_version(str(tmp_path / "other"))
