"""Settings: from variables and files, wrong ones named, and no secret in any text."""

import pickle
import shutil
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import yaml

from tasks.core.errors import ConfigurationInvalid, UsageInvalid
from tasks.core.goal import Goal
from tasks.core.services import DatadogService, InfluxService
from tasks.core.settings import Settings, load_settings, shipped
from tasks.core.variables import VARIABLES

SECRET = "s3cr3t-t0ken"


@pytest.fixture
def config(tmp_path: Path) -> Path:
    return Path(shutil.copytree(shipped("config"), tmp_path / "config"))


def load(config: Path, content: Any = None, **variables: str) -> Settings:
    if content is not None:
        (config / "environments.yaml").write_text(yaml.safe_dump(content), encoding="utf-8")
    base = {"FEDVITALS_CONFIG": str(config), "FEDVITALS_HOME": str(config.parent / "home")}
    return load_settings({**base, **variables})


def error_of(config: Path, content: Any = None, **variables: str) -> ConfigurationInvalid:
    with pytest.raises(ConfigurationInvalid) as caught:
        load(config, content, **variables)
    assert caught.value.exit_code == 2
    return caught.value


def staging(**entry: Any) -> dict[str, Any]:
    return {"environments": {"staging": entry}}


def test_shipped_configuration_loads_without_any_variable(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    settings = load_settings({})
    assert (settings.home, settings.config) == (tmp_path / ".fedvitals", shipped("config"))
    assert settings.expectations == shipped("expectations")
    assert settings.lake_url == str(tmp_path / ".fedvitals" / "lake")
    assert settings.ledger_url == f"sqlite:///{tmp_path / '.fedvitals' / 'ledger.db'}"
    assert list(settings.environments) == ["production"]
    environment = settings.environment(None)
    assert environment.services == {}
    pipeline = settings.pipeline
    assert (pipeline.cell, pipeline.settle_delay) == (timedelta(hours=1), timedelta(seconds=60))
    assert (pipeline.late_data_cells, pipeline.first_run_cells, pipeline.max_gaps_per_run) == (
        1,
        1,
        24,
    )


def test_shipped_files_say_what_is_the_default_anyway(config: Path) -> None:
    shipped_pipeline, shipped_maintenance = load(config).pipeline, load(config).maintenance
    assert load(config, {"environments": {}}).pipeline == shipped_pipeline
    assert load(config, {"environments": {}}).maintenance == shipped_maintenance
    assert load(config, {"environments": {}}).training == load(config).training == Goal()
    shipped_influxdb = load(config).sinks["influxdb"]
    (config / "sinks.yaml").write_text("influxdb: {}", encoding="utf-8")
    assert load(config).sinks["influxdb"] == shipped_influxdb


@pytest.mark.parametrize("reported", [0.9, "0.9", "90%"])
def test_the_goal_of_trainings_is_read(config: Path, reported: object) -> None:
    goal = load(config, {"training": {"target": reported, "total_rounds": 9}}).training
    assert (goal.metric, goal.target, goal.total_rounds) == (None, 0.9, 9)
    of_loss = load(config, {"training": {"metric": "loss", "target": 2.5}}).training
    assert of_loss.target == 2.5


def test_folder_of_the_working_directory_is_taken_when_it_is_one(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, config: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "expectations").mkdir()
    settings = load_settings({})
    assert (settings.config, settings.expectations) == (config, tmp_path / "expectations")
    (config / "environments.yaml").unlink()
    assert load_settings({}).config == shipped("config")


def test_grafana_is_a_service_like_the_others(config: Path) -> None:
    settings = load(config, GRAFANA_URL="https://grafana.example.com/sub/", GRAFANA_API_KEY=SECRET)
    grafana = settings.environment(None).services.get("grafana")
    assert grafana is not None
    assert (grafana.url, grafana.origin) == ("https://grafana.example.com/sub", "GRAFANA_URL")
    assert grafana.token is not None
    assert grafana.token.get_secret_value() == SECRET
    assert SECRET not in repr(settings)
    entry = staging(grafana_url="http://grafana:3000", grafana_token="MY_GRAFANA_KEY")
    other = (
        load(config, entry, MY_GRAFANA_KEY="another").environment("staging").services.get("grafana")
    )
    assert other is not None
    assert (other.url, other.token and other.token.get_secret_value()) == (
        "http://grafana:3000", "another",
    )  # fmt: skip
    assert load(config).environment(None).services.get("grafana") is None


def test_each_environment_has_its_own_sink(config: Path) -> None:
    entry = {"influxdb_url": "http://s:8086", "influxdb_bucket": "other"}
    content = {"environments": {"staging": entry, "bare": {}}}
    settings = load(config, content, INFLUXDB_URL="http://p:8086")
    names = ("production", "staging", "bare", "unknown")
    assert [settings.sink_targets(name) for name in names] == [
        ("http://p:8086 fedvitals/fedvitals",), ("http://s:8086 fedvitals/other",), (), (),
    ]  # fmt: skip
    (config / "sinks.yaml").write_text("influxdb: {enabled: false}", encoding="utf-8")
    assert load(config, INFLUXDB_URL="http://p:8086").sink_targets("production") == ()


def test_variables_make_the_default_environment(config: Path) -> None:
    settings = load(
        config,
        PROMETHEUS_URL="http://localhost:9090/",
        PROMETHEUS_API_TOKEN=SECRET,
        FED_VIT_API_URL="https://fl.example.com/base/",
        INFLUXDB_URL="http://[::1]:8086",
        INFLUXDB_BUCKET="mine",
    )
    environment = settings.environment("production")
    prometheus, api, influxdb = (environment.services[n] for n in ("prometheus", "api", "influxdb"))
    assert (prometheus.url, prometheus.origin) == ("http://localhost:9090", "PROMETHEUS_URL")
    assert prometheus.token is not None
    assert prometheus.token.get_secret_value() == SECRET
    assert (api.url, api.token) == ("https://fl.example.com/base", None)
    assert isinstance(influxdb, InfluxService)
    assert (influxdb.org, influxdb.bucket) == ("fedvitals", "mine")


def test_file_makes_the_others_and_names_their_secrets(config: Path) -> None:
    content = staging(prometheus_url="http://p:9090", prometheus_token="STAGING_TOKEN")
    settings = load(config, content, STAGING_TOKEN=SECRET, PROMETHEUS_URL="http://other:9090")
    assert list(settings.environments) == ["production", "staging"]
    service = settings.environment("staging").services.get("prometheus")
    assert service is not None
    assert service.token is not None
    assert (service.url, service.token.get_secret_value()) == ("http://p:9090", SECRET)
    assert service.origin.endswith("environments.yaml: environments.staging.prometheus_url")
    # a default environment that has an entry takes nothing from the variables
    chosen = load(config, {"default_environment": "staging", **content}, PROMETHEUS_URL="http://x")
    assert list(chosen.environments) == ["staging"]
    default = chosen.environment(None).services.get("prometheus")
    assert default is not None
    assert default.url == "http://p:9090"


def test_unknown_environment_is_refused_and_the_known_are_named(config: Path) -> None:
    with pytest.raises(UsageInvalid, match=r"there is no environment 'nope'.*production, staging"):
        load(config, staging()).environment("nope")


def test_places_are_taken_from_variables(config: Path) -> None:
    settings = load(config, FEDVITALS_LAKE_URL="s3://b/lake", FEDVITALS_LEDGER_URL="sqlite:///x.db")
    assert (settings.lake_url, settings.ledger_url) == ("s3://b/lake", "sqlite:///x.db")
    assert error_of(config, FEDVITALS_CONFIG=str(config / "nope")).where == "FEDVITALS_CONFIG"


@pytest.mark.parametrize(
    "path", ["/a[b", "a]b", "/a^b", "/a|b", "/a\\b", "/a%20b", "file:///a%5Bb"]
)
def test_lake_where_the_library_goes_astray_is_refused(config: Path, path: str) -> None:
    assert "FEDVITALS_LAKE_URL" in error_of(config, FEDVITALS_LAKE_URL=path).where
    assert "FEDVITALS_HOME" in error_of(config, FEDVITALS_HOME=f"/tmp/x[{path}").where


@pytest.mark.parametrize("path", ["/a b", "/ü", "file:///a%20b", "s3://bucket/a%20b"])
def test_lake_elsewhere_is_taken(config: Path, path: str) -> None:
    assert load(config, FEDVITALS_LAKE_URL=path).lake_url == path


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        ({"default_enviroment": "x"}, "unknown key default_enviroment (did you mean default_environment?)"),
        ({"default_environment": ""}, "default_environment: String should match pattern"),
        ({"pipeline": {"cel": "1h"}}, "unknown key pipeline.cel (did you mean cell?)"),
        ({"pipeline": {"cell": 3600}}, "pipeline.cell: 3600 is not a duration"),
        ({"pipeline": {"settle_delay": "-1s"}}, "pipeline.settle_delay: '-1s' is not a duration"),
        ({"pipeline": {"late_data_cells": -1}}, "pipeline.late_data_cells: Input should be greater than or equal to 0"),
        ({"pipeline": {"first_run_cells": -1}}, "pipeline.first_run_cells: Input should be greater than or equal to 0"),
        ({"pipeline": {"max_gaps_per_run": 0}}, "pipeline.max_gaps_per_run: Input should be greater than or equal to 1"),
        ({"pipeline": {"cell": "2w"}}, "pipeline.cell: Input should be less than or equal to 7 days"),
        ({"pipeline": {"settle_delay": "5000w"}}, "pipeline.settle_delay: Input should be less than or equal to 7 days"),
        ({"pipeline": {"source_retention": "9999w"}}, "pipeline.source_retention: '9999w' is too long: more than a century"),
        ({"maintenance": {"runs": "999999w"}}, "maintenance.runs: '999999w' is too long: more than a century"),
        ({"pipeline": {"late_data_cells": 10**30}}, "pipeline.late_data_cells: Input should be less than or equal to 100000"),
        ({"pipeline": {"first_run_cells": 10**30}}, "pipeline.first_run_cells: Input should be less than or equal to 100000"),
        ({"pipeline": {"max_gaps_per_run": 10**30}}, "pipeline.max_gaps_per_run: Input should be less than or equal to 100000"),
        ({"client_ids": True}, "client_ids: Input should be 'plain', 'hashed' or 'off'"),
        ({"pipeline": {"chunk_rows": 0}}, "pipeline.chunk_rows: Input should be greater than 0"),
        ({"maintenance": {"files": "90m"}}, "maintenance.files: must be a whole number of hours"),
        ({"maintenance": {"files": "30m"}}, "maintenance.files: must be a whole number of hours"),
        ({"maintenance": {"backups": -1}}, "maintenance.backups: Input should be greater than or equal to 0"),
        ({"maintenance": {"runs": 90}}, "maintenance.runs: 90 is not a duration"),
        ({"maintenance": {"reports": 0}}, "maintenance.reports: 0 is not a duration"),
        ({"training": {"target": 90}}, "training.target: it is out of range: an accuracy is a share, 0 to 1"),
        ({"training": {"target": "soon"}}, "training.target: it is not a number"),
        ({"training": {"metric": "auc"}}, "training.metric: Input should be 'accuracy' or 'loss'"),
        ({"training": {"targets": 0.9}}, "unknown key training.targets (did you mean target?)"),
        ({"pipeline": {"workers": 17}}, "pipeline.workers: Input should be less than or equal to 16"),
        ({"environments": {"a\\": {}}}, "environments.a\\.[key]: String should match pattern"),
        ({"environments": {"staging": None}}, "environments.staging: Input should be a valid dictionary"),
        (staging(prometheus_ur="http://x"), "unknown key environments.staging.prometheus_ur (did you mean prometheus_url?)"),
    ],
)  # fmt: skip
def test_wrong_keys_of_environments_are_named(config: Path, content: Any, problem: str) -> None:
    error = error_of(config, content)
    assert error.where == str(config / "environments.yaml")
    assert error.problem.startswith(problem)


def test_a_bare_off_is_a_word_and_no_boolean(config: Path) -> None:
    (config / "environments.yaml").write_text("client_ids: off\n", encoding="utf-8")
    assert load(config).client_ids == "off"


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        ("influxdb: {gzipp: true}", "unknown key influxdb.gzipp (did you mean gzip?)"),
        ("influx: {}", "unknown key influx (did you mean influxdb?)"),
        ("influxdb: {timeout: 60}", "influxdb.timeout: 60 is not a duration"),
        ("influxdb: {lines_per_post: 0}", "influxdb.lines_per_post: Input should be greater than 0"),
    ],
)  # fmt: skip
def test_wrong_keys_of_sinks_are_named(config: Path, content: str, problem: str) -> None:
    (config / "sinks.yaml").write_text(content, encoding="utf-8")
    error = error_of(config)
    assert error.where == str(config / "sinks.yaml")
    assert error.problem.startswith(problem)


@pytest.mark.parametrize("name", ["environments.yaml", "sinks.yaml"])
def test_missing_file_is_named(config: Path, name: str) -> None:
    (config / name).unlink()
    error = error_of(config)
    assert (str(error.where), error.problem) == (str(config / name), "the file is missing")


@pytest.mark.parametrize(
    ("url", "problem"),
    [
        (f"http://user:{SECRET}@host", "holds credentials"),
        (f"http://{SECRET}@host", "holds credentials"),
        ("http://:@host", "holds credentials"),
        (f"http://host/?token={SECRET}", "has a part after ? or #"),
        ("http://host/#a", "has a part after ? or #"),
        ("localhost:9090", "is not an http or https URL"),
        ("ftp://host", "is not an http or https URL"),
        ("http://", "is not an http or https URL"),
        ("http://[::1", "is not an http or https URL"),
        ("http://host:port", "is not an http or https URL"),
        ("http://host:99999", "is not an http or https URL"),
        ("http://host ", "is not an http or https URL"),
        ("http://ho\nst", "is not an http or https URL"),
    ],
)
@pytest.mark.parametrize("variable", ["PROMETHEUS_URL", "FED_VIT_API_URL", "INFLUXDB_URL"])
def test_url_that_is_none_of_ours_is_refused(
    config: Path, variable: str, url: str, problem: str
) -> None:
    error = error_of(config, **{variable: url})
    assert (error.where, error.problem) == (variable, problem)
    assert SECRET not in str(error)
    key = next(k for k, v in VARIABLES.items() if v == variable)
    error = error_of(config, staging(**{key: url}))
    assert error.where == f"{config / 'environments.yaml'}: environments.staging.{key}"


@pytest.mark.parametrize(
    ("url", "problem"),
    [
        (f"https://me:{SECRET}@fl.example/reports", "holds credentials"),
        (f"https://fl.example/reports?key={SECRET}", "has a part after ? or #"),
        ("https://fl.example/reports?", "has a part after ? or #"),
        ("/var/lib/fedvitals/reports", "is not an http or https URL"),
        ("file:///var/lib/fedvitals/reports", "is not an http or https URL"),
    ],
)
def test_a_report_url_that_leads_nowhere_is_refused(config: Path, url: str, problem: str) -> None:
    error = error_of(config, FEDVITALS_REPORT_URL=url)
    assert (error.where, error.problem) == ("FEDVITALS_REPORT_URL", problem)
    assert SECRET not in str(error)
    assert "FEDVITALS_HOME/reports" in error.fix


@pytest.mark.parametrize(
    ("base", "page", "link"),
    [
        ("https://fl.example", "home/reports/r/a.html", "https://fl.example/r/a.html"),
        ("https://fl.example/x/", "home/reports/r/a.html", "https://fl.example/x/r/a.html"),
        ("https://fl.example", "home/reports/a (b)#%.html", "https://fl.example/a%20%28b%29%23%25.html"),
        ("https://fl.example", "home/reports/../out/a.html", None),
        ("https://fl.example", "home/reports2/a.html", None),
        ("https://fl.example", "away/a.html", None),
        ("", "home/reports/r/a.html", None),
    ],
)  # fmt: skip
def test_only_what_a_web_server_shows_has_a_link(
    config: Path, tmp_path: Path, base: str, page: str, link: str | None
) -> None:
    settings = load(config, FEDVITALS_REPORT_URL=base)
    assert settings.report_link(settings.home.parent / page) == link
    (tmp_path / "by another name").symlink_to(settings.home.parent)
    assert settings.report_link(tmp_path / "by another name" / page) == link


def test_the_place_of_a_token_is_that_of_the_environment(config: Path) -> None:
    def places(content: dict[str, Any], name: str) -> dict[str, str]:
        services = load(config, content, INFLUXDB_URL="http://i").environments[name].services
        return {service: one.token_from for service, one in services.items()}

    assert places({}, "production") == {"influxdb": "INFLUXDB_TOKEN"}
    content = staging(influxdb_url="http://i", influxdb_token="MINE_TOKEN", grafana_url="http://g")
    assert places(content, "staging") == {
        "influxdb": "MINE_TOKEN",
        "grafana": f"{config / 'environments.yaml'}: environments.staging.grafana_token",
    }


def test_environments_may_be_empty_or_alone(config: Path) -> None:
    for given in (None, {}):
        assert list(load(config, {"environments": given}).environments) == ["production"]
    with pytest.raises(ConfigurationInvalid, match="environments"):
        load(config, {"environments": []})


@pytest.mark.parametrize("token", [f"{SECRET}\n", f" {SECRET}", f"{SECRET}\r\nX: y", "tokén"])
def test_token_that_no_header_can_carry_is_refused(config: Path, token: str) -> None:
    error = error_of(config, PROMETHEUS_URL="http://x", PROMETHEUS_API_TOKEN=token)
    assert error.where == "PROMETHEUS_API_TOKEN"
    assert token.strip() not in str(error)


def test_empty_variable_is_none_at_all(config: Path) -> None:
    settings = load(
        config,
        PROMETHEUS_URL="",
        FED_VIT_API_URL="http://x",
        FED_VIT_API_TOKEN="",
        FEDVITALS_LAKE_URL="",
    )
    environment = settings.environment(None)
    assert list(environment.services) == ["api"]
    assert environment.services["api"].token is None
    assert settings.lake_url.endswith("/home/lake")


@pytest.mark.promise("Secrets: no secret is in a log, report, error or file")
def test_no_secret_is_in_any_text_of_the_settings(config: Path) -> None:
    settings = load(
        config,
        staging(api_url="http://y", api_token="OTHER_TOKEN"),
        **{variable: "http://x" for key, variable in VARIABLES.items() if key.endswith("_url")},
        **{variable: SECRET for key, variable in VARIABLES.items() if key.endswith("_token")},
        OTHER_TOKEN=SECRET,
        FEDVITALS_LEDGER_URL=f"postgresql://user:{SECRET}@host/name",
    )
    texts = [str(settings), repr(settings), *(str(e) for e in settings.environments.values())]
    texts += [e.model_dump_json() for e in settings.environments.values()]
    assert not [text for text in texts if SECRET in text]
    assert settings.ledger_url == f"postgresql://user:{SECRET}@host/name"
    assert pickle.loads(pickle.dumps(settings)) == settings


def a_file(folder: Path, text: str) -> str:
    path = folder / "secret"
    path.write_text(text, encoding="utf-8")
    return str(path)


def token_of(settings: Settings, service: str) -> str:
    token = settings.environment(None).services[service].token
    return token.get_secret_value() if token else ""


@pytest.mark.promise("Secrets: each secret may stand in a file, and none is in a text of ours")
@pytest.mark.parametrize(
    ("service", "variables"),
    [
        ("prometheus", ("PROMETHEUS_URL", "PROMETHEUS_API_TOKEN_FILE")),
        ("api", ("FED_VIT_API_URL", "FED_VIT_API_TOKEN_FILE")),
        ("influxdb", ("INFLUXDB_URL", "INFLUXDB_TOKEN_FILE")),
        ("grafana", ("GRAFANA_URL", "GRAFANA_API_KEY_FILE")),
        ("datadog", ("DATADOG_URL", "DATADOG_API_KEY_FILE")),
    ],
)
def test_a_token_may_stand_in_a_file(
    config: Path, tmp_path: Path, service: str, variables: tuple[str, str]
) -> None:
    url, file = variables
    settings = load(config, **{url: "http://x", file: a_file(tmp_path, f"{SECRET}\n")})
    assert token_of(settings, service) == SECRET
    assert settings.unused == {}
    assert SECRET not in repr(settings)
    # the failing twin
    error = error_of(config, **{url: "http://x", file: str(tmp_path / "gone")})
    assert (error.where, "cannot be read" in error.problem) == (file, True)


@pytest.mark.parametrize("is_in_file", [True, False])
def test_a_service_may_have_a_second_secret(config: Path, tmp_path: Path, is_in_file: bool) -> None:
    entry = staging(datadog_url="http://y", datadog_app_token="OTHER_KEY")
    secret = {"OTHER_KEY_FILE": a_file(tmp_path, SECRET)} if is_in_file else {"OTHER_KEY": SECRET}
    settings = load(config, entry, DATADOG_APP_KEY="other", DATADOG_API_KEY="k", **secret)
    found = [settings.environment(name).services["datadog"] for name in ("staging", None)]
    keys = [each.app_token for each in found if isinstance(each, DatadogService)]
    assert [key.get_secret_value() for key in keys if key] == [SECRET, "other"]
    assert SECRET not in repr(settings)
    # the failing twin: what another product keeps in the environment
    other = staging(datadog_url="http://y", datadog_app_token="AWS_SECRET_ACCESS_KEY")
    assert error_of(config, other).where.endswith("staging.datadog_app_token")


def test_a_key_in_a_file_alone_configures_what_has_one_address(
    config: Path, tmp_path: Path
) -> None:
    settings = load(config, DATADOG_API_KEY_FILE=a_file(tmp_path, SECRET))
    assert token_of(settings, "datadog") == SECRET
    assert "datadog" not in load(config).environment(None).services


def test_every_other_secret_may_stand_in_a_file(config: Path, tmp_path: Path) -> None:
    key, url = "k" * 20, "https://hc.example/ping/1"
    assert load(config, FEDVITALS_CLIENT_KEY_FILE=a_file(tmp_path, key)).client_key is not None
    heartbeat = load(
        config, FEDVITALS_HEARTBEAT_URL_FILE=a_file(tmp_path, f"{url}\n")
    ).heartbeat_url
    assert heartbeat is not None
    assert heartbeat.get_secret_value() == url
    ledger = load(config, FEDVITALS_LEDGER_URL_FILE=a_file(tmp_path, "sqlite:///x.db")).ledger_url
    assert ledger == "sqlite:///x.db"
    entry = staging(api_url="http://y", api_token="OTHER_TOKEN")
    named = load(config, entry, OTHER_TOKEN_FILE=a_file(tmp_path, SECRET)).environment("staging")
    token = named.services["api"].token
    assert token is not None
    assert token.get_secret_value() == SECRET


@pytest.mark.parametrize(
    "name", ["INFLUXDB_TOKEN", "FEDVITALS_CLIENT_KEY", "FEDVITALS_HEARTBEAT_URL", "FEDVITALS_LEDGER_URL"]
)  # fmt: skip
def test_a_secret_in_both_places_or_in_an_empty_file_is_refused(
    config: Path, tmp_path: Path, name: str
) -> None:
    file = a_file(tmp_path, " \n")
    both = error_of(config, INFLUXDB_URL="http://x", **{name: SECRET * 2, f"{name}_FILE": file})
    assert str(both) == f"{name}: {name} and {name}_FILE are both set. Fix: unset one of them"
    empty = error_of(config, INFLUXDB_URL="http://x", **{f"{name}_FILE": file})
    assert (empty.where, empty.problem) == (f"{name}_FILE", f"{file} is empty")


def test_a_file_is_read_again_when_its_token_is_refused(config: Path, tmp_path: Path) -> None:
    file = a_file(tmp_path, "one")
    settings = load(config, INFLUXDB_URL="http://x", INFLUXDB_TOKEN_FILE=file)
    service = settings.environment(None).services["influxdb"]
    assert not service.refresh_token("one")
    a_file(tmp_path, "two\n")
    assert service.refresh_token("one")
    assert token_of(settings, "influxdb") == "two"
    # another thread was refused with the old token too
    assert service.refresh_token("one")
    assert not service.refresh_token("two")
    # the failing twins: of a variable, and of a file that is gone
    fixed = load(config, INFLUXDB_URL="http://x", INFLUXDB_TOKEN="one")
    assert not fixed.environment(None).services["influxdb"].refresh_token("one")
    Path(file).unlink()
    assert not service.refresh_token("two")


def test_a_token_file_without_an_address_has_no_effect(config: Path, tmp_path: Path) -> None:
    found = load(config, INFLUXDB_TOKEN_FILE=a_file(tmp_path, SECRET)).unused
    assert found["INFLUXDB_TOKEN_FILE"].startswith("INFLUXDB_URL is not set")
