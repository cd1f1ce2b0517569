"""Limits of verdicts (levels on the scale 0 to 1), and options of forecasts."""

from dataclasses import dataclass

from tasks.core.training import LEAST_VALUES

LEAST_ROUNDS = LEAST_VALUES  # fewer rounds with a value than this are too short to judge
COLLAPSE_DROP = 0.1  # collapsed: more than this below a level that was held,
COLLAPSE_NOISE = 5.0  # and more than so many standard deviations of the noise
HELD_ROUNDS = 10  # how long a level must have been held
FLAT_TREND = 0.0005  # a trend of no more than this is flat
OSCILLATION_RATIO = 3.0  # the spread about the trend is so many times that of the calmest third
PLATEAU_GAP = 0.02  # plateau: similar runs reached more than this above the level
CONVERGED_GAP = 0.01  # converged: the asymptote is at most this above the level


@dataclass(frozen=True)
class ForecastSettings:
    """Options of a forecast."""

    level: float = 0.8  # probability that an interval holds the truth
    draws: int = 1000  # curves drawn
    seed: int = 0  # seed of the draws: the same curve gets the same forecast
    most_past_runs: int = 60  # most similar past runs used
