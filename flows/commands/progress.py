"""Progress of long work, shown on a terminal only."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager

from tasks.core.progress import Progress, no_progress


@contextmanager
def shown_progress() -> Iterator[Progress]:
    """Yield a callback that draws done cells on standard error, if it is a terminal."""
    if not sys.stderr.isatty():
        yield no_progress
        return
    # rich is slow to import, and most runs have no terminal
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeElapsedColumn
    from rich.progress import Progress as Bars

    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
    )
    with Bars(*columns, console=Console(stderr=True), transient=True) as bars:
        shown = {"": bars.add_task("", total=1, visible=False)}

        def notify(measurement: str, done: int, total: int) -> None:
            if measurement not in shown:
                shown[measurement] = bars.add_task(measurement, total=total)
            bars.update(shown[measurement], completed=done, total=total)

        yield notify
