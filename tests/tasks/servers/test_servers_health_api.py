"""The server for pushed checks: who may report what, and what a wrong report is answered."""

from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import requests

from tasks.core.errors import ConfigurationInvalid
from tasks.core.health import Health, Key, Push
from tasks.core.settings import Settings, load_settings
from tasks.ledger.health import pushes
from tasks.ledger.ledger import Ledger
from tasks.servers.health_api import LARGEST, health_api

TOKEN = "planted-token"
HEALTH = Health.model_validate(
    {"pushed": {"nightly-export": {"every": "24h", "grace": "30m"}, "a/b": {"every": "1h"}}}
)
ANY = {"FEDVITALS_INTAKE_ADDRESS": "127.0.0.1:0"}


@pytest.fixture(scope="module")
def settings(tmp_path_factory: pytest.TempPathFactory) -> Settings:
    return load_settings({"FEDVITALS_HOME": str(tmp_path_factory.mktemp("home"))})


@pytest.fixture(scope="module")
def url(settings: Settings) -> Iterator[str]:
    with health_api(settings, HEALTH, {**ANY, "FEDVITALS_INTAKE_TOKEN": TOKEN}) as url:
        yield url


def post(url: str, path: str, token: str | None = TOKEN, **more: object) -> requests.Response:
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    return requests.post(f"{url}{path}", headers=headers, timeout=5, **more)  # type: ignore[arg-type]


def kept(settings: Settings, name: str) -> Push | None:
    with closing(Ledger(settings.ledger_url)) as ledger:
        return pushes(ledger).get(Key("production", name))


@pytest.mark.promise("Health: a job's deadline counts from its last report, on disk")
def test_a_report_is_kept_on_disk_with_its_deadline(url: str, settings: Settings) -> None:
    before = datetime.now(UTC)
    assert post(url, "/checks/nightly-export").status_code == 204

    push = kept(settings, "nightly-export")
    assert push is not None
    assert push.at is not None
    assert push.at >= before
    assert (push.deadline - push.at, push.failed) == (timedelta(hours=24, minutes=30), False)

    assert post(url, "/checks/nightly-export?failed=true").status_code == 204
    push = kept(settings, "nightly-export")
    assert push is not None
    assert push.failed


def test_a_name_may_have_a_slash(url: str, settings: Settings) -> None:
    assert post(url, "/checks/a/b").status_code == 204
    assert kept(settings, "a/b") is not None


@pytest.mark.parametrize(
    ("path", "token", "size", "status", "words"),
    [
        ("/checks/nightly-exprot", TOKEN, 0, 404, "did you mean nightly-export?"),
        ("/checks/nightly-export?environment=stagin", TOKEN, 0, 404, "no environment 'stagin'"),
        ("/checks/nightly-export?failed=perhaps", TOKEN, 0, 422, "bool"),
        ("/checks/nightly-export", None, 0, 401, "FEDVITALS_INTAKE_TOKEN"),
        ("/checks/nightly-export", "planted-tokem", 0, 401, "FEDVITALS_INTAKE_TOKEN"),
        # the token is asked for before names are
        ("/checks/nightly-exprot", None, 0, 401, "FEDVITALS_INTAKE_TOKEN"),
        ("/checks/nightly-export", TOKEN, LARGEST + 1, 413, "no body"),
        ("/docs", TOKEN, 0, 404, ""),
    ],
)
def test_a_report_that_cannot_be_taken_is_refused(
    url: str, path: str, token: str | None, size: int, status: int, words: str
) -> None:
    answer = post(url, path, token, data=b"x" * size)

    assert answer.status_code == status
    assert words in answer.text
    assert TOKEN not in answer.text


def test_a_ledger_that_is_away_asks_to_come_again(tmp_path: Path) -> None:
    (tmp_path / "ledger.db").mkdir()
    settings = load_settings({"FEDVITALS_HOME": str(tmp_path)})
    with health_api(settings, HEALTH, ANY) as url:
        answer = post(url, "/checks/nightly-export", None)

    assert (answer.status_code, answer.headers["Retry-After"]) == (503, "30")


@pytest.mark.parametrize(
    ("address", "words"),
    [
        ("0.0.0.0:0", "is open to other machines, and FEDVITALS_INTAKE_TOKEN is not set"),
        ("[::]:0", "is open to other machines"),
        ("localhost", "it is no IP:PORT"),
        ("127.0.0.1:99999", "cannot listen on"),
    ],
)
def test_an_address_that_cannot_be_is_refused(address: str, words: str, settings: Settings) -> None:
    with pytest.raises(ConfigurationInvalid, match="FEDVITALS_INTAKE_ADDRESS") as caught:
        health_api(settings, HEALTH, {"FEDVITALS_INTAKE_ADDRESS": address}).__enter__()

    assert words in str(caught.value)


def test_an_address_in_use_is_refused(url: str, settings: Settings) -> None:
    address = {"FEDVITALS_INTAKE_ADDRESS": url.removeprefix("http://")}
    with pytest.raises(ConfigurationInvalid, match="Address already in use"):
        health_api(settings, HEALTH, address).__enter__()
