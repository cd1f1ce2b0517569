"""Bad configuration and usage, line by line: one clear line, exit code 2, and nothing done."""

from collections.abc import Callable
from typing import Any

import pytest

from tests.support.installation import Installation, entry
from tests.support.suite_examples import BETWEEN, an_expectation

pytestmark = pytest.mark.promise(
    "Accounts: a wrong key, suite or argument ends the run before any work"
)

SECRET = "planted-secret-5c1e"
SERVICES = {"PROMETHEUS_URL": "http://127.0.0.1:9", "PROMETHEUS_API_TOKEN": SECRET}
Change = Callable[[Any], None]


@pytest.fixture
def installation(bare: Installation) -> Installation:
    """Two measurements; nothing listens where the services should be."""
    bare.variables |= SERVICES
    return bare.configure({"models": entry("size", tags=("model",)), "other": entry("y")})


def refused(installation: Installation, *arguments: str) -> str:
    """What `collect` says, which must be one line; nothing was landed, kept or reported."""
    ran = installation.here("collect", *arguments)
    assert ran.code == 2
    assert "Traceback" not in ran.err
    assert installation.files("lake") == installation.files("reports") == []
    assert SECRET not in ran.err
    assert installation.holding(SECRET) == []
    return ran.complaint.replace(str(installation.folder), "")


def put(*path: Any) -> Change:
    """Puts the last of the path under the key before it."""
    *above, key, value = path

    def change(content: Any) -> None:
        for step in above:
            content = content[step]
        content[key] = value

    return change


FILES: dict[str, tuple[str, Change, str]] = {
    "section of environments": (
        "environments.yaml", put("pipelines", {}),
        "unknown key pipelines (did you mean pipeline?)",
    ),
    "key of pipeline": (
        "environments.yaml", put("pipeline", "cel", "1h"),
        "unknown key pipeline.cel (did you mean cell?)",
    ),
    "key like no other": (
        "environments.yaml", put("pipeline", "frobnicate", 1), "unknown key pipeline.frobnicate",
    ),
    "key of an environment": (
        "environments.yaml", put("environments", {"staging": {"prometheus_ulr": "http://x"}}),
        "unknown key environments.staging.prometheus_ulr (did you mean prometheus_url?)",
    ),
    "a number for a duration": (
        "environments.yaml", put("pipeline", "cell", 3600),
        "pipeline.cell: 3600 is not a duration such as 15s, 5m, 1h or 2d",
    ),
    "a word for a duration": (
        "environments.yaml", put("pipeline", "retry_timeout", "long"),
        "pipeline.retry_timeout: 'long' is not a duration such as 15s, 5m, 1h or 2d",
    ),
    "key of a sink": (
        "sinks.yaml", put("influxdb", {"lines_per_posts": 1}),
        "unknown key influxdb.lines_per_posts (did you mean lines_per_post?)",
    ),
    "key of a measurement": (
        "metrics.yaml", put("measurements", "models", "tag", ["model"]),
        "unknown key measurements.models.tag (did you mean tags?)",
    ),
    "key of a field": (
        "metrics.yaml", put("measurements", "models", "fields", "size", "qeury", "x"),
        "unknown key measurements.models.fields.size.qeury (did you mean query?)",
    ),
    "type of a field": (
        "metrics.yaml", put("measurements", "models", "fields", "size", "type", "double"),
        "measurements.models.fields.size.type: Input should be 'float', 'int', 'string' or 'bool'",
    ),
}  # fmt: skip


@pytest.mark.parametrize(("name", "change", "problem"), FILES.values(), ids=FILES.keys())
def test_a_wrong_key_of_the_configuration_is_named(
    installation: Installation, name: str, change: Change, problem: str
) -> None:
    with installation.changed(name) as content:
        change(content)

    assert refused(installation) == f"/config/{name}: {problem}. Fix: correct the keys named here"


def test_every_wrong_key_is_named_at_once(installation: Installation) -> None:
    with installation.changed("metrics.yaml") as content:
        content["measurements"]["models"]["tag"] = []
        content["measurements"]["other"]["typ"] = "business"

    assert refused(installation) == (
        "/config/metrics.yaml: unknown key measurements.models.tag (did you mean tags?); "
        "unknown key measurements.other.typ (did you mean type?). Fix: correct the keys named here"
    )


TEXTS = {
    "not YAML": ("{", "cannot be read: while parsing a flow node"),
    "a list": ("- a\n", "is not a mapping of keys"),
    "a key twice": ("a: 1\na: 2\n", "cannot be read: the key a is repeated"),
}


@pytest.mark.parametrize(("text", "problem"), TEXTS.values(), ids=TEXTS.keys())
def test_a_file_that_is_no_configuration(
    installation: Installation, text: str, problem: str
) -> None:
    (installation.config / "metrics.yaml").write_text(text)

    assert refused(installation).startswith(f"/config/metrics.yaml: {problem}")


def test_a_file_that_is_missing(installation: Installation) -> None:
    (installation.config / "sinks.yaml").unlink()

    assert refused(installation) == (
        "/config/sinks.yaml: the file is missing. Fix: set FEDVITALS_CONFIG to the folder that holds it"
    )


def test_a_step_that_does_not_divide_the_cell(installation: Installation) -> None:
    with installation.changed("metrics.yaml") as content:
        content["measurements"]["models"]["step"] = "7s"

    assert refused(installation) == (
        "metrics.yaml: measurements.models.step: does not divide the cell (environments.yaml: "
        "pipeline.cell). Fix: choose a length that goes into the cell without a rest"
    )


def append(expectation: dict[str, Any]) -> Change:
    def change(content: Any) -> None:
        content["expectations"].append(expectation)

    return change


NO_MINIMUM = (
    f"check b: {BETWEEN} takes no minimum. Fix: give one of: column, mostly, row_condition, "
    "condition_parser, min_value, max_value, strict_min, strict_max"
)
SUITES: dict[str, tuple[Change, str]] = {
    "unknown key": (put("expectation", []), "unknown key expectation. Fix: use expectations"),
    "unknown key of an expectation": (
        put("expectations", 0, "typ", "x"), "check rows: unknown key typ. Fix: use type",
    ),
    "unknown key of meta": (
        put("expectations", 0, "meta", "check", "x"),
        "check rows: unknown key meta.check. Fix: use check_id",
    ),
    "unknown type": (
        append(an_expectation("b", f"{BETWEEN}x", column="size", min_value=0)),
        f"check b: Great Expectations knows no {BETWEEN}x. Fix: use {BETWEEN}",
    ),
    "unknown column": (
        append(an_expectation("b", BETWEEN, column="sizes", min_value=0)),
        "check b: models has no column 'sizes'. Fix: use size",
    ),
    "unknown argument": (append(an_expectation("b", BETWEEN, column="size", minimum=0)), NO_MINIMUM),
    "no row count": (
        lambda content: content["expectations"].pop(0),
        "lacks expect_table_row_count_to_be_between with exactly min_value 1 (critical). "
        "Fix: add it: without it a bad batch would pass",
    ),
}  # fmt: skip


@pytest.mark.parametrize(("change", "complaint"), SUITES.values(), ids=SUITES.keys())
def test_a_wrong_suite_names_the_check(
    installation: Installation, change: Change, complaint: str
) -> None:
    with installation.changed_suite("models") as content:
        change(content)

    assert refused(installation) == f"suite /expectations/models.json: {complaint}"


@pytest.mark.slow
def test_a_suite_of_another_measurement_does_not_matter(installation: Installation) -> None:
    with installation.changed_suite("models") as content:
        content["expectation"] = []

    ran = installation.here("collect", "--measurement", "other")

    # it gets as far as to the Prometheus that is not there
    assert ran.code == 1
    assert "Prometheus at http://127.0.0.1:9 could not answer query of other.y" in ran.out


HINT = "Fix: use ISO 8601 such as 2026-01-31T12:00:00Z, a relative time such as -24h, or now"
USAGES = {
    "stop before start": (
        ("--start", "2026-01-02", "--stop", "2026-01-01"),
        "--start/--stop: the window [2026-01-02T00:00:00Z, 2026-01-01T00:00:00Z) is empty or runs "
        "backwards. Fix: give a start before the stop",
    ),
    "empty window": (
        ("--start", "2026-01-01", "--stop", "2026-01-01T00:00:00Z"),
        "--start/--stop: the window [2026-01-01T00:00:00Z, 2026-01-01T00:00:00Z) is empty or runs "
        "backwards. Fix: give a start before the stop",
    ),
    "a window to come": (
        ("--start", "2200-01-01", "--stop", "2200-01-02"),
        "--start: 2200-01-01T00:00:00Z is later than now less the settle delay: there is nothing "
        "to read yet. Fix: give an earlier start",
    ),
    "a start to come, without a stop": (
        ("--start", "2200-01-01"),
        "--start: 2200-01-01T00:00:00Z is later than now less the settle delay: there is nothing "
        "to read yet. Fix: give an earlier start",
    ),
    "no start": (
        ("--stop", "-1h"), "--start: is missing while --stop is given. Fix: give both, or none",
    ),
    "no time": (("--start", "gestern"), f"--start: 'gestern' is not a time. {HINT}"),
    "no time to stop": (("--start", "-1h", "--stop", "x"), f"--stop: 'x' is not a time. {HINT}"),
    "unknown measurement": (
        ("--measurement", "modles"),
        "--measurement: modles is not in the catalogue. Fix: did you mean models? List them: fedvitals catalogue",
    ),
    "nothing of the type": (
        ("--type", "business"),
        "/config/metrics.yaml: there is no measurement of type business. "
        "Fix: add one, or see what there is: fedvitals catalogue",
    ),
    "unknown environment": (
        ("--environment", "stagin"),
        "--environment: there is no environment 'stagin'. Fix: use one of: production "
        "(config/environments.yaml)",
    ),
    "a file as output folder": (
        ("--output", "/dev/null"),
        "--output: /dev/null is not a writable folder. Fix: name another folder",
    ),
}  # fmt: skip


@pytest.mark.parametrize(("arguments", "complaint"), USAGES.values(), ids=USAGES.keys())
def test_wrong_usage_names_the_argument(
    installation: Installation, arguments: tuple[str, ...], complaint: str
) -> None:
    assert refused(installation, *arguments) == complaint


def test_a_named_measurement_of_single_clients_while_these_are_off(
    installation: Installation,
) -> None:
    installation.configure({"models": entry("size", tags=("model",), identity="model")})
    with installation.changed("environments.yaml") as content:
        content["client_ids"] = "off"

    assert refused(installation, "--measurement", "models") == (
        "--measurement: models is of single clients, which are off (client_ids). "
        "Fix: name others, or set client_ids to hashed or plain in environments.yaml"
    )
    assert refused(installation).startswith("/config/metrics.yaml: there is no measurement of type")


WRONG_URL = "Fix: give a base URL such as http://localhost:9090, and a token in its own variable"
WRONG_TOKEN = (
    "the token has characters that no HTTP header may hold. "
    "Fix: set it again, without spaces or line ends around it"
)
VARIABLES = {
    "no source": (
        {"PROMETHEUS_URL": ""},
        "environment production: no source is configured. Fix: set PROMETHEUS_URL, or FED_VIT_API_URL "
        "to read the service's /metrics directly",
    ),
    "no scheme": (
        {"PROMETHEUS_URL": "localhost:9090"},
        f"PROMETHEUS_URL: is not an http or https URL. {WRONG_URL}",
    ),
    "credentials in a URL": (
        {"PROMETHEUS_URL": f"http://me:{SECRET}@localhost:9090"},
        f"PROMETHEUS_URL: holds credentials. {WRONG_URL}",
    ),
    "a token in a URL": (
        {"INFLUXDB_URL": f"http://localhost:8086?token={SECRET}"},
        f"INFLUXDB_URL: has a part after ? or #. {WRONG_URL}",
    ),
    "a line end in a token": (
        {"PROMETHEUS_API_TOKEN": f"{SECRET}\n"}, f"PROMETHEUS_API_TOKEN: {WRONG_TOKEN}",
    ),
    "a line end in InfluxDB's token": (
        {"INFLUXDB_URL": "http://localhost:8086", "INFLUXDB_TOKEN": f"{SECRET}\n"},
        f"INFLUXDB_TOKEN: {WRONG_TOKEN}",
    ),
    "another database": (
        {"FEDVITALS_LEDGER_URL": f"mysql://me:{SECRET}@localhost/x"},
        "FEDVITALS_LEDGER_URL: mysql is neither sqlite nor postgresql. Fix: give one such as "
        "sqlite:////var/lib/fedvitals/ledger.db or postgresql://user@host/name",
    ),
    "no config folder": (
        {"FEDVITALS_CONFIG": "/nowhere"},
        "FEDVITALS_CONFIG: /nowhere is no folder. Fix: name the config folder",
    ),
    "a home that cannot be": (
        {"FEDVITALS_HOME": "/dev/null/x"},
        "FEDVITALS_HOME: /dev/null/x cannot be created: File exists. "
        "Fix: name a writable folder",
    ),
    "no Prefect server": (
        {"PREFECT_API_URL": "http://127.0.0.1:9/api"},
        "PREFECT_API_URL: no server answers. "
        "Fix: start it (prefect server start), or correct PREFECT_API_URL",
    ),
}  # fmt: skip


@pytest.mark.parametrize(("variables", "complaint"), VARIABLES.values(), ids=VARIABLES.keys())
def test_a_wrong_variable_is_named_without_its_value(
    installation: Installation, variables: dict[str, str], complaint: str
) -> None:
    installation.variables |= variables

    assert refused(installation) == complaint


def test_a_choice_that_there_is_not(installation: Installation) -> None:
    ran = installation.here("collect", "--type", "busines")

    assert (ran.code, ran.out) == (2, "")
    assert "Invalid value for '--type'" in ran.err
    assert "'busines' is not one of 'all'" in ran.err


@pytest.mark.slow
def test_as_a_process_it_is_the_same_line(installation: Installation) -> None:
    with installation.changed("environments.yaml") as content:
        content["pipeline"]["cel"] = "1h"

    ran = installation.run("collect", "--json")

    assert ran.code == 2
    assert ran.complaint == (
        f"{installation.config}/environments.yaml: unknown key pipeline.cel "
        "(did you mean cell?). Fix: correct the keys named here"
    )
