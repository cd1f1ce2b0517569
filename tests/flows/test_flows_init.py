"""`fedvitals init` against a Prometheus that says what a test wants."""

import os
import pty
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml
from pytest_httpserver import HTTPServer
from werkzeug import Response

from tasks.core.catalogue import Catalogue
from tasks.core.settings import load_settings, shipped
from tests.support.fakes.inventory import FakeInventory
from tests.support.installation import COMMAND, Installation
from tests.support.process import free_port

A = {"job": "a", "instance": "x"}
SECRET = "planted-prometheus-token"
WRITTEN = [
    "config/environments.yaml",
    "config/metrics.yaml",
    "config/sinks.yaml",
    "expectations/app.json",
]


@pytest.fixture
def prometheus(httpserver: HTTPServer) -> FakeInventory:
    return FakeInventory(httpserver, metrics={"app_load": [A], "build_info": [A]})


def written(folder: Path) -> list[str]:
    paths = [*folder.glob("config/*"), *folder.glob("expectations/*")]
    return sorted(str(path.relative_to(folder)) for path in paths)


def test_files_and_what_comes_next(bare: Installation, prometheus: FakeInventory) -> None:
    ran = bare.here(
        "init", "--yes", "--prometheus-url", prometheus.url, "-o", str(bare.folder / "out")
    )

    assert (ran.code, ran.err.splitlines()) == (
        0,
        [
            f"init: looking at {prometheus.url}",
            "init: 0 measurements kept, 1 proposed",
            "init: checking the suites of 1 measurements",
        ],
    )
    lines = ran.out.splitlines()
    assert lines[0].startswith("kept  ")
    assert "kept     none of the shipped catalogue has data there" in lines
    assert "dropped  training: training_loss: no series now" in lines
    assert "proposed app: load" in lines
    assert "skipped  build_info: its value is always 1: the information is in its labels" in lines
    assert (
        lines[-1].strip() == f"FEDVITALS_CONFIG={bare.folder / 'out' / 'config'} fedvitals collect"
    )
    assert written(bare.folder / "out") == WRITTEN


def test_one_json_document(bare: Installation, prometheus: FakeInventory) -> None:
    bare.variables["PROMETHEUS_URL"] = prometheus.url
    out = bare.folder / "out"
    ran = bare.here("init", "--yes", "--output", str(out), "--json")

    assert ran.code == 0
    assert list(ran.document) == ["written", "kept", "dropped", "proposed", "skipped"]
    assert sorted(ran.document["written"]) == [str(out / name) for name in WRITTEN]
    assert ran.document["kept"] == []
    assert ran.document["proposed"] == [
        {
            "measurement": "app",
            "tags": ["instance", "job"],
            "identity": None,
            "fields": ["load"],
            "metrics": ["app_load"],
        }
    ]
    assert ran.document["skipped"] == [
        {
            "metric": "build_info",
            "reason": "its value is always 1: the information is in its labels",
        }
    ]
    catalogue = Catalogue.read(shipped("config") / "metrics.yaml")
    assert {one["measurement"] for one in ran.document["dropped"]} == set(catalogue) - {
        "fedvitals_pipeline",
        "fedvitals_slo",
    }


def test_the_configuration_names_the_services_and_holds_no_token(
    bare: Installation, prometheus: FakeInventory
) -> None:
    prometheus.token = SECRET
    bare.variables |= {
        "PROMETHEUS_URL": prometheus.url,
        "PROMETHEUS_API_TOKEN": SECRET,
        "INFLUXDB_URL": "http://influxdb.example.com:8086",
        "INFLUXDB_TOKEN": SECRET,
        "INFLUXDB_BUCKET": "mine",
    }
    out = bare.folder / "out"

    assert bare.here("init", "--yes", "-o", str(out)).code == 0
    entry = yaml.safe_load((out / "config/environments.yaml").read_text())["environments"]
    assert entry == {
        "production": {
            "prometheus_url": prometheus.url,
            "prometheus_token": "PROMETHEUS_API_TOKEN",
            "influxdb_url": "http://influxdb.example.com:8086",
            "influxdb_token": "INFLUXDB_TOKEN",
            "influxdb_org": "fedvitals",
            "influxdb_bucket": "mine",
        }
    }
    assert not [name for name in written(out) if SECRET in (out / name).read_text()]
    settings = load_settings(bare.variables | {"FEDVITALS_CONFIG": str(out / "config")})
    service = settings.environment(None).services["prometheus"]
    assert service.token is not None
    assert service.token.get_secret_value() == SECRET


def test_what_the_service_itself_tells_is_kept_with_its_suite_and_comments(
    bare: Installation, prometheus: FakeInventory
) -> None:
    bare.variables |= {
        "PROMETHEUS_URL": prometheus.url,
        "FED_VIT_API_URL": "http://fl.example.com",
    }
    out = bare.folder / "out"
    ran = bare.here("init", "--yes", "-o", str(out), "--json")

    catalogue = Catalogue.read(shipped("config") / "metrics.yaml")
    of_the_service = [
        name
        for name, entry in catalogue.items()
        if entry.source != "prometheus" and not entry.is_own
    ]
    assert ran.document["kept"] == of_the_service
    mine = Catalogue.read(out / "config/metrics.yaml")
    assert list(mine) == [*of_the_service, "app", "fedvitals_slo", "fedvitals_pipeline"]
    assert all(mine[name] == catalogue[name] for name in of_the_service)
    text = (shipped("expectations") / "clients.json").read_text()
    assert (out / "expectations/clients.json").read_text() == text


def test_files_that_are_there_are_kept_unless_forced(
    bare: Installation, prometheus: FakeInventory
) -> None:
    bare.variables["PROMETHEUS_URL"] = prometheus.url
    bare.config.mkdir()
    (bare.config / "metrics.yaml").write_text("mine")
    arguments = ("init", "--yes", "-o", str(bare.folder))
    ran = bare.here(*arguments)

    assert (ran.code, ran.out) == (2, "")
    assert ran.err.splitlines()[-1] == (
        f"fedvitals: --output: {bare.config / 'metrics.yaml'} exists already. "
        "Fix: name another folder, or overwrite with --force"
    )
    assert written(bare.folder) == ["config/metrics.yaml"]
    assert (bare.config / "metrics.yaml").read_text() == "mine"
    assert bare.here(*arguments, "--force").code == 0
    assert written(bare.folder) == WRITTEN


def test_a_folder_that_cannot_be_written(bare: Installation, prometheus: FakeInventory) -> None:
    (bare.folder / "out").write_text("a file")
    ran = bare.here(
        "init", "--yes", "--prometheus-url", prometheus.url, "-o", str(bare.folder / "out")
    )

    assert ran.code == 2
    assert "cannot be written: Not a directory. Fix: name another folder" in ran.err


@pytest.mark.parametrize("how", [(), ("--json",)])
def test_without_a_terminal_or_a_yes_the_list_is_shown_and_nothing_is_written(
    bare: Installation, prometheus: FakeInventory, how: tuple[str, ...]
) -> None:
    out = ("-o", str(bare.folder / "out"))
    ran = bare.here("init", "--prometheus-url", prometheus.url, *out, *how)

    assert ran.code == 2
    assert "proposed app: load" in (ran.err if how else ran.out)
    assert "nothing was written" in ran.err
    assert "with --yes" in ran.err
    assert not (bare.folder / "out").exists()


def failing(prometheus: FakeInventory, how: str) -> str:
    if how == "unreachable":
        return f"http://127.0.0.1:{free_port()}"
    if how == "empty":
        prometheus.metrics = {}
    if how == "refused":
        prometheus.token = SECRET
    if how == "no protocol":
        prometheus.instead = [Response("<html>", 200)]
    return prometheus.url


@pytest.mark.parametrize(
    ("how", "words"),
    [
        ("unreachable", "could not answer its metrics"),
        ("refused", "(HTTP 401): no token is set"),
        ("empty", "has no data of the last five minutes, so nothing was written"),
        ("no protocol", "gave an invalid answer to"),
    ],
)
def test_a_prometheus_of_which_nothing_comes(
    bare: Installation, prometheus: FakeInventory, how: str, words: str
) -> None:
    url = failing(prometheus, how)
    ran = bare.here(
        "init", "--yes", "--prometheus-url", url, "-o", str(bare.folder / "out"), "--json"
    )

    assert (ran.code, ran.out) == (1, "")
    reported, error = ran.err.splitlines()
    assert reported == f"init: looking at {url}"
    assert words in error
    assert not (bare.folder / "out").exists()


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ((), "--prometheus-url: no Prometheus is named. Fix: give it, or set PROMETHEUS_URL"),
        (("--prometheus-url", "localhost"), "PROMETHEUS_URL: is not an http or https URL"),
        (("--prometheus-url", f"http://u:{SECRET}@h"), "PROMETHEUS_URL: holds credentials"),
    ],
)
def test_no_address(bare: Installation, arguments: tuple[str, ...], words: str) -> None:
    ran = bare.here("init", "--yes", *arguments, "-o", str(bare.folder / "out"))

    assert ran.code == 2
    assert ran.complaint.startswith(words)
    assert SECRET not in ran.err
    assert not (bare.folder / "out").exists()


@pytest.fixture
def typed(bare: Installation) -> Callable[[str], tuple[int, str]]:
    """Runs init on a terminal with what is typed there; its code and what it prints."""

    def run(text: str) -> tuple[int, str]:
        ours, theirs = pty.openpty()
        os.write(ours, text.encode())
        try:
            done = subprocess.run(
                [str(COMMAND), "init", "-o", "out"],
                cwd=bare.folder,
                env=bare.environment,
                stdin=theirs,
                stdout=subprocess.PIPE,
                # in the order in which a terminal shows them
                stderr=subprocess.STDOUT,
                text=True,
                timeout=60,
                check=False,
            )
        finally:
            os.close(ours)
            os.close(theirs)
        return done.returncode, done.stdout

    return run


@pytest.mark.slow
def test_addresses_are_asked_for_on_a_terminal(
    bare: Installation, prometheus: FakeInventory, typed: Callable[[str], tuple[int, str]]
) -> None:
    code, reported = typed(f"{prometheus.url}\n\nhttp://influxdb.example.com\ny\n")

    assert code == 0
    assert "Prometheus [http://localhost:9090]:" in reported
    assert "Write 4 files to " in reported
    assert "proposed app: load\n" in reported.partition("Write 4 files to ")[0]
    entry = yaml.safe_load((bare.folder / "out/config/environments.yaml").read_text())
    production = entry["environments"]["production"]
    assert production["prometheus_url"] == prometheus.url
    assert production["influxdb_url"] == "http://influxdb.example.com"
    assert "api_url" not in production


def test_only_what_is_selected(bare: Installation, prometheus: FakeInventory) -> None:
    prometheus.metrics |= {"db_load": [A, {"job": "b"}], "db_size": [A]}
    out = ("-o", str(bare.folder / "out"), "--prometheus-url", prometheus.url)
    ran = bare.here("init", "--yes", *out, "--select", "db_*", "--job", "b", "--json")

    assert [one["fields"] for one in ran.document["proposed"]] == [["load"]]
    assert ran.document["skipped"] == []
    ran = bare.here("init", "--yes", *out, "--force", "--job", "c")
    assert (ran.code, ran.out) == (1, "")
    assert "five minutes for --job c, so nothing was written. Fix: check its" in ran.err


@pytest.mark.slow
def test_nothing_is_written_when_the_answer_is_no(
    bare: Installation, prometheus: FakeInventory, typed: Callable[[str], tuple[int, str]]
) -> None:
    bare.variables["PROMETHEUS_URL"] = prometheus.url
    code, reported = typed("\n\n\nn\n")

    assert code == 1
    assert f"Prometheus [{prometheus.url}]:" in reported
    assert not (bare.folder / "out").exists()
