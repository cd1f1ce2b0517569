"""Names valid in the catalogue, Delta Lake, InfluxDB and PromQL."""

import re
import unicodedata

from tasks.core.measurement import RESERVED
from tasks.sources.inventory import quoted

_LEGACY_METRIC = re.compile(r"[a-zA-Z_:][a-zA-Z0-9_:]*")
_NAME = re.compile(r"[a-zA-Z][a-zA-Z0-9_]*")
# keywords of PromQL where a metric's name may stand
_KEYWORDS = frozenset({
    "and", "atan2", "avg", "bool", "bottomk", "by", "count", "count_values", "end", "group",
    "group_left", "group_right", "ignoring", "inf", "limit_ratio", "limitk", "max", "min", "nan",
    "offset", "on", "or", "quantile", "start", "stddev", "stdvar", "sum", "topk", "unless", "without",
})  # fmt: skip


def plain(text: str) -> str:
    """Return the text as a name of the catalogue, in lower case."""
    name = spelled(text)
    return f"{name}_value" if name in RESERVED else name


def spelled(text: str) -> str:
    """Spell the text in a-z, 0-9 and single _, beginning with a letter.

    Case, accents and signs are dropped; a letter without an ASCII form becomes u and its code point.
    """
    signs = unicodedata.normalize("NFKD", text.casefold())
    name = re.sub(r"[^a-z0-9]+", "_", "".join(map(_ascii, signs))).strip("_")
    return name if name[:1].isalpha() else f"m_{name}".rstrip("_")


def _ascii(sign: str) -> str:
    if sign.isascii():
        return sign
    if unicodedata.combining(sign):
        return ""
    return f"_u{ord(sign):x}_" if sign.isalnum() else "_"


def tag_for(label: str) -> str:
    """Return the label if it can be a tag, else with Prometheus's prefix."""
    if label in RESERVED:
        return f"exported_{label}"
    return label if _NAME.fullmatch(label) else plain(label)


class Names:
    """Gives each name once; SQL ignores case, so case does not distinguish."""

    def __init__(self, *taken: str) -> None:
        self._taken = {name.casefold() for name in taken}

    def is_free(self, name: str) -> bool:
        """Return whether the name was not given yet."""
        return name.casefold() not in self._taken

    def take(self, name: str) -> str:
        """Return the name, or with the first free number behind it, from 2 on."""
        number, free = 1, name
        while not self.is_free(free):
            number += 1
            free = f"{name}_{number}"
        self._taken.add(free.casefold())
        return free


def selector(metric: str, *conditions: str) -> str:
    """Select the series of a metric that meet all conditions; empty ones are none."""
    matchers = [one for one in conditions if one]
    if _LEGACY_METRIC.fullmatch(metric) and metric.lower() not in _KEYWORDS:
        return f"{metric}{{{', '.join(matchers)}}}" if matchers else metric
    # valid in every version, whatever the name
    return f"{{{', '.join([f'__name__={quoted(metric)}', *matchers])}}}"
