"""The configuration that comes with fedvitals: loaded as it is, and its catalogue reviewed."""

import re
from datetime import timedelta
from typing import get_args

import pytest
import yaml

from tasks.core.catalogue import Catalogue, FieldSpec, Measurement, MetricType
from tasks.core.settings import EnvironmentFile, InfluxTuning, Pipeline, load_settings, shipped

CONFIG = shipped("config")
CATALOGUE = Catalogue.read(CONFIG / "metrics.yaml")
FIELDS = [
    pytest.param(measurement, name, spec, id=f"{measurement.name}.{name}")
    for measurement in CATALOGUE.values()
    for name, spec in measurement.fields.items()
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
}  # fmt: skip
PREFIX = "fed_vit_autorl_"
METRIC = re.compile(r"\b((?:node_|fed_vit_autorl_)\w+)")


def test_the_settings_are_the_defaults_written_out() -> None:
    settings = load_settings({})

    assert settings.config == CONFIG
    assert settings.pipeline == Pipeline()
    assert settings.influxdb == InfluxTuning()
    assert list(settings.environments) == ["production"]
    assert settings.default_environment == "production"


def test_every_setting_stands_in_the_files() -> None:
    environments = yaml.safe_load((CONFIG / "environments.yaml").read_text(encoding="utf-8"))
    sinks = yaml.safe_load((CONFIG / "sinks.yaml").read_text(encoding="utf-8"))

    assert set(environments["pipeline"]) == set(Pipeline.model_fields)
    assert set(sinks["influxdb"]) == set(InfluxTuning.model_fields)


def test_the_example_of_an_environment_is_valid() -> None:
    text = (CONFIG / "environments.yaml").read_text(encoding="utf-8")
    example = text.replace("environments: {}\n", "environments:\n").replace("\n#  ", "\n  ")
    staging = yaml.safe_load(example)["environments"]["staging"]

    assert EnvironmentFile.model_validate(staging).api_token == "STAGING_API_TOKEN"
    assert set(staging) == set(EnvironmentFile.model_fields)


def test_all_performance_metrics_and_the_learning_ones_are_collected() -> None:
    found = {
        name: {
            metric.removeprefix(PREFIX)
            for spec in measurement.fields.values()
            for metric in METRIC.findall(spec.query or "")
        }
        for name, measurement in CATALOGUE.items()
    }

    assert found == METRICS
    types = {name: measurement.type for name, measurement in CATALOGUE.items()}
    assert types.pop("training") == "federated"
    assert set(types.values()) == {"performance"} <= set(get_args(MetricType))


@pytest.mark.parametrize(("measurement", "name", "spec"), FIELDS)
def test_a_query_aggregates_by_exactly_the_tags(
    measurement: Measurement, name: str, spec: FieldSpec
) -> None:
    assert spec.query is not None
    groups = re.findall(r"by \(([\w, ]*)\)", spec.query)
    tags = ", ".join(measurement.tags)

    assert groups
    # le goes into the quantile and does not come out
    expected = f"{tags}, le" if spec.query.startswith("histogram_quantile") else tags
    assert set(groups) == {expected}


@pytest.mark.parametrize(("measurement", "name", "spec"), FIELDS)
def test_a_name_ends_in_its_base_unit(measurement: Measurement, name: str, spec: FieldSpec) -> None:
    # a loss has no unit
    assert name == "training_loss" or f"_{name}".endswith(f"_{spec.unit}")
    assert bool(spec.unit) == (name != "training_loss")
    assert "percent" not in name
    assert spec.description


@pytest.mark.parametrize(("measurement", "name", "spec"), FIELDS)
def test_what_the_service_shows_is_scraped_from_the_same_metric(
    measurement: Measurement, name: str, spec: FieldSpec
) -> None:
    assert spec.query is not None
    (metric, *others) = METRIC.findall(spec.query)
    if metric.startswith("node_"):
        assert spec.scrape is None
        return

    assert others == []
    assert spec.scrape is not None
    assert spec.scrape.metric == metric.removesuffix("_bucket")
    assert spec.scrape.scale == (0.01 if spec.query.endswith("/ 100") else 1.0)
    if spec.scrape.as_ == "quantile":
        assert f"histogram_quantile({spec.scrape.quantile}, sum by" in spec.query
    elif spec.scrape.as_ == "rate":
        assert f"sum by ({', '.join(measurement.tags)}) (rate({metric}[5m]))" == spec.query
    else:
        assert spec.query.startswith(f"{spec.scrape.combine} by (")


def test_each_measurement_has_one_or_two_required_fields() -> None:
    required = {
        name: [field for field, spec in measurement.fields.items() if spec.required]
        for name, measurement in CATALOGUE.items()
    }

    assert {len(fields) for fields in required.values()} <= {1, 2}


def test_rates_are_sampled_more_often_than_their_range() -> None:
    assert all(each.step <= timedelta(minutes=1) for each in CATALOGUE.values())
