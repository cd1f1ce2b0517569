"""Settings: where things are, taken from the environment and the config folder, checked whole."""

import os
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, timedelta, tzinfo
from importlib.resources import files
from pathlib import Path
from typing import Annotated, Any, Literal
from urllib.parse import quote
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from pydantic import BeforeValidator, ByteSize, Field, SecretStr, create_model, field_validator

from tasks.core import plugins
from tasks.core.addresses import (
    check_owner,
    checked_heartbeat,
    checked_lake,
    checked_ledger,
    checked_report_url,
)
from tasks.core.alert_services import AlertSettings, read_alert_settings
from tasks.core.documents import Duration, Strict, parse, read_yaml
from tasks.core.errors import ConfigurationInvalid, PluginInvalid, UsageInvalid
from tasks.core.goal import Goal
from tasks.core.metric_services import CloudWatchTuning, DatadogTuning, GcpTuning, OtlpTuning
from tasks.core.secrets import secret_of
from tasks.core.services import Environment, InfluxTuning, Service, Tuning, read_environment
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
    min_free_space: ByteSize = Field(
        default=ByteSize(10**9), description="free space of a disk, below which a run warns"
    )


class LakeQuery(Strict):
    """How much `lake query` may take."""

    memory: str = Field(
        default="1GB", pattern=r"^[1-9][0-9]{0,5}(MB|GB)$", description="memory of a query"
    )
    rows: int = Field(default=100_000, ge=1, description="rows that a query may return")


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


# it becomes a tag everywhere, so it keeps clear of what some store refuses
EnvironmentName = Annotated[str, Field(pattern=r"^\w[\w.-]*$", max_length=100)]


# without what it says of plugins
_Entry = create_model(  # type: ignore[call-overload]
    "_Entry",
    __base__=Strict,
    host=(Literal["local"] | None, None),
    **{key: (str | None, None) for key in VARIABLES},
)


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
    lake_query: LakeQuery = LakeQuery()
    training: Goal = Goal()
    # the key stands alone in the shipped file, so that entries can be written below it
    environments: Annotated[
        dict[EnvironmentName, _Entry], BeforeValidator(lambda given: {} if given is None else given)
    ] = Field(default_factory=dict)


class _SinksFile(Strict):
    influxdb: InfluxTuning = InfluxTuning()
    datadog: DatadogTuning = DatadogTuning()
    cloudwatch: CloudWatchTuning = CloudWatchTuning()
    gcp: GcpTuning = GcpTuning()
    otlp: OtlpTuning = OtlpTuning()


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
    sinks: Mapping[str, Tuning]
    environments: Mapping[str, Environment]
    default_environment: str
    training: Goal = field(default_factory=Goal)
    client_ids: ClientIds = "hashed"
    client_key: SecretStr | None = None
    heartbeat_url: SecretStr | None = None
    alerts: AlertSettings = field(default_factory=AlertSettings)
    unused: Mapping[str, str] = field(default_factory=dict)  # variables, with why
    report_url: str | None = None
    timezone: tzinfo = UTC
    lake_query: LakeQuery = field(default_factory=LakeQuery)

    @property
    def reports(self) -> Path:
        """The folder in which each run's report has a folder of its own."""
        return self.home / "reports"

    def config_file(self, name: str) -> Path:
        """Return a file of the config folder, or the shipped one where it has none."""
        own = self.config / name
        return own if own.is_file() else shipped("config") / name

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

    def sink_service(self, sink: str, environment: Environment) -> Service | None:
        """Return a sink's service; None when it is off or its token is missing."""
        service, tuning = environment.services.get(sink), self.sinks.get(sink)
        if service is None or tuning is None:
            return None
        return service if service.is_whole and tuning.enabled else None

    def sink_targets(self, environment: str) -> tuple[str, ...]:
        """Return the targets that runs load, also while a token is missing."""
        known = self.environments.get(environment)
        services = known.services if known is not None else {}
        named = ((services.get(name), tuning) for name, tuning in self.sinks.items())
        return tuple(each.target for each, tuning in named if each is not None and tuning.enabled)


PLACES = ("FEDVITALS_HOME", "FEDVITALS_CONFIG")
CLIENT_KEY_VARIABLE = "FEDVITALS_CLIENT_KEY"
SHORTEST_CLIENT_KEY = 16


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
    home = _home(env)
    config, expectations = _folders(env)
    path = config / "environments.yaml"
    raw = read_yaml(path)
    theirs = _keys_of_plugins(raw.get("environments"))
    content = parse(_EnvironmentsFile, raw, str(path))
    default = content.default_environment
    entries = {n: {**entry.model_dump(), **theirs[n]} for n, entry in content.environments.items()}
    named = {name: read_environment(name, entry, env, str(path)) for name, entry in entries.items()}
    if default not in named:
        named = {default: read_environment(default, None, env, str(path)), **named}
    return Settings(
        home=home,
        config=config,
        expectations=expectations,
        lake_url=checked_lake(env.get("FEDVITALS_LAKE_URL") or str(home / "lake")),
        ledger_url=checked_ledger(env) or f"sqlite:///{home / 'ledger.db'}",
        pipeline=content.pipeline,
        maintenance=content.maintenance,
        sinks=_tunings(config / "sinks.yaml", named.values()),
        environments=named,
        default_environment=default,
        training=content.training,
        client_ids=content.client_ids,
        client_key=_checked_client_key(env),
        heartbeat_url=checked_heartbeat(env),
        alerts=read_alert_settings(env),
        unused=unused_variables(env, entries, default),
        report_url=checked_report_url(env),
        timezone=content.timezone,
        lake_query=content.lake_query,
    )


def _keys_of_plugins(environments: object) -> dict[str, dict[str, Any]]:
    """Take the keys of plugins out of each entry: their own models check them."""
    prefixes = tuple(f"{name}_" for _, name in plugins.installed())
    entries = environments.items() if isinstance(environments, dict) else ()
    return {
        name: {key: entry.pop(key) for key in [*entry] if str(key).startswith(prefixes)}
        for name, entry in entries
        if isinstance(entry, dict)
    }


def _tunings(path: Path, environments: Iterable[Environment]) -> dict[str, Tuning]:
    """Read sinks.yaml, with the sections of plugins that an environment uses."""
    sections = read_yaml(path)
    used = {name for environment in environments for name in environment.services}
    tunings: dict[str, Tuning] = {}
    for name in plugins.names(plugins.SINKS):
        section = sections.pop(name, {})
        with suppress(PluginInvalid):
            if name in used:
                model = plugins.load(plugins.SINKS, name).tuning
                tunings[name] = parse(model, section, f"{path}: {name}")
    return {**dict(parse(_SinksFile, sections, str(path))), **tunings}


def _checked_client_key(env: Mapping[str, str]) -> SecretStr | None:
    key = secret_of(env, CLIENT_KEY_VARIABLE)
    if key and len(key) < SHORTEST_CLIENT_KEY:
        problem = f"the key has fewer than {SHORTEST_CLIENT_KEY} characters, so it could be guessed"
        fix = "Set a longer one, the same on every machine that reads this service"
        raise ConfigurationInvalid(where=CLIENT_KEY_VARIABLE, problem=problem, fix=fix)
    return SecretStr(key) if key else None


def _home(env: Mapping[str, str]) -> Path:
    chosen = env.get("FEDVITALS_HOME")
    if not chosen:
        check_owner(Path(".fedvitals"), "FEDVITALS_HOME")
    return Path(chosen or ".fedvitals").resolve()


def _folders(env: Mapping[str, str]) -> tuple[Path, Path]:
    chosen = env.get("FEDVITALS_CONFIG")
    config = Path(chosen or "config").resolve()
    if chosen and not config.is_dir():
        problem = f"{config} is no folder"
        fix = "Name the config folder"
        raise ConfigurationInvalid(where="FEDVITALS_CONFIG", problem=problem, fix=fix)
    if not chosen and not (config / "environments.yaml").is_file():
        config = shipped("config")
    elif not chosen:
        check_owner(Path("config"), "FEDVITALS_CONFIG")
    beside = config.parent / "expectations"
    return config, beside if beside.is_dir() else shipped("expectations")
