"""Numbers for people: a unit that fits the magnitude, three significant digits."""

import math
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal

_DAY = 86400.0
# (from this magnitude on, divide by, symbol), largest first
_SECONDS = (
    (2 * _DAY, _DAY, "d"), (7200.0, 3600.0, "h"), (120.0, 60.0, "min"), (1.0, 1.0, "s"),
    (1e-3, 1e-3, "ms"), (0.0, 1e-6, "µs"),
)  # fmt: skip
_BYTES = (
    (2.0**40, 2.0**40, "TiB"), (2.0**30, 2.0**30, "GiB"), (2.0**20, 2.0**20, "MiB"),
    (2.0**10, 2.0**10, "KiB"), (0.0, 1.0, "B"),
)  # fmt: skip
_COUNTS = ((1e9, 1e9, "G"), (1e6, 1e6, "M"), (0.0, 1.0, ""))
_LADDERS = {"seconds": _SECONDS, "bytes": _BYTES}
_PLAIN = {"ratio": (0.01, "%"), "percent": (1.0, "%"), "celsius": (1.0, "°C")}
_PER_SECOND = "_per_second"


@dataclass(frozen=True)
class Scale:
    """Converts a value of the base unit to `symbol` by dividing by `divisor`."""

    divisor: float
    symbol: str


# of seconds since 1970
EPOCH = Scale(1.0, "UTC")
# seconds; larger numbers are no times
LATEST_EPOCH = 1e11


def scale_for(unit: str, magnitude: float) -> Scale:
    """Return the best scale for values of this magnitude (of the base unit)."""
    base, rate = unit, ""
    # from 2001 on: no duration is as long
    if unit == "seconds" and 1e9 <= magnitude < LATEST_EPOCH:
        return EPOCH
    if f"_{unit}".endswith(_PER_SECOND):
        base, rate = f"_{unit}".removesuffix(_PER_SECOND).removeprefix("_"), "/s"
    if base in _PLAIN:
        divisor, symbol = _PLAIN[base]
        return Scale(divisor, symbol + rate)
    if not magnitude and base == "seconds":
        return Scale(1.0, "s" + rate)
    name = "" if base in _LADDERS else base.replace("_", " ")
    ladder = _LADDERS.get(base, _COUNTS)
    divisor, symbol = next(rung[1:] for rung in ladder if abs(magnitude) >= rung[0])
    return Scale(divisor, f"{symbol} {name}".strip() + rate)


def digits(value: float) -> str:
    """Format three significant digits, all of them before the point, with separators."""
    if not math.isfinite(value):
        return str(value)
    rounded = float(f"{value:.3g}")
    if abs(rounded) >= 1000:
        return f"{value:,.0f}"
    return f"{rounded + 0.0:.3g}"


def outward(value: float, rounding: str) -> float:
    """Round to three significant digits, exactly in the direction that widens a range."""
    if value == 0 or not math.isfinite(value):
        return value
    exact = Decimal(value)
    return float(exact.quantize(Decimal(1).scaleb(exact.adjusted() - 2), rounding))


def in_scale(value: float, scale: Scale) -> str:
    """Format a value of the base unit without its unit; the seconds of an epoch as a time."""
    if scale == EPOCH:
        # exporters give extremes for a time that they do not know yet
        with suppress(ValueError, OverflowError, OSError):
            return f"{datetime.fromtimestamp(value, UTC):%Y-%m-%d %H:%M:%S}"
    return digits(value / scale.divisor)


def human(value: float | None, unit: str) -> str:
    """Format a value of the base unit, e.g. 48.2 ms, 1.5 GiB, 92 %; a dash for none."""
    if value is None:
        return "–"
    scale = scale_for(unit, value)
    number, symbol = in_scale(value, scale), scale.symbol
    if number == "1" and symbol == unit:
        symbol = symbol.removesuffix("s")
    return f"{number} {symbol}".strip()


def pair(value: float, limit: float, unit: str) -> tuple[str, str]:
    """Format a value with its unit, and its limit without; both differ when the numbers do."""
    scale = scale_for(unit, max(abs(value), abs(limit)))
    texts = [in_scale(each, scale) for each in (value, limit)]
    if texts[0] == texts[1] and value != limit:
        texts = _apart(value / scale.divisor, limit / scale.divisor)
    return f"{texts[0]} {scale.symbol}".strip(), texts[1]


def _apart(one: float, other: float) -> list[str]:
    """Format two numbers with the fewest digits that show a difference."""
    for precision in range(4, 17):
        texts = [f"{each:.{precision}g}" for each in (one, other)]
        if texts[0] != texts[1]:
            break
    return texts


def signed(value: float, unit: str) -> str:
    """Format a signed change: +4.2 ms, −3 pp; percentage points for shares."""
    if not value:
        return "±0"
    sign = "+" if value > 0 else "−"
    if unit in ("ratio", "percent"):
        return f"{sign}{digits(abs(value) * (100 if unit == 'ratio' else 1))} pp"
    return f"{sign}{human(abs(value), unit)}"


def share(change: float, before: float, unit: str) -> str:
    """Format a change relative to before in percent; empty for shares and from zero."""
    if not change or not before or unit in ("ratio", "percent"):
        return ""
    return f"{'+' if change > 0 else '−'}{digits(abs(change / before) * 100)} %"


def counted(number: int, one: str, many: str | None = None) -> str:
    """Format a number with its noun: 1 value, 5,431 values."""
    return f"{number:,} {one if number == 1 else many or one + 's'}"
