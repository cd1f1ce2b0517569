"""The configuration that comes with fedvitals: loaded as it is, and its catalogue reviewed."""

import re
from datetime import timedelta
from typing import get_args

import pytest
import yaml

from tasks.core.catalogue import Catalogue
from tasks.core.history import facts_of
from tasks.core.measurement import TLS_TAGS, Fact, FieldSpec, Measurement, MetricType
from tasks.core.services import InfluxTuning
from tasks.core.settings import Pipeline, load_settings, shipped
from tasks.core.variables import VARIABLES

CONFIG = shipped("config")
CATALOGUE = Catalogue.read(CONFIG / "metrics.yaml")
ALL = [
    (measurement, name, spec)
    for measurement in CATALOGUE.values()
    for name, spec in measurement.fields.items()
]
FIELDS = [pytest.param(*each, id=f"{each[0].name}.{each[1]}") for each in ALL]
QUERIED = [
    pytest.param(*each, id=f"{each[0].name}.{each[1]}") for each in ALL if each[2].query is not None
]

# every metric of the reference service (without its prefix) and of the node exporter that the
# catalogue takes, by measurement
METRICS = {
    "http_requests": {"requests_total"},
    "http_latency": {"request_duration_seconds_bucket"},
    "inference": {"inference_requests_total", "inference_duration_seconds_bucket"},
    "models": {"model_size_bytes", "model_load_time_seconds"},
    "model_operations": {"model_save_failures_total", "deployments_total"},
    "service_host": {"cpu_usage_percent", "memory_usage_bytes"},
    "gpu": {"gpu_utilization_percent"},
    "node": {
        "node_cpu_seconds_total", "node_memory_MemAvailable_bytes", "node_memory_MemTotal_bytes",
    },
    "filesystems": {"node_filesystem_avail_bytes", "node_filesystem_size_bytes"},
    "edge_devices": {
        "edge_battery_level", "edge_temperature", "edge_cpu_usage_percent",
        "edge_memory_usage_bytes", "packet_loss_rate",
    },
    "edge_device_info": {"edge_device_info"},
    "training": {"training_loss", "model_accuracy"},
    "federation": {"training_rounds_total", "connected_clients", "total_clients"},
    "fl_training": {
        "convergence_rate", "client_updates_total", "client_dropped_total",
        "aggregation_duration_seconds_bucket",
    },
    "fl_clients": {
        "total_clients", "connected_clients", "active_clients", "data_quality_score",
        "data_drift_score",
    },
    "fl_budget": {"privacy_epsilon_remaining", "privacy_delta_used", "noise_scale"},
    "availability": {"up"},
    "security_events": {
        "unauthorized_requests_total", "encryption_failures_total", "certificate_expiry_days",
    },
}  # fmt: skip
# the paths of the service's API, by measurement, with what is taken of each body
PATHS = {
    "clients": ("/api/clients/count", {"total", "connected", "active"}),
    "participation": ("/api/clients/participation", {"participation_rate", "avg_data_quality"}),
    "training_progress": (
        "/api/training/progress",
        {"current_round", "total_rounds", "global_accuracy", "convergence_rate"},
    ),
    "training_run": ("/api/training/status", {"state", "run_id"}),
    "fl_progress": (
        "/api/training/progress",
        {
            "run_id", "current_round", "total_rounds", "active_clients", "global_accuracy",
            "convergence_rate",
        },
    ),
    "fl_participation": (
        "/api/clients/participation",
        {"total_clients", "active_clients", "participation_rate", "avg_data_quality"},
    ),
    "fl_privacy": (
        "/api/privacy/status",
        {
            "epsilon_remaining", "delta_used", "privacy_budget_utilization", "epsilon_budget",
            "noise_multiplier", "sampling_rate",
        },
    ),
    "service_status": (
        "/api/status",
        {
            "status", "version", "uptime_seconds", "requests.total", "requests.failed",
            "storage.used_bytes", "storage.total_bytes",
        },
    ),
    "security_checks": ("/health/detailed", {"checks.certificate.status"}),
}  # fmt: skip
TYPES = {
    "federated": {
        "training", "fl_progress", "fl_participation", "fl_privacy", "fl_rounds",
        "fl_round_clients", "fl_training", "fl_clients", "fl_budget",
    },
    "business": {
        "federation", "availability", "clients", "participation", "training_progress",
        "training_run", "service_status",
    },
    "security": {"security_events", "security_checks", "tls_certificate"},
    "health": {"health_checks", "health_hours", "health_host"},
    "pipeline": {"fedvitals_pipeline", "fedvitals_slo", "fedvitals_slo_hours", "incidents"},
}  # fmt: skip
# what the end of a query makes of a value
SCALES = {"/ 100": 0.01, "* 3600": 3600.0, "": 1.0}
# numbers that are no amount of anything
UNITLESS = {
    "training_loss", "convergence_rate", "exit_code", "loss", "round", "delta", "delta_used",
    "noise_multiplier", "noise_scale", "epsilon_spent", "epsilon_remaining", "epsilon_budget",
    "budget_utilization", "data_drift_score", "status_code", "load_1m",
}  # fmt: skip
PREFIX = "fed_vit_autorl_"
METRIC = re.compile(r"\b((?:node_|fed_vit_autorl_)\w+|up(?=\{))")


def test_the_settings_are_the_defaults_written_out() -> None:
    settings = load_settings({})

    assert settings.config == CONFIG
    assert settings.pipeline == Pipeline()
    assert list(settings.sinks) == ["influxdb", "datadog", "cloudwatch", "gcp", "otlp"]
    assert settings.sinks == {name: type(each)() for name, each in settings.sinks.items()}
    assert list(settings.environments) == ["production"]
    assert settings.default_environment == "production"


def test_every_setting_stands_in_the_files() -> None:
    environments = yaml.safe_load((CONFIG / "environments.yaml").read_text(encoding="utf-8"))
    sinks = yaml.safe_load((CONFIG / "sinks.yaml").read_text(encoding="utf-8"))

    assert set(environments["pipeline"]) == set(Pipeline.model_fields)
    assert set(sinks["influxdb"]) == set(InfluxTuning.model_fields)


def test_the_example_of_an_environment_is_valid() -> None:
    text = (CONFIG / "environments.yaml").read_text(encoding="utf-8")
    example = text.replace("\n#  ", "\n  ")
    staging = yaml.safe_load(example)["environments"]["staging"]

    assert staging["api_token"] == "STAGING_API_TOKEN"
    assert set(staging) == {*VARIABLES, "host"}


def test_every_metric_that_the_vocabulary_promises_is_collected() -> None:
    found = {
        name: {
            metric.removeprefix(PREFIX)
            for spec in measurement.fields.values()
            for metric in METRIC.findall(spec.query or "")
        }
        for name, measurement in CATALOGUE.items()
        if measurement.source == "prometheus"
    }

    assert found == METRICS


def test_every_path_of_the_api_is_read() -> None:
    found = {
        name: (
            measurement.rest.endpoint,
            {(spec.path or "").removeprefix("$.") for spec in measurement.fields.values()},
        )
        for name, measurement in CATALOGUE.items()
        if measurement.rest is not None
    }

    assert found == PATHS
    assert {m.name for m in CATALOGUE.values() if m.source == "rest"} == set(PATHS)


def test_all_that_can_be_said_of_a_certificate_is_collected() -> None:
    entry = CATALOGUE["tls_certificate"]
    assert {spec.fact for spec in entry.fields.values()} == set(get_args(Fact))
    assert entry.tags == TLS_TAGS
    assert {m.name for m in CATALOGUE.values() if m.source == "tls"} == {entry.name}


def test_all_that_a_history_tells_is_collected() -> None:
    found = {m.name: m for m in CATALOGUE.values() if m.source == "federated"}
    assert {name: m.tags for name, m in found.items()} == {
        "fl_rounds": ("run_id",), "fl_round_clients": ("client",),
    }  # fmt: skip
    for measurement in found.values():
        facts = facts_of(measurement.tags)
        assert {spec.history for spec in measurement.fields.values()} == set(facts or ())


def test_who_a_client_is_goes_by_the_setting() -> None:
    of_clients = {m.name for m in CATALOGUE.values() if "client" in m.tags}
    assert of_clients == {"fl_round_clients", "edge_devices", "edge_device_info"}
    assert {m.name: m.identity for m in CATALOGUE.values() if m.identity} == dict.fromkeys(
        of_clients, "client"
    )
    assert load_settings({}).client_ids == "hashed"


def test_what_is_not_performance_has_its_own_type() -> None:
    found: dict[MetricType, set[str]] = {}
    for name, measurement in CATALOGUE.items():
        found.setdefault(measurement.type, set()).add(name)

    assert found.pop("performance")
    assert found == TYPES


@pytest.mark.parametrize(("measurement", "name", "spec"), QUERIED)
def test_a_query_aggregates_by_exactly_the_tags(
    measurement: Measurement, name: str, spec: FieldSpec
) -> None:
    assert spec.query is not None
    groups = re.findall(r"by \(([\w, ]*)\)", spec.query)
    # le goes into the quantile and does not come out
    inner = ["le"] if spec.query.startswith("histogram_quantile") else []

    assert groups
    assert set(groups) == {", ".join([*measurement.tags, *inner])}


@pytest.mark.parametrize(("measurement", "name", "spec"), FIELDS)
def test_a_name_ends_in_its_base_unit(measurement: Measurement, name: str, spec: FieldSpec) -> None:
    assert f"_{name}".endswith(f"_{spec.unit}") or not spec.unit
    is_number = spec.type in ("float", "int")
    assert bool(spec.unit) == (is_number and name not in UNITLESS)
    assert "percent" not in name
    assert spec.description


@pytest.mark.parametrize(("measurement", "name", "spec"), QUERIED)
def test_what_the_service_shows_is_scraped_from_the_same_metric(
    measurement: Measurement, name: str, spec: FieldSpec
) -> None:
    assert spec.query is not None
    (metric, *others) = METRIC.findall(spec.query)
    # a page has neither the node exporter's metrics nor quotients of two
    if not metric.startswith(PREFIX) or others:
        assert spec.scrape is None
        return

    assert spec.scrape is not None
    assert spec.scrape.metric == metric.removesuffix("_bucket")
    factors = (factor for end, factor in SCALES.items() if spec.query.endswith(end))
    assert spec.scrape.scale == next(factors)
    if spec.scrape.as_ == "quantile":
        assert f"histogram_quantile({spec.scrape.quantile}, sum by" in spec.query
    elif spec.scrape.as_ == "rate":
        span = "1h" if name.endswith("_per_hour") else "5m"
        rate = f"sum by ({', '.join(measurement.tags)}) (rate({metric}[{span}]))"
        assert spec.query in (rate, f"{rate} * 3600")
    else:
        assert spec.query.startswith(f"{spec.scrape.combine} by (")


def test_each_measurement_has_one_or_two_required_fields() -> None:
    required = {
        name: [field for field, spec in measurement.fields.items() if spec.required]
        for name, measurement in CATALOGUE.items()
    }

    assert {len(fields) for fields in required.values()} <= {1, 2}


def test_rates_are_sampled_more_often_than_their_range() -> None:
    queried = [each for each in CATALOGUE.values() if each.source == "prometheus"]
    assert all(each.step <= timedelta(minutes=1) for each in queried)
