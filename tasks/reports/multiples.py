"""Small multiples: each series of a field as a small line, over the median of all."""

from dataclasses import dataclass

import numpy as np
from markupsafe import Markup

from tasks.core.window import Window
from tasks.reports.series import Floats, Table, bucket_means, labels

WIDTH, HEIGHT = 96, 34
BUCKETS = 32
MOST_OF_A_PAGE = 900  # small lines, some 0.4 MB
MOST_OF_A_FIELD = 200
FEWEST_OF_A_FIELD = 24
# inline, since no selector reaches its copies
_MIDDLE = "fill:none;stroke:var(--rest);stroke-width:1.6"
_FENCE = 3.0  # interquartile ranges within which values stretch the scale (Tukey's outer fences)


@dataclass(frozen=True)
class Multiples:
    """The median of all series, and a picture of each that uses its `middle_id`."""

    middle: Markup
    middle_id: str
    pictures: tuple[Markup, ...]


def ranked(table: Table, name: str, most: int) -> list[int]:
    """Return indexes of at most so many series, the farthest out in this field first."""
    scores = [one.scores[name] for one in table.oddness]
    return sorted(range(len(scores)), key=lambda index: -scores[index])[:most]


def multiples_of(
    table: Table, name: str, window: Window, order: list[int], prefix: str
) -> Multiples | None:
    """Draw the series at these indexes in a field; None without a number.

    Points are means of a 32nd of the window, on one scale within Tukey's outer fences.
    """
    lengths = [one.stop - one.start for one in table.series]
    means = bucket_means(table.times, table.fields[name], window, BUCKETS, lengths)
    there = means[~np.isnan(means)]
    if not len(there):
        return None
    low, high = _scale(there)
    places = 2 + (HEIGHT - 4) * (high - np.clip(means, low, high)) / (high - low)
    filled = ~np.isnan(places).all(axis=0)
    middle = np.full(BUCKETS, np.nan)
    middle[filled] = np.nanmedian(places[:, filled], axis=0)
    middle_id = f"{prefix}_middle"
    return Multiples(
        middle=Markup(f'<polyline id="{middle_id}" style="{_MIDDLE}" points="{_points(middle)}"/>'),
        middle_id=middle_id,
        pictures=tuple(_picture(places[index], middle_id) for index in order),
    )


def names_of(table: Table, order: list[int]) -> list[str]:
    """Name the series at these indexes."""
    return labels(table, [table.series[index] for index in order])[1] if order else []


def _scale(means: Floats) -> tuple[float, float]:
    first, third = np.quantile(means, [0.25, 0.75])
    room = _FENCE * (third - first)
    low = max(float(means.min()), float(first - room))
    high = min(float(means.max()), float(third + room))
    return (low, high) if high > low else (low - 1.0, low + 1.0)


def _picture(places: Floats, middle_id: str) -> Markup:
    there = np.flatnonzero(~np.isnan(places))
    last = ""
    if len(there):
        x, y = _x(there[-1]), places[there[-1]]
        last = f'<polyline points="{_points(places)}"/><circle cx="{x:.0f}" cy="{y:.1f}" r="1.7"/>'
    return Markup(
        f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" aria-hidden="true"><use href="#{middle_id}"/>{last}</svg>'
    )


def _points(places: Floats) -> str:
    return " ".join(f"{_x(at):.0f},{places[at]:.1f}" for at in np.flatnonzero(~np.isnan(places)))


def _x(bucket: int) -> float:
    return 2 + bucket * (WIDTH - 4) / (BUCKETS - 1)
