"""Which families make one measurement."""

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


def test_three_families_with_two_words_in_common_are_a_group_the_rest_has_one_word() -> None:
    names = ("app_mem_free_bytes", "app_mem_used_bytes", "app_mem_cached_bytes", "app_load", "up")

    assert shape(group(*((name, A) for name in names))) == {
        "app": (("instance", "job"), ["load"]),
        "app_mem": (("instance", "job"), ["free_bytes", "used_bytes", "cached_bytes"]),
        "up": (("instance", "job"), ["up"]),
    }


def test_other_labels_are_another_measurement_named_by_them() -> None:
    assert shape(group(("app_load", A), ("app_reads", DISK))) == {
        "app": (("instance", "job"), ["load"]),
        "app_by_device": (("device", "instance", "job"), ["reads"]),
    }


def test_other_jobs_are_another_measurement() -> None:
    assert shape(group(("go_threads", AB), ("go_gcs", A))) == {
        "go": (("instance", "job"), ["gcs"]),
        "go_2": (("instance", "job"), ["threads"]),
    }


def test_a_name_of_the_catalogue_is_not_taken() -> None:
    assert list(shape(group(("node_load1", A)))) == ["node_2"]


def test_a_measurement_has_twelve_fields_at_most() -> None:
    found = shape(group(*((f"app_mem_{letter}", A) for letter in "abcdefghijklm")))

    assert {name: len(fields) for name, (_, fields) in found.items()} == {
        "app_mem": 12,
        "app_mem_2": 1,
    }


def test_a_measurement_has_five_hundred_rows_at_a_time_at_most() -> None:
    def of(first: int) -> tuple[Labels, ...]:
        return tuple({"id": str(number)} for number in range(first, first + 300))

    found = shape(group(("app_a", of(0)), ("app_b", of(0)), ("app_c", of(300))))

    assert [fields for _, fields in found.values()] == [["a", "b"], ["c"]]


def test_fields_differ_from_each_other_and_from_tags_whatever_their_case() -> None:
    series: tuple[Labels, ...] = ({"Free": "1"},)

    assert shape(group(("app_free", series), ("app_FREE", series), ("app_time", series))) == {
        "app_by_free": (("Free",), ["free_2", "free_3", "time_value"])
    }


def test_a_field_keeps_the_prefix_when_the_rest_is_no_name() -> None:
    assert shape(group(("app_5xx", A), ("app", A)))["app"][1] == ["app_5xx", "app"]


def test_a_measurement_named_like_a_reserved_word_or_a_quarantine() -> None:
    found = shape(group(("time_now", A), ("field", A), ("cells_in_quarantine", DISK)))

    assert list(found) == ["cells_by_device", "field_value", "time_value"]
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
    assert list(found) == ["app_by_a_b_c_and_2_more", "x" * 100]


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
