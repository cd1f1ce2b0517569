"""The numbers that the analyses go by, with their defaults."""

from dataclasses import dataclass


@dataclass(frozen=True)
class VerdictSettings:
    """What a verdict is made by. Levels are on the scale 0 to 1, trends a round."""

    least_rounds: int = 8  # fewer rounds than this are too short
    window_rounds: int = 8  # the last rounds that count as now: at least so many
    window_share: float = 0.1
    """The last rounds that count as now: at least this share of those seen."""
    collapse_drop: float = 0.1  # collapsed: more than this below a level that was held
    collapse_noise: float = 5.0
    """Collapsed: also more than so many standard deviations of the noise below it."""
    held_rounds: int = 10  # how long a level must have been held
    flat_trend: float = 0.0005  # a trend of no more than this is flat
    oscillation_ratio: float = 3.0
    """Oscillating: the spread about the trend is so many times that of the calmest third."""
    plateau_gap: float = 0.02  # plateau: similar runs reached more than this above the level
    converged_gap: float = 0.01  # converged: the asymptote is at most this above the level


@dataclass(frozen=True)
class ForecastSettings:
    """How a forecast is made."""

    level: float = 0.8  # probability that an interval holds the truth
    draws: int = 1000  # curves drawn
    seed: int = 0  # seed of the draws: the same curve gets the same forecast
    most_past_runs: int = 60  # past runs that are looked at, the most similar ones
