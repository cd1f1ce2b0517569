"""Describe the services of an environment, and read their settings."""

from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, ClassVar, Self

from pydantic import Field, SecretStr, model_validator

from tasks.core import plugins
from tasks.core.addresses import checked_url
from tasks.core.documents import Duration, Strict, parse
from tasks.core.errors import ConfigurationInvalid, PluginInvalid
from tasks.core.secrets import read_secret, secret_of
from tasks.core.variables import (
    DEFAULT_URLS,
    HOST_VARIABLE,
    SERVICES,
    Entry,
    is_secret,
    is_token_variable,
    variable_of,
)
from tasks.core.window import parse_duration

# of a Service, what nothing sets
_DERIVED = frozenset({"origin", "token_file", "token_from"})
NOT_A_TOKEN = "{} is no variable of a token of ours, and whoever wrote the file chose the address"
NAME_IT = (
    "Name a variable that ends in _TOKEN, _KEY or _PASSWORD, and that is not another product's"
)


class Tuning(Strict):
    """How a sink is written to: its section in sinks.yaml."""

    enabled: bool = True


class InfluxTuning(Tuning):
    """How InfluxDB is written to."""

    gzip: bool = Field(default=False, description="compress posts; slower on one machine")
    lines_per_post: int = Field(default=50_000, gt=0)
    timeout: Duration = parse_duration("60s")


class Service(Strict, frozen=False):
    """One outside service: its base URL without credentials, and its token.

    A service with more to set has a model of its own. Each field is a key of environments.yaml,
    behind the service's name, and a variable in capitals; `token` names a variable there.
    """

    is_http: ClassVar[bool] = True
    needs_token: ClassVar[bool] = False
    url: str
    token: SecretStr | None = None
    origin: str = Field(description="where the URL came from")
    token_from: str = Field(default="the variable of its token", description="what sets the token")
    token_file: Path | None = Field(default=None, description="where the token came from")

    @property
    def target(self) -> str:
        """What exactly a sink of this service fills, as the ledger names it."""
        return self.url

    @property
    def is_whole(self) -> bool:
        """Whether nothing lacks that it needs."""
        return self.token is not None or not self.needs_token

    def refresh_token(self, refused: str) -> bool:
        """Read the token's file again; return whether the token differs from the refused.

        A file that cannot be read changes nothing: that the token is refused says what is wrong.
        """
        with suppress(ConfigurationInvalid):
            if self.token_file is not None:
                text = read_secret(self.token_file, str(self.token_file))
                self.token = checked_token(text, str(self.token_file))
        return self.token is not None and self.token.get_secret_value() != refused


class PrometheusService(Service):
    """The Prometheus of an environment; `rules_dir` is a folder that it reads rules from."""

    rules_dir: Path | None = None


class InfluxService(Service):
    """The InfluxDB of an environment."""

    needs_token = True
    org: str = "fedvitals"
    bucket: str = "fedvitals"

    @property
    def target(self) -> str:
        """The sink's name in the ledger: another bucket is another sink."""
        return f"{self.url} {self.org}/{self.bucket}"


class DatadogService(Service):
    """The Datadog of an environment: the API's address is that of its site.

    With an application key, what the account says of historical metrics is read.
    """

    needs_token = True
    app_token: SecretStr | None = None


class CloudWatchService(Service):
    """The CloudWatch of an environment; without a role boto3's own credentials are used."""

    role: str = Field(default="", pattern=r"^(arn:aws[a-z-]*:iam::\S+:role/\S+)?$")

    @property
    def target(self) -> str:
        """The sink's name in the ledger: the account of another role is another sink."""
        return f"{self.url} {self.role.split(':')[4]}" if self.role else self.url


class GcpService(Service):
    """The Google Cloud Monitoring of an environment; a service account is impersonated."""

    project: str = Field(default="", description="that of the service account by default")
    service_account: str = ""

    @model_validator(mode="after")
    def _project_of_account(self) -> Self:
        _, _, host = self.service_account.partition("@")
        project, _, domain = host.partition(".")
        if not self.project and domain == "iam.gserviceaccount.com":
            self.project = project
        return self

    @property
    def target(self) -> str:
        """The sink's name in the ledger: another project is another sink."""
        return f"{self.url} {self.project}"


class OtlpService(Service):
    """What takes OTLP metrics at this address: by bearer token, or with a user by basic login."""

    user: str = ""


class GrafanaService(Service):
    """The Grafana of an environment."""

    needs_token = True


# the settings models of our own services
MODELS: Mapping[str, type[Service]] = {
    **dict.fromkeys(SERVICES, Service),
    "prometheus": PrometheusService,
    "influxdb": InfluxService,
    "grafana": GrafanaService,
    "datadog": DatadogService,
    "cloudwatch": CloudWatchService,
    "gcp": GcpService,
    "otlp": OtlpService,
}


class Environment(Strict):
    """The configured services of one environment, by name."""

    name: str
    services: Mapping[str, Service] = {}
    is_of_file: bool = Field(default=False, description="has an entry in environments.yaml")
    is_local: bool = Field(default=False, description="its service runs on this machine")

    def setting(self, key: str) -> str:
        """Name what sets a key here: a variable, or a place in environments.yaml."""
        return f"{key} of {self.name} in environments.yaml" if self.is_of_file else variable_of(key)


def read_environment(
    name: str, entry: Entry | None, env: Mapping[str, str], file: str
) -> Environment:
    """Read an environment from its entry of the file, else from the variables.

    A plugin is loaded when its address is set. Of one that cannot be loaded only that is kept.
    """
    services: dict[str, Service] = {}
    for group, service in (*(("", ours) for ours in SERVICES), *plugins.installed()):
        key = f"{service}_url"
        url = _said(key, entry, env) or _default_url(service, entry, env)
        if service in services or not url:
            continue
        origin = variable_of(key) if entry is None else f"{file}: environments.{name}.{key}"
        with suppress(PluginInvalid):
            services[service] = Service(url=url, origin=origin)
            model = MODELS.get(service) or plugins.load(group, service).settings or Service
            services[service] = _service(service, model, entry, env, url, origin)
    host = env.get(HOST_VARIABLE) if entry is None else entry.get("host")
    if host not in (None, "", "local"):
        fix = "Set it to local if the service runs on this machine, or unset it"
        raise ConfigurationInvalid(where=HOST_VARIABLE, problem=f"{host!r} is not local", fix=fix)
    is_of_file, is_local = entry is not None, host == "local"
    return Environment(name=name, services=services, is_of_file=is_of_file, is_local=is_local)


def _said(key: str, entry: Entry | None, env: Mapping[str, str]) -> str | None:
    """Return what a key is set to; of a secret that is the name of its variable."""
    if entry is not None:
        return entry.get(key)
    variable = variable_of(key)
    return variable if is_secret(key) else env.get(variable)


def _default_url(service: str, entry: Entry | None, env: Mapping[str, str]) -> str | None:
    """Return where a service is that has one address for all, once another key of it is set."""
    keys = [f"{service}_{key}" for key in SERVICES.get(service, ())]
    is_set = any(
        env.get(said) or env.get(f"{said}_FILE") if entry is None and is_secret(key) else said
        for key in keys
        if (said := _said(key, entry, env))
    )
    return DEFAULT_URLS.get(service) if is_set else None


def _service(
    name: str,
    model: type[Service],
    entry: Entry | None,
    env: Mapping[str, str],
    url: str,
    origin: str,
) -> Service:
    prefix = f"{name}_"
    keys = {f"{prefix}{field}" for field in model.model_fields if field not in _DERIVED}
    if name not in SERVICES:
        # what its model does not know is refused there
        keys |= {key for key in entry or () if key.startswith(prefix)}
    facts: dict[str, Any] = {k.removeprefix(prefix): v for k in keys if (v := _said(k, entry, env))}
    facts["url"] = checked_url(url, origin) if model.is_http else url
    facts["token_from"] = facts.get("token") or f"{origin.removesuffix('url')}token"
    if named := facts.get("token"):
        facts["token_file"] = env.get(f"{named}_FILE") or None
    for key in filter(is_secret, facts):
        named = facts[key]
        if entry is not None and not is_token_variable(named):
            where = f"{origin.removesuffix('url')}{key}"
            raise ConfigurationInvalid(where=where, problem=NOT_A_TOKEN.format(named), fix=NAME_IT)
        secret = secret_of(env, named)
        facts[key] = checked_token(secret, named) if secret else None
    return parse(model, {**facts, "origin": origin}, origin)


def checked_token(token: str, where: str) -> SecretStr:
    """Return the token; refuse one that no HTTP header may hold."""
    if not token.isascii() or not token.isprintable() or token != token.strip():
        problem = "the token has characters that no HTTP header may hold"
        fix = "Set it again, without spaces or line ends around it"
        raise ConfigurationInvalid(where=where, problem=problem, fix=fix)
    return SecretStr(token)
