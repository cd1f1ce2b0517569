"""Find sources, sinks and channels that other packages register."""

import logging
from collections.abc import Mapping
from functools import cache
from importlib.metadata import EntryPoint, distributions
from typing import Any

from tasks.core.errors import PluginInvalid
from tasks.core.variables import SERVICES

logger = logging.getLogger("fedvitals")

SOURCES = "fedvitals.sources"
SINKS = "fedvitals.sinks"
CHANNELS = "fedvitals.channels"
_PREFIX = "fedvitals."
_OURS = frozenset(
    {*SERVICES, "rest", "tls", "federated", "receipt", "health", "scrape", "heartbeat"}
)


def installed() -> list[tuple[str, str]]:
    """Return group and name of all that is registered, without importing it."""
    return list(_registered())


def names(group: str) -> list[str]:
    """Return the names that are registered in a group, but for those of ours."""
    return [name for of, name in _registered() if of == group and name not in _OURS]


@cache
def load(group: str, name: str) -> Any:
    """Import what is registered under a name: a SourceKind, SinkKind or ChannelKind.

    Raises:
        PluginInvalid: when it cannot be used.
    """
    from tasks.core.ports import KINDS

    packages, points = zip(*_registered()[group, name].items(), strict=True)
    where, problem = f"plugin {name} ({group}, of {' and '.join(packages)})", ""
    kind = None
    if len(points) > 1:
        problem = "they register the same name"
    elif name in _OURS:
        problem = "the name is one of fedvitals's own"
    else:
        try:
            kind = points[0].load()
        # code of others may raise anything: what needs it fails, other work goes on, and the
        # run ends as failed or degraded
        except Exception as error:
            logger.debug("%s", where, exc_info=True)
            problem = f"it cannot be imported ({type(error).__name__}: {error})"
    if not problem and (not isinstance(kind, KINDS[group]) or kind.name != name):
        problem = f"{points[0].value} is no {KINDS[group].__name__} with this name"
    if problem:
        raise PluginInvalid(where=where, problem=problem, fix="Correct or uninstall it")
    return kind


@cache
def _registered() -> Mapping[tuple[str, str], Mapping[str, EntryPoint]]:
    """Return the entry points by group and name, and by package."""
    found: dict[tuple[str, str], dict[str, EntryPoint]] = {}
    for package in distributions():
        # of most packages this is none of ours, and to parse them all takes longer
        if _PREFIX in (package.read_text("entry_points.txt") or ""):
            for point in package.entry_points:
                if point.group in (SOURCES, SINKS, CHANNELS):
                    found.setdefault((point.group, point.name), {})[package.name] = point
    return found
