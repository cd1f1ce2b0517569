"""Which families make one measurement."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tasks.runs.init.families import Family, Kind
from tasks.runs.init.fields import drafted
from tasks.runs.init.groups import Proposed, grouped
from tasks.sources.inventory import Labels

A: tuple[Labels, ...] = ({"job": "a", "instance": "x"},)
AB: tuple[Labels, ...] = (*A, {"job": "b", "instance": "y"})
DISK: tuple[Labels, ...] = ({"job": "a", "instance": "x", "device": "sda"},)


def group(*families: tuple[str, tuple[Labels, ...]], kind: Kind = "gauge") -> list[Proposed]:
    drafts = [drafted(Family(name, kind, series)) for name, series in families]
    return grouped([one for one in drafts if one is not None], ("node",))


def shape(proposed: list[Proposed]) -> dict[str, tuple[tuple[str, ...], list[str]]]:
    return {
        one.measurement.name: (one.measurement.tags, list(one.measurement.fields))
        for one in proposed
    }


@pytest.mark.parametrize(
    ("metric", "place"),
    [
        ("app_mem_free_bytes", ("app_mem", "free_bytes")),
        ("app_mem_Free_percent", ("app_mem", "free_ratio")),
        # two words have no subsystem
        ("app_load_ratio", ("app", "load_ratio")),
        ("app_load1", ("app", "load1")),
        ("up", ("up", "up")),
        ("job:hits:rate5m", ("job_hits", "rate5m")),
        # nor have the metrics of every process
        ("process_open_fds", ("process", "open_fds")),
        ("node_memory_Active_bytes", ("node_memory", "active_bytes")),
        # the shipped catalogue has a measurement of this name
        ("node_load1", ("node_metrics", "load1")),
    ],
)
def test_two_words_name_the_measurement_and_the_rest_names_the_field(
    metric: str, place: tuple[str, str]
) -> None:
    assert shape(group((metric, A))) == {place[0]: (("instance", "job"), [place[1]])}


WORDS = st.sampled_from(["app", "node", "mem", "load1", "free", "go", "5xx", "bytes", "total"])
METRICS = st.lists(WORDS, min_size=1, max_size=5, unique=True).map("_".join)


@given(st.dictionaries(METRICS, st.sampled_from([A, AB, DISK]), min_size=2), st.data())
def test_names_stay_when_an_exporter_adds_a_metric(
    metrics: dict[str, tuple[Labels, ...]], data: st.DataObject
) -> None:
    more = places(metrics)
    new = data.draw(st.sampled_from(sorted(metrics)))
    before = {name: series for name, series in metrics.items() if name != new}
    assert places(before) == {name: place for name, place in more.items() if name != new}


def places(metrics: dict[str, tuple[Labels, ...]]) -> dict[str, tuple[str, tuple[str, ...]]]:
    """The measurement and the field of each metric."""
    proposed = group(*sorted(metrics.items()))
    return {
        metric: (one.measurement.name, field)
        for one in proposed
        for metric, field in zip(one.metrics, one.drafts, strict=True)
    }


def test_other_labels_are_another_measurement_named_by_them() -> None:
    assert shape(group(("app_load", A), ("app_reads", DISK))) == {
        "app": (("instance", "job"), ["load"]),
        "app_by_device": (("device", "instance", "job"), ["reads"]),
    }


def test_other_jobs_are_rows_of_the_same_measurement() -> None:
    found = group(("go_threads", AB), ("go_gcs", A))

    assert shape(found) == {"go": (("instance", "job"), ["threads", "gcs"])}
    assert found[0].measurement.description == "metrics of go, from a, b"


def test_a_measurement_has_as_many_fields_as_its_prefix_has_metrics() -> None:
    found = shape(group(*((f"app_mem_{letter}", A) for letter in "abcdefghijklm")))

    assert {name: len(fields) for name, (_, fields) in found.items()} == {"app_mem": 13}


@pytest.mark.parametrize(("series", "most"), [(300, 1000), (501, 1002)])
def test_there_is_room_for_twice_the_series(series: int, most: int) -> None:
    def of(first: int, stop: int) -> tuple[Labels, ...]:
        return tuple({"id": str(number)} for number in range(first, stop))

    [found] = group(("app_a", of(0, 300)), ("app_c", of(200, series)))

    assert found.measurement.max_series == most


def test_fields_differ_from_each_other_and_from_tags_whatever_their_case() -> None:
    series: tuple[Labels, ...] = ({"Free": "1"},)

    assert shape(group(("app_free", series), ("app_FREE", series), ("app_time", series))) == {
        "app_by_free": (("Free",), ["app_free", "app_free_2", "time_value"])
    }


def test_a_field_keeps_the_prefix_when_the_rest_is_no_name() -> None:
    assert shape(group(("app_5xx", A), ("app", A)))["app"][1] == ["app_5xx", "app"]


def test_a_measurement_named_like_a_reserved_word_or_a_quarantine() -> None:
    found = shape(group(("time_now", A), ("field", A), ("cells_quarantine_now", A)))

    assert list(found) == ["cells_quarantine_metrics", "field_value", "time_value"]
    series: tuple[Labels, ...] = ({"quarantine": "1"},)
    assert list(shape(group(("cells", series)))) == ["cells_by_quarantine_metrics"]


def test_a_tag_that_names_clients_is_the_identity() -> None:
    for label in ("client", "clientId", "participant_id"):
        [one] = group(("fl_loss", ({"job": "a", label: "hospital-1"},)))
        assert one.measurement.identity == label
    [other] = group(("fl_loss", ({"job": "a", "client_version": "1"},)))
    assert other.measurement.identity is None


def test_a_long_name_is_cut() -> None:
    series: tuple[Labels, ...] = ({"a": "1", "b": "1", "c": "1", "d": "1", "e": "1"},)

    found = shape(group(("app_x", series), (f"{'x' * 120}_total", A)))
    assert list(found) == ["app_by_a_b_c_d_e", "x" * 100]


def test_the_description_says_what_was_guessed_and_left_out() -> None:
    series = tuple({"job": "a", "client": str(client)} for client in range(501))
    drafts = drafted(Family("x_total", "counter", series, guessed=True))
    assert drafts is not None
    [found] = grouped([drafts], ())

    assert found.measurement.description == (
        "the metric x_total, from a; no target gives the type of all of them, so check the queries; "
        "without, for its number of series: client (rates are sums over it, other values the largest)"
    )


def test_without_some_and_without_all_fields() -> None:
    [found] = group(("app_a", A), ("app_b", A))

    rest = found.without(["a"])
    assert rest is not None
    assert (list(rest.drafts), list(rest.measurement.fields)) == (["b"], ["b"])
    assert found.without(["a", "b"]) is None
