"""Texts of levels and changes: an accuracy in percent, a loss as it is."""

from tasks.analysis.curve import Metric
from tasks.analysis.interval import Interval

MINUS = "−"
LEAST = 1e-5
LEAST_POINTS = 1e-4


def level_text(metric: Metric, value: float) -> str:
    """Format a level: 78.4 %, or 0.4321 for a loss."""
    return share_text(value) if metric == "accuracy" else f"{value:.4g}"


def share_text(value: float) -> str:
    """Format a share: 78.4 %."""
    return f"{100 * value:.1f} %"


def change_text(metric: Metric, amount: float, sign: str = "") -> str:
    """Format a change: 0.28 pp, or 0.0123 for a loss; with a plus where sign is one."""
    return f"{_bare(metric, amount, sign)}{_unit(metric)}"


def range_text(metric: Metric, low: float, high: float, sign: str = "") -> str:
    """Format the ends of a change: 0.18 to 0.36 pp."""
    return f"{_bare(metric, low, sign)} to {_bare(metric, high, sign)}{_unit(metric)}"


def span_text(metric: Metric, interval: Interval) -> str:
    """Format a change with its interval: 7.5 pp (2.8 to 12 pp)."""
    ends = range_text(metric, interval.low, interval.high)
    return f"{change_text(metric, interval.estimate)} ({ends})"


def number_text(value: float, sign: str = "") -> str:
    """Format a number without a unit."""
    return _signed(value, sign, LEAST, 3)


def _bare(metric: Metric, amount: float, sign: str) -> str:
    is_share = metric == "accuracy"
    return _signed(100 * amount, sign, LEAST_POINTS, 2) if is_share else number_text(amount, sign)


def _signed(value: float, sign: str, least: float, digits: int) -> str:
    return "0" if abs(value) < least else f"{value:{sign}.{digits}g}".replace("-", MINUS)


def _unit(metric: Metric) -> str:
    return " pp" if metric == "accuracy" else ""
