"""Give a Prometheus its rules: checked before, read back afterwards, or put back."""

from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from tempfile import TemporaryDirectory

import yaml

from tasks.analysis.rules.promql import normal
from tasks.analysis.rules.rule_file import group_name
from tasks.core.errors import ConfigurationInvalid, FedvitalsError, RulesRefused
from tasks.core.services import Environment, PrometheusService
from tasks.core.settings import Settings
from tasks.core.whole_file import replace_file
from tasks.core.window import parse_duration
from tasks.runs.rules.build import texts_of
from tasks.sources.prometheus_rules import RulesClient
from tasks.sources.promtool import Promtool

# Prometheus often runs as another user
READABLE = 0o644


def push(settings: Settings, environment: Environment) -> Path:
    """Write the rules where Prometheus reads them, reload it, and compare what it runs.

    Raises:
        ConfigurationInvalid: without a Prometheus, `rules_dir` or the promtool of its version.
        RulesRefused: promtool or Prometheus refuses them; Prometheus runs what it ran before.
    """
    service = environment.services.get("prometheus")
    if not isinstance(service, PrometheusService):
        problem, fix = "no Prometheus is configured", "Set it"
        where = environment.setting("prometheus_url")
        raise ConfigurationInvalid(where=where, problem=problem, fix=fix)
    name = f"{group_name(environment.name)}.yml"
    text = texts_of(settings, environment)[name]
    if service.rules_dir is None:
        raise ConfigurationInvalid(
            where=environment.setting("prometheus_rules_dir"),
            problem=f"it is not set, so nothing can be written for {service.url}",
            fix=f"Set it to a folder that this Prometheus reads rule_files from. On another machine: "
            f"`fedvitals rules build`, copy {name} there, and reload it",
        )
    path = service.rules_dir / name
    with closing(RulesClient(service)) as client:
        promtool = Promtool()
        promtool.require_version(client.version())
        with TemporaryDirectory() as folder:
            if refused := promtool.check(replace_file(Path(folder, name), text.encode())):
                raise RulesRefused(path=path, problem=refused, fix="Correct the thresholds")
        with _put_back(path, client):
            _write(path, text.encode())
            client.reload()
            _compare(path, text, client, path.stem)
    return path


@contextmanager
def _put_back(path: Path, client: RulesClient) -> Iterator[None]:
    """Restore the file, and what Prometheus runs, unless the block succeeds."""
    with _writable(path):
        before = path.read_bytes() if path.is_file() else None
    is_done = False
    try:
        yield
        is_done = True
    finally:
        if not is_done:
            if before is None:
                path.unlink(missing_ok=True)
            else:
                _write(path, before)
            # what it ran before is good; if it does not answer, it has not read the new ones
            with suppress(FedvitalsError):
                client.reload()


def _write(path: Path, data: bytes) -> None:
    with _writable(path):
        replace_file(path, data).chmod(READABLE)


@contextmanager
def _writable(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        fix = "Name a folder that this user may write to"
        raise ConfigurationInvalid(where=path.parent, problem=str(error), fix=fix) from error


def _compare(path: Path, text: str, client: RulesClient, name: str) -> None:
    """Raise RulesRefused unless Prometheus runs these rules."""
    loaded = [rule for group in client.groups() if group.name == name for rule in group.rules]
    if not loaded:
        fix = f"Add {path.parent}/*.yml to rule_files in its configuration"
        problem = f"Prometheus did not read the group {name}"
        raise RulesRefused(path=path, problem=problem, fix=fix)
    live = [
        (one.name, normal(one.query), one.duration, one.kept, one.labels, one.annotations)
        for one in loaded
    ]
    for rule in yaml.safe_load(text)["groups"][0]["rules"]:
        held, kept = (_seconds(rule.get(key)) for key in ("for", "keep_firing_for"))
        name = rule.get("alert") or rule["record"]
        wanted = (name, normal(rule["expr"]), held, kept)
        if (*wanted, rule["labels"], rule.get("annotations", {})) not in live:
            problem = f"Prometheus runs another {name} than was written"
            fix = "Look for another file with this group"
            raise RulesRefused(path=path, problem=problem, fix=fix)


def _seconds(duration: str | None) -> float:
    return parse_duration(duration).total_seconds() if duration else 0
