"""A run whose plan is done: what it reached, and nothing that is over."""

import pytest

from tasks.analysis.analyse import analyse
from tasks.analysis.run_analysis import AnalysisSettings
from tasks.core.training import PrivacyTerms, Round, TrainingRun
from tasks.reports.convergence.build import section_of
from tasks.reports.convergence.records import RunSection
from tasks.training.convergence import Analysed


def finished(accuracies: list[float], target: float | None, total: int | None = None) -> RunSection:
    """The section of a run whose last planned round is done, or is not (total)."""
    count = len(accuracies)
    rounds = tuple(
        Round(n, None, 2.0 - 1e-9 * n, None, value, 8.0 * n / count, None)
        for n, value in enumerate(accuracies, 1)
    )
    terms = PrivacyTerms(None, None, None, 10.0, None)
    run = TrainingRun("run", rounds, total or count, terms, "run.csv")
    return section_of(Analysed(run, analyse(run, (), AnalysisSettings(target=target))))


RISING = [0.92 * (1 - 0.85**n) for n in range(1, 41)]


@pytest.mark.promise("Training: a finished run reads what it reached, without what is over")
@pytest.mark.parametrize(
    ("target", "sentence"),
    [
        (0.9, "Finished: reached 90.0 % at round 24; ended at 91.8 %; epsilon 8 of 10."),
        (0.95, "Finished: missed 95.0 %; ended at 91.8 %; epsilon 8 of 10."),
        (None, "Finished: ended at 91.8 %; epsilon 8 of 10."),
    ],
)
def test_a_finished_run_reads_what_it_reached(target: float | None, sentence: str) -> None:
    section = finished(RISING, target)
    numbers = [*section.numbers, *(section.time.numbers if section.time else ())]

    assert (section.sentence, section.is_finished) == (sentence, True)
    assert (section.advice, section.forecast_note) == (None, None)
    assert not [one for one in numbers if one.value == "0 s"]
    assert section.time is not None
    assert "than the one before" not in section.time.sentence
    assert section.privacy is not None
    assert section.privacy.sentence == "Epsilon 8 of 10 is spent."
    reached = section.burn.reached if section.burn else None
    assert (reached and reached.estimate) == (24 if target == 0.9 else None)
    assert section.burn is not None
    assert section.burn.exhausted is None


def test_a_run_that_goes_on_and_one_that_collapsed_are_not_finished() -> None:
    going = finished(RISING, 0.9, total=60)
    collapsed = finished([*RISING, 0.1, 0.1, 0.1, 0.1], 0.9)

    assert (going.is_finished, collapsed.is_finished) == (False, False)
    assert going.burn is not None
    assert going.burn.exhausted is not None
    assert going.sentence.startswith("Converged")
    assert collapsed.sentence.startswith("Collapsed")
    assert (going.advice or "").startswith("Stop")
