"""Services with their keys and variables, and variables without effect."""

import re
from collections.abc import Mapping

# of each service its keys (in environments.yaml: prometheus_url), and their variables
SERVICES: Mapping[str, Mapping[str, str]] = {
    "prometheus": {
        "url": "PROMETHEUS_URL",
        "token": "PROMETHEUS_API_TOKEN",
        "rules_dir": "PROMETHEUS_RULES_DIR",
    },
    "api": {"url": "FED_VIT_API_URL", "token": "FED_VIT_API_TOKEN"},
    "influxdb": {
        "url": "INFLUXDB_URL",
        "token": "INFLUXDB_TOKEN",
        "org": "INFLUXDB_ORG",
        "bucket": "INFLUXDB_BUCKET",
    },
    "alertmanager": {"url": "ALERTMANAGER_URL", "token": "ALERTMANAGER_TOKEN"},
    "grafana": {"url": "GRAFANA_URL", "token": "GRAFANA_API_KEY"},
    "datadog": {
        "url": "DATADOG_URL",
        "token": "DATADOG_API_KEY",
        "app_token": "DATADOG_APP_KEY",
    },
    "cloudwatch": {"url": "CLOUDWATCH_URL", "role": "AWS_CLOUDWATCH_ROLE"},
    "gcp": {
        "url": "GCP_MONITORING_URL",
        "service_account": "GCP_MONITORING_SA",
        "project": "GCP_PROJECT",
    },
    "otlp": {"url": "OTLP_URL", "token": "OTLP_TOKEN", "user": "OTLP_USER"},
}
# the default environment's `host`
HOST_VARIABLE = "FED_VIT_HOST"
# where a service is that has one address for everyone; another key configures it then
DEFAULT_URLS: Mapping[str, str] = {
    "datadog": "https://api.datadoghq.com",
    "cloudwatch": "https://monitoring.us-west-2.amazonaws.com",
    "gcp": "https://monitoring.googleapis.com",
}
# the default environment's variable for each key of environments.yaml
VARIABLES: Mapping[str, str] = {
    f"{service}_{key}": variable
    for service, keys in SERVICES.items()
    for key, variable in keys.items()
}


# what other products keep in the environment, and a file must not send anywhere
_OF_OTHERS = re.compile(
    "(AWS|AZURE|GOOGLE|GCP|GITHUB|GH|GITLAB|CI|NPM|PYPI|TWINE|UV|PIP|DOCKER|REGISTRY|HF|HUGGING_?FACE"
    "|OPENAI|ANTHROPIC|WANDB|MLFLOW|SLACK|SSH|KUBE|VAULT|PREFECT|PG|POSTGRES|FEDVITALS)(_|[A-Z]*_)"
)
_TOKEN = re.compile(r"[A-Z][A-Z0-9_]*_(TOKEN|KEY|PASSWORD)", re.IGNORECASE)


def is_secret(key: str) -> bool:
    """Return whether a key names a variable in environments.yaml, since it is a secret."""
    return key.rpartition("_")[2] == "token"


def is_token_variable(name: str) -> bool:
    """Return whether a file may name this variable, whose value is sent to a service."""
    is_ours = name in VARIABLES.values()
    return is_ours or bool(_TOKEN.fullmatch(name) and not _OF_OTHERS.match(name.upper()))


def variable_of(key: str) -> str:
    """Return the default environment's variable for a key of environments.yaml."""
    return VARIABLES.get(key, key.upper())


# keys and their values
Entry = Mapping[str, str | None]


def unused_variables(
    env: Mapping[str, str], entries: Mapping[str, Entry], default: str
) -> dict[str, str]:
    """Return the service variables without effect, each with the reason and fix.

    entries: those of environments.yaml; one for `default` replaces the variables.
    """
    tokens = {name for entry in entries.values() for name in _tokens(entry)}
    replaced = entries.get(default)
    unused = {}
    for service, keys in SERVICES.items():
        for key, variable in keys.items():
            is_token = is_secret(key)
            given = f"{variable}_FILE" if is_token and not env.get(variable) else variable
            if not env.get(given) or (is_token and variable in tokens):
                continue
            place = f"{service}_{key}"
            if replaced is None and not env.get(keys["url"]) and service not in DEFAULT_URLS:
                unused[given] = f"{keys['url']} is not set. Fix: set it, or unset {given}"
            # the same address in both places makes no difference
            elif replaced is not None and (
                is_token or env[variable].rstrip("/") != replaced.get(place)
            ):
                unused[given] = _replaced(place, given, default)
    return unused


def _tokens(entry: Entry) -> set[str | None]:
    secrets = ((name, key) for name, keys in SERVICES.items() for key in keys if is_secret(key))
    return {
        entry.get(f"{name}_{key}")
        for name, key in secrets
        if entry.get(f"{name}_url") or name in DEFAULT_URLS
    }


def _replaced(key: str, variable: str, default: str) -> str:
    fix = f"name it in {key} there" if key.endswith("_token") else f"set {key} there"
    return (
        f"environments.yaml has an entry for {default}, which replaces the variables. "
        f"Fix: {fix}, or unset {variable}"
    )
