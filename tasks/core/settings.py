"""Settings: where things are, taken from the environment and the config folder, checked whole."""

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, timedelta, tzinfo
from importlib.resources import files
from pathlib import Path
from typing import Annotated, Literal
from urllib.parse import quote
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from pydantic import BeforeValidator, Field, SecretStr, field_validator

from tasks.core.addresses import checked_heartbeat, checked_lake, checked_report_url, checked_url
from tasks.core.documents import Duration, Strict, parse, read_yaml
from tasks.core.errors import ConfigurationInvalid, UsageInvalid
from tasks.core.goal import Goal
from tasks.core.variables import VARIABLES, unused_variables
from tasks.core.window import parse_duration

_LONGEST_READ = timedelta(hours=1)
_WEEK = timedelta(weeks=1)
# more is a slip of the keyboard, and cells so far back are before all that can be counted
_MOST_CELLS = 100_000


class Pipeline(Strict):
    """How runs cut and keep time."""

    cell: Duration = Field(default=parse_duration("1h"), le=_WEEK, description="unit of state")
    settle_delay: Duration = Field(
        default=parse_duration("60s"),
        le=_WEEK,
        description="how long a source's newest data may still change",
    )
    late_data_cells: int = Field(
        default=1, ge=0, le=_MOST_CELLS, description="cells read again for late rows"
    )
    first_run_cells: int = Field(
        default=1,
        ge=0,
        le=_MOST_CELLS,
        description="cells before the newest that no run leaves out",
    )
    max_gaps_per_run: int = Field(
        default=24,
        ge=1,
        le=_MOST_CELLS,
        description="missed cells that a run reads of a measurement at most",
    )
    source_retention: Duration = Field(
        default=parse_duration("15d"),
        description="how long the source keeps its data; what was missed further back is lost",
    )
    chunk_rows: int = Field(default=300_000, gt=0, description="rows of one commit, about")
    workers: int = Field(default=2, ge=1, le=16, description="chunks under way at once")
    queries_at_once: int = Field(
        default=4, ge=1, le=100, description="queries that a Prometheus is asked at once"
    )
    retry_timeout: Duration = Field(
        default=parse_duration("60s"),
        description="how long a service that fails is asked again, before the next run tries",
    )


class Maintenance(Strict):
    """What `maintain` keeps, and for how long."""

    quarantine: Duration = Field(
        default=parse_duration("30d"), description="how long records of quarantine are kept"
    )
    files: Duration = Field(
        default=parse_duration("2h"),
        description="how long a file that was replaced is left to those who still read it",
    )
    runs: Duration = Field(
        default=parse_duration("90d"), description="how long receipts of runs are kept"
    )
    reports: Duration = Field(
        default=parse_duration("30d"),
        description="how long reports are kept that runs wrote into FEDVITALS_HOME",
    )
    backups: int = Field(default=7, ge=0, description="backups of a SQLite ledger; 0 for none")

    @field_validator("files")
    @classmethod
    def _readers_can_end(cls, length: timedelta) -> timedelta:
        if length < _LONGEST_READ or length % _LONGEST_READ:
            raise ValueError("must be a whole number of hours, for a reader may take one")
        return length


ClientIds = Literal["plain", "hashed", "off"]


class EnvironmentFile(Strict):
    """One environment of environments.yaml: addresses, and the names of its secrets."""

    prometheus_url: str | None = None
    prometheus_token: str | None = Field(default=None, description="name of a variable")
    api_url: str | None = None
    api_token: str | None = Field(default=None, description="name of a variable")
    influxdb_url: str | None = None
    influxdb_token: str | None = Field(default=None, description="name of a variable")
    influxdb_org: str | None = None
    influxdb_bucket: str | None = None
    grafana_url: str | None = None
    grafana_token: str | None = Field(default=None, description="name of a variable")


# it becomes a tag everywhere, so it keeps clear of what some store refuses
EnvironmentName = Annotated[str, Field(pattern=r"^\w[\w.-]*$", max_length=100)]


def _off(reported: object) -> object:
    # YAML reads a bare off as false
    return "off" if reported is False else reported


def _zone(name: object) -> ZoneInfo:
    try:
        return ZoneInfo(str(name))
    except (ZoneInfoNotFoundError, ValueError) as error:
        raise ValueError(f"{name!r} is not an IANA time zone such as Europe/Berlin") from error


class _EnvironmentsFile(Strict):
    default_environment: EnvironmentName = "production"
    client_ids: Annotated[ClientIds, BeforeValidator(_off)] = Field(
        default="hashed", description="how clients are named"
    )
    timezone: Annotated[ZoneInfo, BeforeValidator(_zone)] = Field(
        default=ZoneInfo("UTC"), description="IANA name of the zone of the times that people see"
    )
    pipeline: Pipeline = Pipeline()
    maintenance: Maintenance = Maintenance()
    training: Goal = Goal()
    environments: dict[EnvironmentName, EnvironmentFile] = Field(default_factory=dict)


class InfluxTuning(Strict):
    """How InfluxDB is written to."""

    enabled: bool = True
    gzip: bool = Field(default=False, description="compress posts; slower on one machine")
    lines_per_post: int = Field(default=50_000, gt=0)
    timeout: Duration = parse_duration("60s")


class _SinksFile(Strict):
    influxdb: InfluxTuning = InfluxTuning()


class Service(Strict):
    """One outside service: its base URL without credentials, and its token."""

    url: str
    token: SecretStr | None = None
    origin: str = Field(description="where the URL came from")

    def refresh_token(self, refused: str) -> bool:
        """Return whether the token is another one than the refused."""
        return self.token is not None and self.token.get_secret_value() != refused


class InfluxService(Service):
    """The InfluxDB of an environment."""

    org: str
    bucket: str

    @property
    def target(self) -> str:
        """The sink's name in the ledger: another bucket is another sink."""
        return f"{self.url} {self.org}/{self.bucket}"


class Environment(Strict):
    """The services of one environment. None: not configured."""

    name: str
    is_of_file: bool = Field(default=False, description="has an entry in environments.yaml")
    prometheus: Service | None = None
    api: Service | None = None
    influxdb: InfluxService | None = None
    grafana: Service | None = None

    def setting(self, key: str) -> str:
        """Name what sets a key of this environment: a variable, or a place in environments.yaml."""
        return f"{key} of {self.name} in environments.yaml" if self.is_of_file else VARIABLES[key]


@dataclass(frozen=True)
class Settings:
    """Everything that is configured, checked."""

    home: Path
    config: Path
    expectations: Path
    lake_url: str
    ledger_url: str = field(repr=False)  # it may hold a password
    pipeline: Pipeline
    maintenance: Maintenance
    influxdb: InfluxTuning
    environments: Mapping[str, Environment]
    default_environment: str
    training: Goal = field(default_factory=Goal)
    client_ids: ClientIds = "hashed"
    client_key: SecretStr | None = None
    heartbeat_url: SecretStr | None = None
    unused: Mapping[str, str] = field(default_factory=dict)  # variables, with why
    report_url: str | None = None
    timezone: tzinfo = UTC

    @property
    def reports(self) -> Path:
        """The folder in which each run's report has a folder of its own."""
        return self.home / "reports"

    def report_link(self, page: Path) -> str | None:
        """Return the URL of a written report; None for one that no web server shows."""
        page, reports = page.resolve(), self.reports.resolve()
        if self.report_url is None or not page.is_relative_to(reports):
            return None
        return f"{self.report_url}/{quote(page.relative_to(reports).as_posix())}"

    def environment(self, name: str | None) -> Environment:
        """The environment of that name, the default one for None."""
        found = self.environments.get(name or self.default_environment)
        if found is None:
            problem = f"there is no environment {name!r}"
            fix = f"Use one of: {', '.join(self.environments)} (config/environments.yaml)"
            raise UsageInvalid(argument="--environment", problem=problem, fix=fix)
        return found

    @property
    def places(self) -> dict[str, str]:
        """The folders in force, as a receipt has them."""
        return {"config": str(self.config), "home": str(self.home)}

    def influxdb_of(self, environment: Environment) -> InfluxService | None:
        """Return the InfluxDB that runs load; None when it is off or its token is missing."""
        service = environment.influxdb
        is_on = service is not None and service.token is not None and self.influxdb.enabled
        return service if is_on else None

    def sink_targets(self, environment: str) -> tuple[str, ...]:
        """Return the targets that the environment's runs load, also while a token is missing."""
        known = self.environments.get(environment)
        if known is None or known.influxdb is None or not self.influxdb.enabled:
            return ()
        return (known.influxdb.target,)


CLIENT_KEY_VARIABLE = "FEDVITALS_CLIENT_KEY"
SHORTEST_CLIENT_KEY = 16
DEFAULT_ORG = "fedvitals"
DEFAULT_BUCKET = "fedvitals"


def shipped(folder: Literal["config", "expectations"]) -> Path:
    """The defaults that come with fedvitals: of the wheel, else of the checkout."""
    packaged = Path(str(files("tasks"))) / "defaults" / folder
    return packaged if packaged.is_dir() else Path(str(files("tasks"))).parent / folder


def load_settings(variables: Mapping[str, str] | None = None) -> Settings:
    """The settings in force, from the variables (os.environ by default) and the config folder.

    Raises:
        ConfigurationInvalid: when a file or a variable is wrong.
    """
    env = os.environ if variables is None else variables
    home = Path(env.get("FEDVITALS_HOME") or ".fedvitals").resolve()
    config, expectations = _folders(env)
    path = config / "environments.yaml"
    content = parse(_EnvironmentsFile, read_yaml(path), str(path))
    sinks = parse(_SinksFile, read_yaml(config / "sinks.yaml"), str(config / "sinks.yaml"))
    default = content.default_environment
    entries = {name: entry.model_dump() for name, entry in content.environments.items()}
    named = {name: _environment(name, entry, env, str(path)) for name, entry in entries.items()}
    if default not in named:
        named = {default: _environment_of_variables(default, env), **named}
    return Settings(
        home=home,
        config=config,
        expectations=expectations,
        lake_url=checked_lake(env.get("FEDVITALS_LAKE_URL") or str(home / "lake")),
        ledger_url=env.get("FEDVITALS_LEDGER_URL") or f"sqlite:///{home / 'ledger.db'}",
        pipeline=content.pipeline,
        maintenance=content.maintenance,
        influxdb=sinks.influxdb,
        environments=named,
        default_environment=default,
        training=content.training,
        client_ids=content.client_ids,
        client_key=_checked_client_key(env),
        heartbeat_url=checked_heartbeat(env),
        unused=unused_variables(env, entries, default),
        report_url=checked_report_url(env),
        timezone=content.timezone,
    )


def _checked_client_key(env: Mapping[str, str]) -> SecretStr | None:
    key = env.get(CLIENT_KEY_VARIABLE)
    if key and len(key) < SHORTEST_CLIENT_KEY:
        problem = f"the key has fewer than {SHORTEST_CLIENT_KEY} characters, so it could be guessed"
        fix = "Set a longer one, the same on every machine that reads this service"
        raise ConfigurationInvalid(where=CLIENT_KEY_VARIABLE, problem=problem, fix=fix)
    return SecretStr(key) if key else None


def _folders(env: Mapping[str, str]) -> tuple[Path, Path]:
    chosen = env.get("FEDVITALS_CONFIG")
    config = Path(chosen or "config").resolve()
    if chosen and not config.is_dir():
        problem = f"{config} is no folder"
        fix = "Name the config folder"
        raise ConfigurationInvalid(where="FEDVITALS_CONFIG", problem=problem, fix=fix)
    if not chosen and not (config / "environments.yaml").is_file():
        config = shipped("config")
    beside = config.parent / "expectations"
    return config, beside if beside.is_dir() else shipped("expectations")


def _environment_of_variables(name: str, env: Mapping[str, str]) -> Environment:
    values = {
        key: variable if key.endswith("_token") else env.get(variable) or None
        for key, variable in VARIABLES.items()
    }
    return _build(name, values, env, VARIABLES)


def _environment(
    name: str, values: Mapping[str, str | None], env: Mapping[str, str], path: str
) -> Environment:
    origins = {key: f"{path}: environments.{name}.{key}" for key in VARIABLES}
    return _build(name, values, env, origins).model_copy(update={"is_of_file": True})


def _build(
    name: str, values: Mapping[str, str | None], env: Mapping[str, str], origins: Mapping[str, str]
) -> Environment:
    services: dict[str, dict[str, object]] = {}
    for kind in ("prometheus", "api", "influxdb", "grafana"):
        url, variable = values[f"{kind}_url"], values[f"{kind}_token"]
        origin = origins[f"{kind}_url"]
        if url is not None:
            services[kind] = {"url": checked_url(url, origin), "origin": origin}
            services[kind]["token"] = _checked_token(env.get(variable or ""), variable)
    if influxdb := services.get("influxdb"):
        influxdb["org"] = values["influxdb_org"] or DEFAULT_ORG
        influxdb["bucket"] = values["influxdb_bucket"] or DEFAULT_BUCKET
    return Environment.model_validate({"name": name, **services})


def _checked_token(token: str | None, variable: str | None) -> SecretStr | None:
    if not token:
        return None
    if not token.isascii() or not token.isprintable() or token != token.strip():
        problem = "the token has characters that no HTTP header may hold"
        fix = "Set it again, without spaces or line ends around it"
        raise ConfigurationInvalid(where=variable, problem=problem, fix=fix)
    return SecretStr(token)
