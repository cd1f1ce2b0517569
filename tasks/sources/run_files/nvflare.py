"""NVFlare's cross-site validation: each model's results at each site."""

import math
from collections.abc import Mapping
from contextlib import suppress
from typing import Any

from tasks.core.finding import Finding
from tasks.core.severity import Severity
from tasks.core.training import ClientRound, Round, TrainingRun
from tasks.sources.run_files.shares import ONE, SHARE_FIX, above_one
from tasks.sources.run_files.table import RunFile, invalid, odd
from tasks.sources.run_files.words import ACCURACY, MetricOptions, Unit, metric_kind, normal

FINAL_MODEL = "SRV_FL_global_model.pt"
SERVER = "SRV_"
Matrix = Mapping[str, Mapping[str, Mapping[str, Any]]]


def is_cross_validation(content: Any) -> bool:
    """Return whether this is {site: {model: {metric: number}}}."""
    if not isinstance(content, Mapping) or not content:
        return False
    if not all(isinstance(each, Mapping) and each for each in content.values()):
        return False
    results = [metrics for each in content.values() for metrics in each.values()]
    return all(
        isinstance(metrics, Mapping)
        and any(isinstance(value, int | float) for value in metrics.values())
        for metrics in results
    )


def runs_of(content: Matrix, file: str, run_id: str, options: MetricOptions) -> RunFile:
    """Return one record of the server's model at each site, else of the models' mean."""
    models = dict.fromkeys(model for at_site in content.values() for model in at_site)
    servers = [model for model in models if model.startswith(SERVER)]
    chosen = FINAL_MODEL if FINAL_MODEL in servers else servers[0] if servers else None
    metric = _metric(content, file, options.metric)
    values = {site: _of_site(at_site, chosen, metric) for site, at_site in content.items()}
    known = [value for value in values.values() if value is not None]
    scale = 100.0 if (options.unit or _unit(known)) == "percent" else 1.0
    for site, value in values.items():
        if value is not None and not 0.0 <= value <= scale * ONE:
            raise invalid(file, f"{site}: {value:g} is not a share of {metric}", SHARE_FIX)
    clients = tuple(
        ClientRound(site, None, None if value is None else min(value / scale, 1.0), *[None] * 3)
        for site, value in values.items()
    )
    mean = _mean([client.accuracy for client in clients if client.accuracy is not None])
    run = TrainingRun(run_id, (Round(0, None, None, None, mean, None, clients),), None, None, file)
    return RunFile((run,), (_matrix(content, chosen, metric, len(models)),), scale > 1.0)


def _unit(values: list[float]) -> Unit:
    return "percent" if above_one(values) >= 0.5 else "ratio"


def _metric(content: Matrix, file: str, wanted: str | None) -> str:
    names = dict.fromkeys(
        name
        for at_site in content.values()
        for metrics in at_site.values()
        for name, value in metrics.items()
        if isinstance(value, int | float)
    )
    asked = [name for name in names if wanted is not None and normal(name) == normal(wanted)]
    accuracies = [name for name in names if set(normal(name).split("_")) & ACCURACY]
    found = asked or (accuracies if wanted in (None, "accuracy") else [])
    if not found or metric_kind(found[0]) == "loss":
        lacks = f"there is no share {wanted}" if wanted else "the sites' results have no accuracy"
        fix = f"Name a metric of which more is better with --metric; there are {', '.join(names)}"
        raise invalid(file, lacks, fix)
    return found[0]


def _of_site(
    at_site: Mapping[str, Mapping[str, Any]], model: str | None, metric: str
) -> float | None:
    results = [at_site.get(model, {})] if model is not None else list(at_site.values())
    return _mean([each[metric] for each in results if isinstance(each.get(metric), int | float)])


def _mean(values: list[float]) -> float | None:
    # JSON's integers may be larger than any float
    with suppress(OverflowError):
        return math.fsum(values) / len(values) if values else None
    return None


def _matrix(content: Matrix, model: str | None, metric: str, models: int) -> Finding:
    what = f"of model {model}" if model is not None else f"as the mean of {models} models"
    sites = len(content)
    sentence = f"The file holds {metric} {what} at {sites} sites, without rounds: it shows fairness, not convergence."
    return odd("without_rounds", sentence, Severity.INFO, sites=sites, models=models)
