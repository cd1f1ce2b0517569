"""Time buckets of a window, so that a query returns only the incomplete ones."""

from datetime import timedelta

from sqlalchemy import BigInteger, FromClause, String, column, text

from tasks.core.window import Window
from tasks.ledger.schema import as_text

SLICE_CELLS = 128
MOST_SLICES = 64


def slices_of(window: Window, length: timedelta) -> FromClause:
    """Return a table `slices`: start, stop and number of cells of each bucket.

    The last one may reach beyond the window. As text, since SQLAlchemy would take longer to build
    the many values than a database to answer.
    """
    total = -(-window.length // length)
    size = max(SLICE_CELLS, -(-total // MOST_SLICES))
    firsts = range(0, total, size)
    bounds = [as_text(window.start + min(first, total) * length) for first in (*firsts, total)]
    rows = [
        f"('{start}', '{stop}', {min(size, total - first)})"
        for first, start, stop in zip(firsts, bounds, bounds[1:], strict=False)
    ]
    query = "SELECT column1 AS start, column2 AS stop, column3 AS cells FROM (VALUES {}) AS spans"
    columns = (column("start", String), column("stop", String), column("cells", BigInteger))
    return text(query.format(", ".join(rows))).columns(*columns).cte("slices")
