"""The fields of a family."""

from typing import get_args

import pytest

from tasks.runs.init.families import Family, Kind
from tasks.runs.init.fields import Draft, Unit, drafted, tags_of, unit_of
from tasks.sources.inventory import Labels

ONE: tuple[Labels, ...] = ({"job": "a", "instance": "x"},)


def drafts(name: str, kind: Kind, series: tuple[Labels, ...] = ONE, **more: object) -> list[Draft]:
    found = drafted(Family(name, kind, series, **more))  # type: ignore[arg-type]
    assert found is not None
    return list(found.drafts)


def name_and_query(draft: Draft) -> tuple[str, str]:
    return draft.stem + draft.ending, draft.query


@pytest.mark.parametrize(
    ("name", "reported", "unit"),
    [
        ("a_seconds", "", Unit("a", "seconds")),
        ("a_bytes_total", "", Unit("a", "bytes")),
        ("a_total", "bytes", Unit("a", "bytes")),
        ("cpu_percent", "", Unit("cpu", "ratio", 100)),
        ("wait_milliseconds", "", Unit("wait", "seconds", 1000)),
        ("wait", "milliseconds", Unit("wait", "seconds", 1000)),
        ("a_widgets", "widgets", Unit("a_widgets")),
        ("seconds", "", Unit("seconds", "seconds")),
    ],
)
def test_unit_of(name: str, reported: str, unit: Unit) -> None:
    assert unit_of(name, reported) == unit


def test_a_counter_becomes_its_rate() -> None:
    [draft] = drafts("rx_bytes_total", "counter", help="Received.\n bytes")

    assert draft == Draft(
        "rx",
        "_bytes_per_second",
        "sum by (instance, job) (rate(rx_bytes_total[5m]))",
        "bytes_per_second",
        "Received. bytes: growth a second, mean of 5m",
        low=0,
    )


def test_a_counter_without_a_unit_is_counted_in_its_last_word() -> None:
    [draft] = drafts("http_requests_total", "counter")

    assert (draft.unit, draft.stem + draft.ending) == (
        "requests_per_second",
        "http_requests_per_second",
    )


@pytest.mark.parametrize(
    ("name", "field", "query", "limits"),
    [
        ("load1", "load1", "max by (instance, job) (load1)", (None, None)),
        ("mem_bytes", "mem_bytes", "max by (instance, job) (mem_bytes)", (0, None)),
        ("up_seconds", "up_seconds", "max by (instance, job) (up_seconds)", (0, None)),
        ("hit_ratio", "hit_ratio", "max by (instance, job) (hit_ratio)", (0, 1.000001)),
        ("cpu_percent", "cpu_ratio", "max by (instance, job) (cpu_percent) / 100", (0, 1.000001)),
        ("t_celsius", "t_celsius", "max by (instance, job) (t_celsius)", (None, None)),
        (
            "clock_adjustment_ratio",
            "clock_adjustment_ratio",
            "max by (instance, job) (clock_adjustment_ratio)",
            (None, None),
        ),
    ],
)
def test_a_gauge_stands_as_it_is(
    name: str, field: str, query: str, limits: tuple[int | None, int | None]
) -> None:
    [draft] = drafts(name, "gauge")

    assert name_and_query(draft) == (field, query)
    assert (draft.low, draft.high, draft.certain) == (*limits, False)


def test_a_histogram_becomes_quantiles_and_a_rate() -> None:
    *quantiles, rate = drafts("d_milliseconds", "histogram", ({"job": "a"},))

    buckets = "sum by (job, le) (rate(d_milliseconds_bucket[5m]))"
    assert [name_and_query(one) for one in quantiles] == [
        ("d_p50_seconds", f"histogram_quantile(0.5, {buckets}) / 1000"),
        ("d_p95_seconds", f"histogram_quantile(0.95, {buckets}) / 1000"),
        ("d_p99_seconds", f"histogram_quantile(0.99, {buckets}) / 1000"),
    ]
    assert name_and_query(rate) == (
        "d_observations_per_second",
        "sum by (job) (rate(d_milliseconds_count[5m]))",
    )
    assert [one.low for one in quantiles] == [0, 0, 0]


def test_a_histogram_of_negative_values_has_no_lower_limit() -> None:
    *quantiles, rate = drafts("skew_seconds", "histogram", below_zero=True)

    assert [one.low for one in quantiles] == [None, None, None]
    assert rate.low == 0


def test_a_summary_keeps_its_quantiles() -> None:
    found = drafts("d_seconds", "summary", ({"job": "a"},), quantiles=("0.5", "0.999"))

    assert [name_and_query(one) for one in found] == [
        ("d_p50_seconds", 'max by (job) (d_seconds{quantile="0.5"})'),
        ("d_p99_9_seconds", 'max by (job) (d_seconds{quantile="0.999"})'),
        ("d_observations_per_second", "sum by (job) (rate(d_seconds_count[5m]))"),
    ]


def test_labels_that_cannot_be_tags_are_renamed_in_the_query() -> None:
    [draft] = drafts("x_total", "counter", ({"environment": "p", "_shard": "1", "job": "a"},))

    assert draft.query == (
        "sum by (shard, exported_environment, job) ("
        'label_replace(label_replace(rate(x_total[5m]), "shard", "$1", "_shard", "(.*)"), '
        '"exported_environment", "$1", "environment", "(.*)"))'
    )


def test_tags_differ_and_a_fit_label_keeps_its_name() -> None:
    assert tags_of(("Time", "environment", "exported_environment", "Mode", "mode")) == {
        # a column of SQL knows no case, and there is one called time
        "Time": "Time_2",
        "environment": "exported_environment_2",
        "exported_environment": "exported_environment",
        "Mode": "Mode",
        "mode": "mode_2",
    }


def test_a_metric_without_labels() -> None:
    [draft] = drafts("x", "gauge", ({},))

    assert draft.query == "max by () (x)"


def test_the_label_with_the_most_values_is_left_out_of_too_many_series() -> None:
    series = tuple(
        {"job": "a", "client": str(client), "kind": str(client % 2)} for client in range(501)
    )
    found = drafted(Family("x_bytes", "gauge", series))

    assert found is not None
    assert (found.labels, found.left_out, len(found.keys)) == (("job", "kind"), ("client",), 2)
    assert found.drafts[0].query == "max by (job, kind) (x_bytes)"


def test_five_hundred_series_are_not_too_many() -> None:
    series = tuple({"client": str(client)} for client in range(500))
    found = drafted(Family("x", "gauge", series))

    assert found is not None
    assert found.left_out == ()


def test_job_and_instance_are_never_left_out() -> None:
    series = tuple({"job": "a", "instance": str(host)} for host in range(501))

    assert drafted(Family("x", "gauge", series)) is None


def test_a_gauge_keeps_total_since_there_may_be_one_without() -> None:
    names = []
    for metric in ("app_pages_total_bytes", "app_pages_total", "app_pages"):
        found = drafted(Family(metric, "gauge", ({"job": "a"},)))
        assert found is not None
        names += [one.stem + one.ending for one in found.drafts]
    assert names == ["app_pages_total_bytes", "app_pages_total", "app_pages"]


def test_every_query_has_the_condition_on_the_job() -> None:
    for kind in get_args(Kind):
        family = Family("x", kind, ({"job": "a"},), quantiles=("0.5",), condition='job="a"')
        found = drafted(family)
        assert found is not None
        assert all('job="a"' in one.query for one in found.drafts)
