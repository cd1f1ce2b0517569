"""Groups of families, as wide measurements of the catalogue."""

from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace

from tasks.core.catalogue import Defaults
from tasks.core.measurement import RESERVED, FieldSpec, Measurement
from tasks.runs.init.fields import MOST_SERIES, Draft, Drafted
from tasks.runs.init.names import Names, plain, spelled

MOST_FIELDS = 12
# labels that become part of a measurement's name
MOST_LABELS = 3
LONGEST_NAME = 100
FEWEST_FAMILIES = 3  # fewer families with two words in common go to those with one
# labels of every target, which distinguish nothing in a name
COMMON_LABELS = ("instance", "job")
# a tag with such a name identifies clients, which is sensitive
CLIENT_LABELS = ("client", "client_id", "clientid", "participant", "participant_id")


@dataclass(frozen=True)
class Proposed:
    """A measurement for the catalogue, its fields' drafts by name, and its metrics."""

    measurement: Measurement
    drafts: dict[str, Draft]
    metrics: tuple[str, ...] = ()

    def without(self, names: Iterable[str]) -> "Proposed | None":
        """Return it with fewer fields; None when none is left."""
        gone = set(names)
        drafts = {name: draft for name, draft in self.drafts.items() if name not in gone}
        if not drafts:
            return None
        fields = {name: self.measurement.fields[name] for name in drafts}
        measurement = self.measurement.model_copy(update={"fields": fields})
        return replace(self, drafts=drafts, measurement=measurement)


def grouped(families: Iterable[Drafted], taken: Iterable[str]) -> list[Proposed]:
    """Group families into measurements of at most 12 fields and 500 rows a time."""
    names = Names(*taken)
    return [
        _measurement(names, prefix, part)
        for prefix, group in _by_prefix(families)
        for part in _parts(group)
    ]


def _by_prefix(families: Iterable[Drafted]) -> Iterator[tuple[str, list[Drafted]]]:
    alike: dict[tuple[object, ...], list[Drafted]] = defaultdict(list)
    for one in families:
        jobs = frozenset(labels.get("job", "") for labels in one.family.series)
        alike[one.labels, one.left_out, jobs].append(one)
    groups = [pair for group in alike.values() for pair in _split(group)]
    yield from sorted(groups, key=lambda pair: (pair[0], pair[1][0].labels, pair[1][0].family.name))


def _split(group: list[Drafted]) -> Iterator[tuple[str, list[Drafted]]]:
    """Split by two words where enough families share them, else by one."""
    by_two: dict[str, list[Drafted]] = defaultdict(list)
    for one in group:
        by_two["_".join(spelled(one.family.name).split("_")[:2])].append(one)
    by_one: dict[str, list[Drafted]] = defaultdict(list)
    for two, members in by_two.items():
        if len(members) >= FEWEST_FAMILIES:
            yield two, members
        else:
            by_one[two.split("_")[0]] += members
    yield from by_one.items()


def _parts(group: list[Drafted]) -> Iterator[list[Drafted]]:
    part: list[Drafted] = []
    keys: frozenset[tuple[str, ...]] = frozenset()
    for one in group:
        fields = sum(len(each.drafts) for each in [*part, one])
        if part and (fields > MOST_FIELDS or len(keys | one.keys) > MOST_SERIES):
            yield part
            part, keys = [], frozenset()
        part.append(one)
        keys |= one.keys
    yield part


def _measurement(names: Names, prefix: str, part: list[Drafted]) -> Proposed:
    first = part[0]
    columns = Names(*first.tags, *RESERVED)
    every = [draft for one in part for draft in one.drafts]
    drafts = {columns.take(_field_name(draft, prefix)): draft for draft in every}
    fields = {
        name: FieldSpec(query=draft.query, unit=draft.unit, description=draft.description)
        for name, draft in drafts.items()
    }
    defaults = Defaults()
    measurement = Measurement(
        name=names.take(_name(prefix, first)),
        type="performance",
        description=_description(prefix, part),
        tags=first.tags,
        fields=fields,
        step=defaults.step,
        every=defaults.every,
        max_series=defaults.max_series,
        identity=next((tag for tag in first.tags if spelled(tag) in CLIENT_LABELS), None),
    )
    return Proposed(measurement, drafts, tuple(one.family.name for one in part))


def _name(prefix: str, one: Drafted) -> str:
    name = plain(prefix)
    labels = [plain(tag) for tag in one.tags if tag not in COMMON_LABELS]
    if len(labels) > MOST_LABELS:
        labels[MOST_LABELS:] = [f"and_{len(labels) - MOST_LABELS}_more"]
    name = f"{name}_by_{'_'.join(labels)}" if labels else name
    # the name of a file and of a folder
    name = name[:LONGEST_NAME].rstrip("_")
    # suffix of quarantine tables in the lake
    return f"{name}_metrics" if name.endswith("_quarantine") else name


def _field_name(draft: Draft, prefix: str) -> str:
    rest = draft.stem.removeprefix(f"{prefix}_")
    # the rest must not be empty, and begin with a letter
    stem = rest if rest != prefix and rest[:1].isalpha() else draft.stem
    return plain(f"{stem}{draft.ending}")


def _description(prefix: str, part: list[Drafted]) -> str:
    what = f"the metric {part[0].family.name}" if len(part) == 1 else f"metrics of {prefix}"
    jobs = sorted({labels.get("job", "") for one in part for labels in one.family.series} - {""})
    text = f"{what}, from {', '.join(jobs)}" if jobs else what
    if any(one.family.guessed for one in part):
        text += "; no target gives the type of all of them, so check the queries"
    if left_out := ", ".join(part[0].left_out):
        text += f"; without, for its number of series: {left_out}"
        text += " (rates are sums over it, other values the largest)"
    return text
