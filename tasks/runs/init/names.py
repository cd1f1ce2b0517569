"""Names valid in the catalogue, Delta Lake, InfluxDB and PromQL."""

import re
import unicodedata

from tasks.core.measurement import RESERVED

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

    def take(self, name: str) -> str:
        """Return the name, or with the first free number behind it, from 2 on."""
        number, free = 1, name
        while free.casefold() in self._taken:
            number += 1
            free = f"{name}_{number}"
        self._taken.add(free.casefold())
        return free


def quoted(text: str) -> str:
    """Quote text as a string of PromQL."""
    escaped = text.replace("\\", r"\\").replace('"', r"\"").replace("\n", r"\n")
    return f'"{escaped}"'


def selector(metric: str, label: str = "", value: str = "") -> str:
    """Select all series of a metric, or those with one label's value."""
    matcher = f"{label}={quoted(value)}" if label else ""
    if _LEGACY_METRIC.fullmatch(metric) and metric.lower() not in _KEYWORDS:
        return f"{metric}{{{matcher}}}" if matcher else metric
    # valid in every version, whatever the name
    matchers = [f"__name__={quoted(metric)}", *([matcher] if matcher else [])]
    return f"{{{', '.join(matchers)}}}"
