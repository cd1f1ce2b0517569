"""The thresholds in force, and the state of each now."""

from contextlib import ExitStack, closing
from datetime import datetime
from typing import TYPE_CHECKING

from tasks.analysis.rules.judge import Judgement, judge
from tasks.analysis.rules.promql import require_promql
from tasks.core.catalogue import Catalogue
from tasks.core.errors import FedvitalsError, SourceUnavailable
from tasks.core.services import Environment
from tasks.core.settings import Settings
from tasks.core.thresholds import (
    FILE,
    ThresholdsFile,
    check_thresholds,
    field_problems,
    read_file,
)
from tasks.sources.prometheus_rules import RulesClient

if TYPE_CHECKING:
    from tasks.lake.tables import Lake

NO_PROMETHEUS = "no Prometheus is configured. Fix: set PROMETHEUS_URL"


def thresholds_in_force(settings: Settings) -> ThresholdsFile:
    """Read the thresholds; raise ConfigurationInvalid for what fits nothing that is configured.

    Of the shipped ones those are left out whose field the catalogue does not have.
    """
    return _in_force(settings, Catalogue.read(settings.config / "metrics.yaml"))


def _in_force(settings: Settings, catalogue: Catalogue) -> ThresholdsFile:
    path = settings.config_file(FILE)
    found = read_file(path)
    if path.parent != settings.config:
        fit = {k: e for k, e in found.thresholds.items() if not any(field_problems(e, catalogue))}
        found = found.model_copy(update={"thresholds": fit})
    entries = tuple(found.thresholds.values())
    check_thresholds(entries, catalogue, settings.environments, path)
    require_promql(entries, path)
    return found


def evaluate(
    settings: Settings, environment: Environment, lake: "Lake", at: datetime
) -> list[Judgement]:
    """Judge every threshold of the environment; what cannot be judged has the state `failed`."""
    # what only reads thresholds needs no lake
    from tasks.runs.base.observe import in_lake, in_prometheus

    catalogue = Catalogue.read(settings.config / "metrics.yaml")
    file = _in_force(settings, catalogue)
    service = environment.services.get("prometheus")
    # a server that does not answer is asked once
    problem = NO_PROMETHEUS if service is None else ""
    found: list[Judgement] = []
    with ExitStack() as stack:
        client = stack.enter_context(closing(RulesClient(service))) if service else None
        for each in file.thresholds.values():
            if not each.applies_in(environment.name):
                continue
            try:
                if each.field is not None:
                    observed = in_lake(each, catalogue, lake, environment.name, at)
                elif client is not None and not problem:
                    observed = in_prometheus(each, client, at, file.interval)
                else:
                    found.append(Judgement(each, environment.name, "failed", at, problem=problem))
                    continue
                found += judge(each, environment.name, observed)
            except FedvitalsError as error:
                problem = str(error) if isinstance(error, SourceUnavailable) else problem
                found.append(Judgement(each, environment.name, "failed", at, problem=str(error)))
    return found
