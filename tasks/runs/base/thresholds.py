"""The thresholds in force, and the state of each now."""

from collections.abc import Iterator
from contextlib import ExitStack, closing
from datetime import datetime, timedelta
from pathlib import Path

from tasks.analysis.rules.judge import Judgement, judge
from tasks.analysis.rules.promql import require_promql
from tasks.core.catalogue import Catalogue
from tasks.core.errors import FedvitalsError, SourceUnavailable
from tasks.core.services import Environment
from tasks.core.settings import Settings, shipped
from tasks.core.thresholds import (
    FILE,
    Threshold,
    ThresholdsFile,
    check_thresholds,
    field_problems,
    read_file,
)
from tasks.lake.tables import Lake
from tasks.runs.base.observe import in_lake, in_prometheus
from tasks.sources.prometheus_rules import RulesClient

NO_PROMETHEUS = "no Prometheus is configured. Fix: set PROMETHEUS_URL"


def thresholds_path(settings: Settings) -> Path:
    """Return the file in force: the config folder's, else the shipped one."""
    own = settings.config / FILE
    return own if own.is_file() else shipped("config") / FILE


def thresholds_in_force(settings: Settings) -> ThresholdsFile:
    """Read the thresholds; raise ConfigurationInvalid for what fits nothing that is configured.

    Of the shipped ones those are left out whose field the catalogue does not have.
    """
    path, catalogue = thresholds_path(settings), Catalogue.read(settings.config / "metrics.yaml")
    found = read_file(path)
    if path.parent != settings.config:
        fit = {k: e for k, e in found.thresholds.items() if not any(field_problems(e, catalogue))}
        found = found.model_copy(update={"thresholds": fit})
    entries = tuple(found.thresholds.values())
    check_thresholds(entries, catalogue, settings.environments, path)
    require_promql(entries, path)
    return found


def evaluate(
    settings: Settings, environment: Environment, lake: Lake, at: datetime
) -> list[Judgement]:
    """Judge every threshold of the environment; what cannot be judged has the state `failed`."""
    file = thresholds_in_force(settings)
    mine = [each for each in file.thresholds.values() if each.applies_in(environment.name)]
    catalogue = Catalogue.read(settings.config / "metrics.yaml")
    by_id = {}
    for each in mine:
        if each.field is not None:
            by_id[each.id] = _judged_in_lake(each, catalogue, lake, environment.name, at)
    queried = [each for each in mine if each.expr is not None]
    by_id |= dict(_judged_in_prometheus(queried, environment, at, file.interval))
    return [judgement for each in mine for judgement in by_id[each.id]]


def _judged_in_lake(
    threshold: Threshold, catalogue: Catalogue, lake: Lake, environment: str, at: datetime
) -> list[Judgement]:
    try:
        return judge(threshold, environment, in_lake(threshold, catalogue, lake, environment, at))
    except FedvitalsError as error:
        return [Judgement(threshold, environment, "failed", at, problem=str(error))]


def _judged_in_prometheus(
    thresholds: list[Threshold], environment: Environment, at: datetime, interval: timedelta
) -> Iterator[tuple[str, list[Judgement]]]:
    service = environment.services.get("prometheus")
    problem = NO_PROMETHEUS if service is None else ""
    with ExitStack() as stack:
        client = None
        if service is not None:
            client = stack.enter_context(closing(RulesClient(service)))
        for each in thresholds:
            found: list[Judgement] = []
            # a server that does not answer is asked once
            if client is not None and not problem:
                try:
                    observed = in_prometheus(each, client, at, interval)
                    found = judge(each, environment.name, observed)
                except SourceUnavailable as error:
                    problem = str(error)
                except FedvitalsError as error:
                    found = [Judgement(each, environment.name, "failed", at, problem=str(error))]
            yield (
                each.id,
                found or [Judgement(each, environment.name, "failed", at, problem=problem)],
            )
