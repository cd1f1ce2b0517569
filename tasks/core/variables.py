"""Environment variables of services, and those without effect."""

from collections.abc import Mapping

# variable of the default environment, for each key of environments.yaml
VARIABLES = {
    "prometheus_url": "PROMETHEUS_URL",
    "prometheus_token": "PROMETHEUS_API_TOKEN",
    "api_url": "FED_VIT_API_URL",
    "api_token": "FED_VIT_API_TOKEN",
    "influxdb_url": "INFLUXDB_URL",
    "influxdb_token": "INFLUXDB_TOKEN",
    "influxdb_org": "INFLUXDB_ORG",
    "influxdb_bucket": "INFLUXDB_BUCKET",
    "grafana_url": "GRAFANA_URL",
    "grafana_token": "GRAFANA_API_KEY",
}
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
    for key, variable in VARIABLES.items():
        is_token = key.endswith("_token")
        if not env.get(variable) or (is_token and variable in tokens):
            continue
        url = VARIABLES[_url_of(key)]
        if replaced is None and not env.get(url):
            unused[variable] = f"{url} is not set. Fix: set it, or unset {variable}"
        # the same address in both places makes no difference
        elif replaced is not None and (is_token or env[variable].rstrip("/") != replaced[key]):
            unused[variable] = _replaced(key, default)
    return unused


def _tokens(entry: Entry) -> set[str | None]:
    return {entry[key] for key in entry if key.endswith("_token") and entry[_url_of(key)]}


def _url_of(key: str) -> str:
    return f"{key.partition('_')[0]}_url"


def _replaced(key: str, default: str) -> str:
    fix = f"name it in {key} there" if key.endswith("_token") else f"set {key} there"
    return (
        f"environments.yaml has an entry for {default}, which replaces the variables. "
        f"Fix: {fix}, or unset {VARIABLES[key]}"
    )
