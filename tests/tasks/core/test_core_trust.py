"""Files and folders of others: what they may name, and what is made for us alone."""

import os
import stat
from pathlib import Path
from typing import Any

import pytest
import yaml

from tasks.core.errors import ConfigurationInvalid
from tasks.core.settings import Settings, load_settings
from tasks.core.variables import VARIABLES, is_token_variable
from tasks.core.whole_file import draft_of, make_private, replace_file
from tasks.ledger.ledger import Ledger

OF_OTHERS = [
    "AWS_SECRET_ACCESS_KEY",
    "GITHUB_TOKEN",
    "gh_token",
    "FEDVITALS_CLIENT_KEY",
    "FEDVITALS_LEDGER_PASSWORD",
    "PGPASSWORD",
    "HOME",
    "PATH",
    "DATABASE_URL",
    "TOKEN_OF_MINE",
    "OPENAI_API_KEY",
]


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "config").mkdir()
    return tmp_path


def load(here: Path, token: str = "STAGING_TOKEN", **variables: str) -> Settings:
    entry = {"api_url": "http://evil.example", "api_token": token}
    content: dict[str, Any] = {"environments": {"staging": entry}}
    (here / "config" / "environments.yaml").write_text(yaml.safe_dump(content))
    (here / "config" / "sinks.yaml").write_text("{}")
    return load_settings(variables)


@pytest.mark.promise("Security: a config file names no variable but those of tokens of ours")
@pytest.mark.parametrize("name", OF_OTHERS)
def test_a_file_names_no_secret_of_another_product(here: Path, name: str) -> None:
    with pytest.raises(ConfigurationInvalid) as caught:
        load(here, name, **{name: "s3cr3t"})
    assert "environments.staging.api_token" in caught.value.where
    assert "s3cr3t" not in str(caught.value)


@pytest.mark.parametrize(
    "name", ["STAGING_TOKEN", "Lab_Key", "X_PASSWORD", VARIABLES["grafana_token"]]
)
def test_a_token_of_ours_is_taken(here: Path, name: str) -> None:
    service = load(here, name, **{name: "t0ken"}).environment("staging").services["api"]
    assert service.token is not None
    assert service.token_from == name
    assert is_token_variable(name)


def owned_by(uid: int, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let a folder, and what is in it, belong to this user, as seen from here."""
    for look in ("stat", "lstat"):
        real = getattr(os, look)

        def seen(path: Any, *args: Any, real: Any = real, **keywords: Any) -> os.stat_result:
            found: os.stat_result = real(path, *args, **keywords)
            if name not in Path(os.fspath(path)).parts:
                return found
            return os.stat_result((*found[:4], uid, *found[5:10]))

        monkeypatch.setattr(f"tasks.core.addresses.os.{look}", seen)


@pytest.mark.promise("Security: a folder of another user is used only when it is named")
@pytest.mark.parametrize(
    ("folder", "variable"), [("config", "FEDVITALS_CONFIG"), (".fedvitals", "FEDVITALS_HOME")]
)
def test_a_folder_of_another_user_is_refused(
    here: Path, monkeypatch: pytest.MonkeyPatch, folder: str, variable: str
) -> None:
    (here / ".fedvitals").mkdir()
    load(here)
    owned_by(os.getuid(), folder, monkeypatch)
    load(here)
    owned_by(os.getuid() + 1, folder, monkeypatch)
    with pytest.raises(ConfigurationInvalid) as caught:
        load(here)
    assert caught.value.where == variable
    load(here, **{variable: str(here / folder)})


@pytest.mark.promise("Security: a ledger's password is never printed")
@pytest.mark.parametrize("password", ["half@rest", "a@b@c", "@"])
def test_a_password_that_would_be_cut_is_refused(here: Path, password: str) -> None:
    url = f"postgresql://me:{password}@db.example/fedvitals"
    with pytest.raises(ConfigurationInvalid) as caught:
        load(here, FEDVITALS_LEDGER_URL=url)
    assert caught.value.where == "FEDVITALS_LEDGER_URL"
    assert not {"half", "rest", "db.example"} & set(str(caught.value).replace("@", " ").split())
    load(here, FEDVITALS_LEDGER_URL=url.replace(password, "half%40rest"))


@pytest.mark.promise("Security: FEDVITALS_HOME and all in it are made for their owner alone")
def test_home_and_ledger_are_private(tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        make_private(tmp_path / "a" / "home")
        Ledger(f"sqlite:///{tmp_path / 'a' / 'home' / 'ledger.db'}").close()
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "a" / "home").stat().st_mode) == 0o700
    modes = {stat.S_IMODE(path.stat().st_mode) for path in (tmp_path / "a" / "home").iterdir()}
    assert modes == {0o600}


def test_a_home_that_is_there_keeps_its_rights(tmp_path: Path) -> None:
    tmp_path.chmod(0o750)
    make_private(tmp_path)
    assert stat.S_IMODE(tmp_path.stat().st_mode) == 0o750


def test_a_draft_is_new_and_its_name_unknown(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    target = tmp_path / "file"
    with draft_of(target) as one, draft_of(target) as other:
        assert one != other
    assert list(tmp_path.iterdir()) == []
    monkeypatch.setattr("tasks.core.whole_file.secrets.token_hex", lambda _: "guessed")
    (tmp_path / ".file.guessed").symlink_to(tmp_path / "victim")
    with pytest.raises(FileExistsError):
        replace_file(target, b"x")
    assert not (tmp_path / "victim").exists()
