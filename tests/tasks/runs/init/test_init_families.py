"""Families out of metrics."""

from tasks.runs.init.families import Family, Skipped, families
from tasks.sources.inventory import Described, Inventory, Labels

A: Labels = {"job": "a"}
B: Labels = {"job": "b"}


def gather(
    series: dict[str, list[Labels]],
    described: dict[str, list[Described]] | None = None,
    too_many: dict[str, int] | None = None,
) -> tuple[list[Family], list[Skipped]]:
    return families(Inventory(series, described or {}, too_many or {}))


def reasons(skipped: list[Skipped]) -> dict[str, str]:
    return {one.metric: one.reason for one in skipped}


def test_a_type_that_the_targets_tell() -> None:
    reported = {
        "hits": [Described("counter", "", "Hits")],
        "depth": [Described("gauge", "bytes", "Depth")],
        "sent": [Described("counter", "bytes", "Sent")],
    }
    found, skipped = gather({"hits": [A], "depth": [A], "sent_total": [A, B]}, reported)

    assert found == [
        Family("depth", "gauge", (A,), "bytes", "Depth"),
        Family("hits", "counter", (A,), "", "Hits"),
        Family("sent_total", "counter", (A, B), "bytes", "Sent"),
    ]
    assert skipped == []


def test_a_type_that_nobody_tells_is_guessed_from_the_name() -> None:
    found, _ = gather({"hits_total": [A], "job:hits:rate5m": [A]})

    assert [(one.name, one.kind, one.guessed) for one in found] == [
        ("hits_total", "counter", True),
        ("job:hits:rate5m", "gauge", True),
    ]


def test_targets_that_do_not_agree_tell_nothing() -> None:
    reported = {"x_total": [Described("gauge"), Described("counter")]}
    [family], _ = gather({"x_total": [A]}, reported)

    assert (family.kind, family.guessed) == ("counter", True)


def test_a_histogram_is_one_family_without_le() -> None:
    series = {
        "d_bucket": [{**A, "le": "1"}, {**A, "le": "+Inf"}, {**B, "le": "1"}],
        "d_count": [A, B],
        "d_sum": [A, B],
        "d_created": [A, B],
    }
    found, skipped = gather(series, {"d": [Described("histogram")]})

    assert found == [Family("d", "histogram", (A, B))]
    assert found[0].samples == ("d", "d_bucket", "d_count", "d_sum")
    assert skipped == []


def test_a_histogram_of_negative_values() -> None:
    [family], _ = gather({"d_bucket": [{"le": "-1"}, {"le": "+Inf"}], "d_count": [{}]})

    assert family.below_zero


def test_buckets_without_le_are_no_histogram() -> None:
    found, _ = gather({"s3_bucket": [A]})

    assert [(one.name, one.kind) for one in found] == [("s3_bucket", "gauge")]


def test_summaries_with_and_without_quantiles() -> None:
    series = {
        "d": [{**A, "quantile": "0.9"}, {**A, "quantile": "0.5"}, {**A, "quantile": "odd"}],
        "d_count": [A],
        "d_sum": [A],
        "e_count": [A],
        "e_sum": [A],
        "page_count": [A],
    }
    found, _ = gather(series, {"e": [Described("summary")]})

    assert [(one.name, one.kind, one.quantiles) for one in found] == [
        ("d", "summary", ("0.5", "0.9")),
        ("e", "summary", ()),
        ("page_count", "gauge", ()),
    ]


def test_what_is_no_measure_is_skipped_with_the_reason() -> None:
    reported = {
        "native": [Described("histogram")],
        "state": [Described("info")],
        "hits": [Described("counter")],
        "g": [Described("gaugehistogram")],
    }
    series = {
        "native": [A],
        "state": [A],
        "build_info": [A],
        "hits_total": [A],
        "hits_created": [A],
        "g_bucket": [{"le": "1"}],
        "ALERTS": [A],
        "job_created": [A],
    }
    found, skipped = gather(series, reported, {"huge": 30_000})

    assert [one.name for one in found] == ["hits_total", "job_created"]
    assert reasons(skipped) == {
        "ALERTS": "Prometheus's own record of its alerts",
        "build_info": "its value is always 1: the information is in its labels",
        "g": "gauge histograms are not supported: write its query by hand",
        "hits_created": "it only gives the start of another metric's count",
        "huge": "30000 series are too many to read",
        "native": "a native histogram: write its query by hand, with histogram_quantile",
        "state": "its value is always 1: the information is in its labels",
    }
