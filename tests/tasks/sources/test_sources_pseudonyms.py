"""Clients under another name: the same with the same key, nothing without it, no name in any record."""

import json
import stat
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest

from tasks.core.batch import Batch, build_frame
from tasks.core.catalogue import Catalogue
from tasks.core.errors import ConfigurationInvalid
from tasks.core.quarantine import Reason, records
from tasks.core.settings import Settings, load_settings, shipped
from tasks.core.severity import Severity
from tasks.sources.pseudonyms import KEY_FILE, NamedSource, Namer, namer_of
from tests.support.fakes.memory import MemorySource
from tests.support.training_bench import DAY, START

CLIENTS = Catalogue.read(shipped("config") / "metrics.yaml")["fl_round_clients"]
KEY = "a key that is long enough"


def settings(home: Path, mode: str = "hashed", **variables: str) -> Settings:
    config = home / "config"
    config.mkdir(exist_ok=True)
    (config / "environments.yaml").write_text(f'client_ids: "{mode}"\n', "utf-8")
    (config / "sinks.yaml").write_text("{}\n", "utf-8")
    places = {"FEDVITALS_HOME": str(home), "FEDVITALS_CONFIG": str(config)}
    return load_settings({**places, **variables})


def namer(home: Path, variables: Mapping[str, str] | None = None) -> Namer:
    found = namer_of(settings(home, **(variables or {})))
    assert found is not None
    return found


def test_a_name_stays_the_same_with_the_kept_key(tmp_path: Path) -> None:
    first, second = namer(tmp_path), namer(tmp_path)
    assert first("client-1") == second("client-1") != first("client-2")
    assert len(first("client-1")) == 12
    assert "client-1" not in first("client-1")
    assert stat.S_IMODE((tmp_path / KEY_FILE).stat().st_mode) == 0o600
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith(".")] == []


def test_another_key_gives_other_names(tmp_path: Path) -> None:
    (tmp_path / "other").mkdir()
    assert namer(tmp_path)("client-1") != namer(tmp_path / "other")("client-1")


def test_the_variable_wins_and_makes_machines_agree(tmp_path: Path) -> None:
    (tmp_path / "other").mkdir()
    given = {"FEDVITALS_CLIENT_KEY": KEY}
    assert namer(tmp_path, given)("a") == namer(tmp_path / "other", given)("a")
    assert not (tmp_path / KEY_FILE).exists()
    assert KEY not in repr(settings(tmp_path, **given))


def test_plain_keeps_the_names(tmp_path: Path) -> None:
    assert namer_of(settings(tmp_path, "plain")) is None


def test_a_key_that_can_be_guessed_is_refused(tmp_path: Path) -> None:
    with pytest.raises(
        ConfigurationInvalid, match="FEDVITALS_CLIENT_KEY: the key has fewer than 16"
    ):
        settings(tmp_path, FEDVITALS_CLIENT_KEY="short")


def test_an_unknown_way_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationInvalid, match="client_ids: Input should be 'plain', 'hashed'"):
        settings(tmp_path, "none")


def test_a_key_that_was_cut_is_refused(tmp_path: Path) -> None:
    (tmp_path / KEY_FILE).write_bytes(b"short")
    with pytest.raises(ConfigurationInvalid, match="holds 5 bytes"):
        namer(tmp_path)


def a_batch() -> Batch:
    frame = build_frame(
        CLIENTS,
        {
            "time": [START, START],
            "environment": ["production"] * 2,
            "client": ["alice", "bob"],
            "round": [1, 1],
        },
    )
    reason = Reason("structural", "value", "json_type", "json_type", Severity.CRITICAL, "", "")
    rejected = records(frame, CLIENTS, np.array([0]), ["round"], reason)
    return Batch(CLIENTS, "production", DAY, frame, rejected=rejected)


class Once(MemorySource):
    def extract(self, *given: object) -> Batch:
        return a_batch()


@pytest.mark.promise(
    "Secrets: client names are hashed everywhere, unless `client_ids` says otherwise"
)
def test_neither_rows_nor_records_hold_a_name() -> None:
    source = NamedSource(Once(a_batch().frame), {"alice": "z", "bob": "c"}.__getitem__)
    batch = source.extract(CLIENTS, "production", DAY)
    # in canonical order again
    assert batch.frame["client"].tolist() == ["c", "z"]
    assert list(batch.frame["client"].cat.categories) == ["c", "z"]
    assert [json.loads(tags) for tags in batch.rejected["tags"]] == [{"client": "z"}]
    assert source.name == "prometheus"


def test_a_measurement_without_an_identity_is_left_alone() -> None:
    source = NamedSource(Once(a_batch().frame), lambda name: "hashed")
    plain = CLIENTS.model_copy(update={"identity": None})
    assert source.extract(plain, "production", DAY).frame["client"].tolist() == ["alice", "bob"]
