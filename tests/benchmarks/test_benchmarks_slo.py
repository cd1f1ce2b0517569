"""The simulation of pages: few at the objective, and soon in an outage."""

from benchmarks.slo import at_objective, to_page


def test_our_rule_is_silent_where_the_workbooks_pages() -> None:
    workbook, ours = at_objective(0.999, 20, weeks=40)

    assert workbook > 2
    assert ours <= 0.05


def test_a_total_outage_pages_soon_after_the_workbooks_rule() -> None:
    workbook, ours = to_page(0.999, 20, 1.0, trials=50)

    assert workbook <= ours <= workbook + 6 * 60 / 20
