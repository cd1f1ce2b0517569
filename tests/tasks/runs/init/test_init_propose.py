"""What is kept of a catalogue, proposed beside it, and left out with a reason."""

from datetime import UTC, datetime, timedelta

import pytest
from pytest_httpserver import HTTPServer

from tasks.core.measurement import FieldSpec, Measurement, Rest
from tasks.core.services import Service
from tasks.runs.init.families import Skipped
from tasks.runs.init.propose import Dropped, NothingFound, Proposal, propose
from tasks.sources.inventory import Selection
from tests.support.fakes.inventory import FakeInventory
from tests.support.fakes.prometheus import FakeSeries

NOW = datetime(2026, 3, 1, 10, tzinfo=UTC)
A = {"job": "a"}
REQUESTS = 'sum by (job) (rate(requests_total{code!="500"}[5m]))'


@pytest.fixture
def prometheus(httpserver: HTTPServer) -> FakeInventory:
    return FakeInventory(httpserver)


def entry(name: str, *fields: tuple[str, str, bool]) -> Measurement:
    """Fields are name, query, required."""
    return Measurement(
        name=name, type="performance", tags=("job",), max_series=5,
        step=timedelta(seconds=15), every=timedelta(seconds=60),
        fields={name: FieldSpec(query=query, required=need) for name, query, need in fields},
    )  # fmt: skip


API = Measurement(
    name="clients", type="business", source="rest", max_series=1, rest=Rest(endpoint="/clients"),
    step=timedelta(seconds=15), every=timedelta(seconds=60), fields={"n": FieldSpec(path="$.n")},
)  # fmt: skip


def proposal(prometheus: FakeInventory, *entries: Measurement, has_api: bool = False) -> Proposal:
    service = Service(url=prometheus.url, origin="PROMETHEUS_URL")
    return propose(service, {one.name: one for one in entries}, has_api, NOW)


def test_what_has_data_is_kept_and_its_metrics_are_not_proposed_again(
    prometheus: FakeInventory,
) -> None:
    prometheus.metrics = {"requests_total": [A], "job": [A], "rate": [A]}
    prometheus.queries = {REQUESTS: [FakeSeries(A)]}
    kept = entry("requests", ("per_second", REQUESTS, True), ("idle", "q_idle", False))
    found = proposal(prometheus, kept)

    assert (found.kept, found.dropped) == ((kept,), ())
    # words of the query that are no metric in it do not count
    assert [one.metrics for one in found.proposed] == [("job",), ("rate",)]
    assert found.skipped == (Skipped("requests_total", "requests reads it already"),)


def test_what_has_no_data_is_dropped_and_its_metrics_are_proposed(
    prometheus: FakeInventory,
) -> None:
    prometheus.metrics = {"requests_total": [A]}
    prometheus.queries = {REQUESTS: [FakeSeries(A)]}
    lacking = entry("lacking", ("per_second", REQUESTS, False), ("needed", "q_gone", True))
    empty = entry("empty", ("a", "q_gone", False))
    found = proposal(prometheus, lacking, empty, API)

    assert found.kept == ()
    assert found.dropped == (
        Dropped("lacking", "needed: no series now"),
        Dropped("empty", "a: no series now"),
        Dropped("clients", "it is read from the service itself, whose address is not set"),
    )
    assert [one.measurement.name for one in found.proposed] == ["requests"]


def test_what_the_service_itself_tells_is_kept_when_it_is_known(prometheus: FakeInventory) -> None:
    prometheus.metrics = {"up": [A]}

    assert proposal(prometheus, API, has_api=True).kept == (API,)


def test_a_limit_that_the_last_hour_speaks_against_is_not_proposed(
    prometheus: FakeInventory,
) -> None:
    names = ("offset_seconds", "wait_seconds", "fan_percent", "load_percent", "new_seconds")
    prometheus.metrics = {f"app_{name}": [A] for name in names}
    extremes = {
        "offset_seconds": ("-0.1", "3"),
        "wait_seconds": ("0", "3"),
        "fan_percent": ("0", "100.5"),
        "load_percent": ("0", "100"),
    }
    for name, ends in extremes.items():
        for how, end in zip(("min", "max"), ends, strict=True):
            query = f"{how}({how}_over_time(app_{name}[1h]))"
            prometheus.queries[query] = [FakeSeries({}, lambda _, end=end: end)]  # type: ignore[misc]
    drafts = {
        name: (draft.low, draft.high)
        for one in proposal(prometheus).proposed
        for name, draft in one.drafts.items()
    }

    assert drafts == {
        "offset_seconds": (None, None),
        "wait_seconds": (0, None),
        "fan_ratio": (None, None),
        "load_ratio": (0, 1.000001),
        "new_seconds": (0, None),
    }


def test_a_field_that_prometheus_answers_otherwise_is_taken_out(prometheus: FakeInventory) -> None:
    prometheus.metrics = {"app_a": [A], "app_b": [A]}
    prometheus.queries = {"max by (job) (app_a)": [FakeSeries({**A, "pod": "x"})]}
    found = proposal(prometheus)

    assert [list(one.measurement.fields) for one in found.proposed] == [["b"]]
    assert found.skipped == (
        Skipped("app.a", "it has the labels ['pod'] besides the tags ['job']"),
    )


def test_names_in_non_ascii(prometheus: FakeInventory) -> None:
    prometheus.metrics = {"größe_bytes": [{"régime": "x"}]}
    [found] = proposal(prometheus).proposed

    assert found.measurement.name == "grosse_by_regime"
    assert {name: spec.query for name, spec in found.measurement.fields.items()} == {
        "grosse_bytes": 'max by (regime) (label_replace({__name__="größe_bytes"}, '
        '"regime", "$1", "régime", "(.*)"))'
    }


def test_nothing_is_there(prometheus: FakeInventory) -> None:
    with pytest.raises(NothingFound, match="has no data of the last five minutes"):
        proposal(prometheus, API, has_api=True)


def test_nothing_can_be_collected(prometheus: FakeInventory) -> None:
    prometheus.metrics = {"build_info": [A]}

    with pytest.raises(NothingFound, match="has no metric that could be collected"):
        proposal(prometheus)


def test_what_is_not_selected_is_neither_kept_nor_proposed(prometheus: FakeInventory) -> None:
    prometheus.metrics = {"requests_total": [A], "load": [A, {"job": "b"}], "up": [A]}
    prometheus.queries = {REQUESTS: [FakeSeries(A)]}
    kept = entry("requests", ("per_second", REQUESTS, True))
    service = Service(url=prometheus.url, origin="PROMETHEUS_URL")

    def found(*names: str) -> Proposal:
        selection = Selection(names, ("b",) if "load" in names else ())
        return propose(service, {"requests": kept, "clients": API}, True, NOW, selection)

    load = found("load")
    assert load.kept == (API,)
    assert load.dropped == (Dropped("requests", "it reads no metric of --select load --job b"),)
    [proposed] = load.proposed
    assert proposed.measurement.fields["load"].query == 'max by (job) (load{job="b"})'
    assert found("requests*").kept == (kept, API)
    with pytest.raises(NothingFound, match="five minutes for --select x"):
        found("x")
