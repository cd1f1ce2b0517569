"""The catalogue: the shipped one, its defaults, and every way to write one wrong."""

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import yaml

from tasks.core.catalogue import Catalogue
from tasks.core.errors import ConfigurationInvalid, UsageInvalid
from tasks.core.measurement import FieldSpec, Measurement
from tasks.core.settings import shipped

ENTRY: dict[str, Any] = {"type": "performance", "fields": {"a": {"query": "up"}}}
SCRAPE = {"metric": "m", "as": "value"}


def read(folder: Path, content: Any) -> Catalogue:
    path = folder / "metrics.yaml"
    path.write_text(yaml.safe_dump(content, sort_keys=False), encoding="utf-8")
    return Catalogue.read(path)


def problem_of(folder: Path, content: Any) -> str:
    with pytest.raises(ConfigurationInvalid) as caught:
        read(folder, content)
    assert str(caught.value).startswith(f"{folder / 'metrics.yaml'}: ")
    return str(caught.value.problem)


def with_entry(**changes: Any) -> dict[str, Any]:
    return {"measurements": {"x": {**ENTRY, **changes}}}


def with_field(**spec: Any) -> dict[str, Any]:
    return with_entry(fields={"a": spec})


def test_shipped_catalogue_is_sound() -> None:
    catalogue = Catalogue.read(shipped("config") / "metrics.yaml")
    assert len(catalogue) == len(list(catalogue)) >= 10
    for name, entry in catalogue.items():
        assert entry.name == name
        assert (shipped("expectations") / f"{entry.suite_name}.json").is_file()
        assert entry.key == ("environment", *entry.tags, "time")


def test_defaults_fill_what_an_entry_does_not_say(tmp_path: Path) -> None:
    content = {
        "defaults": {"step": "30s", "max_series": 7},
        "measurements": {"x": ENTRY, "y": {**ENTRY, "step": "1m", "suite": "other"}},
    }
    catalogue = read(tmp_path, content)
    x, y = catalogue["x"], catalogue["y"]
    assert (x.step, x.every, x.max_series) == (timedelta(seconds=30), timedelta(minutes=1), 7)
    assert (y.step, x.suite_name, y.suite_name) == (timedelta(minutes=1), "x", "other")
    assert x.fields["a"] == FieldSpec(query="up", type="float", better="none", required=False)
    assert read(tmp_path, {"measurements": {"x": ENTRY}})["x"].step == timedelta(seconds=15)


NAMES = (
    "is not a valid name: use letters, digits and _, starting with a letter, but not "
    "environment, field, measurement, time"
)


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        ({"measurement": {}}, "measurements: Field required; unknown key measurement (did you mean measurements?)"),
        ({"measurements": {}}, "measurements: Dictionary should have at least 1 item after validation, not 0"),
        ({"measurements": [1]}, "measurements: Input should be a valid dictionary"),
        ({"measurements": {"x": 5}}, "measurements.x: Input should be a valid dictionary or instance of Measurement"),
        ({"defaults": {"stepp": "1s"}, **with_entry()}, "unknown key defaults.stepp (did you mean step?)"),
        ({"defaults": {"step": 15}, **with_entry()}, "defaults.step: 15 is not a duration such as 15s, 5m, 1h or 2d"),
        ({"defaults": {"max_series": 0}, **with_entry()}, "defaults.max_series: Input should be greater than 0"),
        ({"defaults": [1], **with_entry()}, "defaults: Input should be a valid dictionary or instance of Defaults"),
        (with_entry(name="y"), "the file: unknown key measurements.x.name: the key above is the name"),
        (with_entry(taggs=["b"]), "unknown key measurements.x.taggs (did you mean tags?)"),
        (with_entry(type="speed"), "measurements.x.type: Input should be 'performance', 'business', 'security', 'federated', 'health' or 'pipeline'"),
        (with_entry(source="prometeus"), "measurements.x.source: there is no source 'prometeus'; there are prometheus, rest, tls, federated"),
        (with_entry(tags=["environment"]), f"measurements.x.tags.0: 'environment' {NAMES}"),
        (with_entry(tags=["9a"]), f"measurements.x.tags.0: '9a' {NAMES}"),
        (with_entry(tags=["a"]), "measurements.x: tags and fields share the name a"),
        (with_entry(tags=["t", "t"]), "measurements.x: tags and fields share the name t"),
        (with_entry(fields={}), "measurements.x.fields: Dictionary should have at least 1 item after validation, not 0"),
        (with_entry(step="0s"), "measurements.x.step: '0s' is not positive"),
        (with_entry(every=60), "measurements.x.every: 60 is not a duration such as 15s, 5m, 1h or 2d"),
        (with_entry(max_series=0), "measurements.x.max_series: Input should be greater than 0"),
        (with_entry(fields={"time": {"query": "up"}}), f"measurements.x.fields.time.[key]: 'time' {NAMES}"),
        (with_field(quer="up"), "unknown key measurements.x.fields.a.quer (did you mean query?)"),
        (with_field(), "measurements.x: field a: needs a `query` or a `scrape`, or both"),
        (with_field(query="up", type="double"), "measurements.x.fields.a.type: Input should be 'float', 'int', 'string' or 'bool'"),
        (with_field(query="up", better="more"), "measurements.x.fields.a.better: Input should be 'lower', 'higher' or 'none'"),
        (with_field(scrape={"metric": "m"}), "measurements.x.fields.a.scrape.as: Field required"),
        (with_field(scrape={**SCRAPE, "label": {}}), "unknown key measurements.x.fields.a.scrape.label (did you mean labels?)"),
        (with_field(scrape={**SCRAPE, "quantile": 0.5}), "measurements.x.fields.a.scrape: `quantile` goes with `as: quantile`, and only with it"),
        (with_field(scrape={**SCRAPE, "as": "quantile"}), "measurements.x.fields.a.scrape: `quantile` goes with `as: quantile`, and only with it"),
        (with_field(scrape={**SCRAPE, "as": "quantile", "quantile": 1}), "measurements.x.fields.a.scrape.quantile: Input should be less than 1"),
        (with_field(scrape={**SCRAPE, "combine": "avg"}), "measurements.x.fields.a.scrape.combine: Input should be 'sum', 'mean', 'max' or 'min'"),
    ],
)  # fmt: skip
def test_every_wrong_key_is_named(tmp_path: Path, content: Any, problem: str) -> None:
    assert problem_of(tmp_path, content) == problem


def test_two_wrong_keys_are_both_named(tmp_path: Path) -> None:
    content = {"measurements": {"x": {**ENTRY, "taggs": []}, "y": {**ENTRY, "max_series": -1}}}
    problem = problem_of(tmp_path, content)
    assert "measurements.x.taggs" in problem
    assert "measurements.y.max_series" in problem


def test_measurement_that_stands_twice_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "metrics.yaml"
    entry = "{type: performance, fields: {a: {query: up}}}"
    path.write_text(f"measurements:\n  x: {entry}\n  x: {entry}\n", encoding="utf-8")
    with pytest.raises(ConfigurationInvalid, match="the key x is repeated"):
        Catalogue.read(path)


def test_select_is_by_type_or_by_name(tmp_path: Path) -> None:
    content = {"measurements": {"x": ENTRY, "y": {**ENTRY, "type": "business"}}}
    catalogue = read(tmp_path, content)
    assert [m.name for m in catalogue.select(frozenset({"business"}))] == ["y"]
    assert [m.name for m in catalogue.select(frozenset(), ("y", "x"))] == ["y", "x"]
    assert catalogue.select(frozenset({"security"})) == ()
    with pytest.raises(UsageInvalid, match="--measurement: z is not in the catalogue"):
        catalogue.select(frozenset({"business"}), ("x", "z"))


def test_digest_changes_with_all_but_what_is_reported_to_people() -> None:
    entry = Measurement.model_validate(
        {**ENTRY, "name": "x", "step": "15s", "every": "60s", "max_series": 1}
    )
    field = entry.fields["a"]
    same = entry.model_copy(
        update={
            "description": "reported better",
            "retention": timedelta(days=9),
            "fields": {"a": field.model_copy(update={"description": "so too"})},
        }
    )
    assert same.digest == entry.digest
    others: list[dict[str, Any]] = [
        {"name": "y"},
        {"tags": ("t",)},
        {"step": timedelta(seconds=30)},
        {"fields": {"a": field.model_copy(update={"query": "down"})}},
        {"fields": {"a": field.model_copy(update={"type": "int"})}},
        {"fields": {"b": field}},
    ]
    digests = {entry.model_copy(update=other).digest for other in others}
    assert len(digests) == len(others)
    assert entry.digest not in digests


def test_rows_are_kept_in_whole_cells() -> None:
    entry = Measurement.model_validate(
        {**ENTRY, "name": "x", "step": "15s", "every": "60s", "max_series": 1, "retention": "2d"}
    )
    now, hour = datetime(2026, 1, 10, 12, 30, tzinfo=UTC), timedelta(hours=1)

    assert entry.kept_from(now, hour) == datetime(2026, 1, 8, 12, tzinfo=UTC)
    assert entry.model_copy(update={"retention": None}).kept_from(now, hour) is None


def test_a_retention_that_late_rows_could_outlive_is_refused() -> None:
    with pytest.raises(ValueError, match="`retention` must be 1d or more"):
        Measurement.model_validate(
            {
                **ENTRY,
                "name": "x",
                "step": "15s",
                "every": "60s",
                "max_series": 1,
                "retention": "23h",
            }
        )
