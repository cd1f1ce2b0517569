"""Groups of families, as wide measurements of the catalogue."""

from collections import defaultdict
from collections.abc import Iterable, Set
from dataclasses import dataclass, replace

from tasks.core.catalogue import Defaults
from tasks.core.measurement import RESERVED, FieldSpec, Measurement
from tasks.runs.init.fields import Draft, Drafted, unit_of
from tasks.runs.init.names import Names, plain, spelled

# words of a name with a subsystem: namespace_subsystem_name
FEWEST_WORDS = 3
# namespaces without subsystems: those of every client library and of Prometheus's scrapes
FLAT = ("process", "scrape")
LONGEST_NAME = 100
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
    """Group families by the prefix of their names and by their labels.

    A family's place depends on its own name and labels alone, so that names stay when an exporter
    adds a metric.
    """
    alike: dict[tuple[str, tuple[str, ...]], list[Drafted]] = defaultdict(list)
    for one in families:
        alike[prefix_of(one.family.name), one.labels].append(one)
    shipped = {name.casefold() for name in taken}
    names = Names(*shipped)
    groups = [(prefix, alike[prefix, labels]) for prefix, labels in sorted(alike)]
    proposed = [_measurement(names, prefix, group, shipped) for prefix, group in groups]
    return sorted(proposed, key=lambda one: one.measurement.name)


def prefix_of(metric: str) -> str:
    """Return namespace and subsystem: the first two words of three or more, else one."""
    words = spelled(unit_of(metric, "").stem).split("_")
    is_flat = len(words) < FEWEST_WORDS or words[0] in FLAT
    return "_".join(words[: 1 if is_flat else 2])


def _measurement(names: Names, prefix: str, group: list[Drafted], shipped: Set[str]) -> Proposed:
    first = group[0]
    drafts = _named(prefix, group)
    fields = {
        name: FieldSpec(query=draft.query, unit=draft.unit, description=draft.description)
        for name, draft in drafts.items()
    }
    defaults = Defaults()
    rows = frozenset().union(*(one.keys for one in group))
    measurement = Measurement(
        name=names.take(_name(prefix, first, shipped)),
        type="performance",
        description=_description(prefix, group),
        tags=first.tags,
        fields=fields,
        step=defaults.step,
        every=defaults.every,
        # room for as many series again
        max_series=max(defaults.max_series, 2 * len(rows)),
        identity=next((tag for tag in first.tags if spelled(tag) in CLIENT_LABELS), None),
    )
    return Proposed(measurement, drafts, tuple(one.family.name for one in group))


def _named(prefix: str, group: list[Drafted]) -> dict[str, Draft]:
    """Name the fields without the prefix, but with it where a tag has that name."""
    columns = Names(*group[0].tags, *RESERVED)
    drafts: dict[str, Draft] = {}
    for draft in (draft for one in group for draft in one.drafts):
        short = _field_name(draft, prefix)
        name = short if columns.is_free(short) else plain(draft.stem + draft.ending)
        drafts[columns.take(name)] = draft
    return drafts


def _name(prefix: str, one: Drafted, shipped: Set[str]) -> str:
    name = plain(prefix)
    labels = [plain(tag) for tag in one.tags if tag not in COMMON_LABELS]
    name = f"{name}_by_{'_'.join(labels)}" if labels else name
    # the name of a file and of a folder
    name = name[:LONGEST_NAME].rstrip("_")
    # suffix of quarantine tables in the lake
    is_taken = name in shipped or name.endswith("_quarantine")
    return f"{name}_metrics" if is_taken else name


def _field_name(draft: Draft, prefix: str) -> str:
    rest = draft.stem.removeprefix(f"{prefix}_")
    # the rest must not be empty, and begin with a letter
    stem = rest if rest != prefix and rest[:1].isalpha() else draft.stem
    return plain(f"{stem}{draft.ending}")


def _description(prefix: str, group: list[Drafted]) -> str:
    what = f"the metric {group[0].family.name}" if len(group) == 1 else f"metrics of {prefix}"
    jobs = sorted({labels.get("job", "") for one in group for labels in one.family.series} - {""})
    text = f"{what}, from {', '.join(jobs)}" if jobs else what
    if any(one.family.guessed for one in group):
        text += "; no target gives the type of all of them, so check the queries"
    if left_out := sorted({label for one in group for label in one.left_out}):
        text += f"; without, for its number of series: {', '.join(left_out)}"
        text += " (rates are sums over it, other values the largest)"
    return text
