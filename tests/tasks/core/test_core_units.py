import pytest

from tasks.core.units import (
    EPOCH,
    Scale,
    counted,
    digits,
    human,
    in_scale,
    pair,
    scale_for,
    share,
    signed,
)


@pytest.mark.parametrize(
    ("unit", "magnitude", "expected"),
    [
        ("seconds", 3e-7, Scale(1e-6, "µs")),
        ("seconds", 0.25, Scale(1e-3, "ms")),
        ("seconds", 3.0, Scale(1.0, "s")),
        ("seconds", 0.0, Scale(1.0, "s")),
        ("seconds", 600.0, Scale(60.0, "min")),
        ("seconds", 10_000.0, Scale(3600.0, "h")),
        ("seconds", 200_000.0, Scale(86400.0, "d")),
        ("seconds", 1.7e9, Scale(1.0, "UTC")),
        ("bytes_per_second", 1.7e9, Scale(2.0**30, "GiB/s")),
        ("bytes", 1000.0, Scale(1.0, "B")),
        ("bytes", 3.0 * 2**20, Scale(2.0**20, "MiB")),
        ("bytes", 3.0 * 2**30, Scale(2.0**30, "GiB")),
        ("bytes_per_second", 4096.0, Scale(1024.0, "KiB/s")),
        ("requests_per_second", 12.0, Scale(1.0, "requests/s")),
        ("per_second", 12.0, Scale(1.0, "/s")),
        ("ratio", 0.5, Scale(0.01, "%")),
        ("percent", 50.0, Scale(1.0, "%")),
        ("celsius", -3.0, Scale(1.0, "°C")),
        ("", 5.0, Scale(1.0, "")),
        ("", 5e6, Scale(1e6, "M")),
        ("failed_saves", -5e9, Scale(1e9, "G failed saves")),
    ],
)
def test_the_scale_fits_unit_and_magnitude(unit: str, magnitude: float, expected: Scale) -> None:
    assert scale_for(unit, magnitude) == expected


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (0.0, "0"),
        (-0.0, "0"),
        (0.12345, "0.123"),
        (48.26, "48.3"),
        (999.7, "1,000"),
        (12345.6, "12,346"),
        (1e-7, "1e-07"),
        (float("inf"), "inf"),
    ],
)
def test_three_digits_matter(value: float, expected: str) -> None:
    assert digits(value) == expected


def test_a_value_is_said_with_its_unit() -> None:
    assert human(0.04826, "seconds") == "48.3 ms"
    assert human(0.914, "ratio") == "91.4 %"
    assert human(5431.0, "") == "5,431"
    assert human(1.7e9, "seconds") == "2023-11-14 22:13:20 UTC"
    assert pair(0.30000012, 0.3, "") == ("0.3000001", "0.3")
    assert pair(1.7e9, 1.8e9, "seconds") == ("2023-11-14 22:13:20 UTC", "2027-01-15 08:00:00")
    assert (human(1.0, "devices"), human(2.0, "devices")) == ("1 device", "2 devices")
    assert (human(1.0, "seconds"), human(1.0, "bytes")) == ("1 s", "1 B")


def test_no_value_is_a_dash() -> None:
    assert human(None, "seconds") == "–"


def test_nouns_follow_the_number() -> None:
    assert counted(1, "value") == "1 value"
    assert counted(5431, "value") == "5,431 values"
    assert counted(2, "series", "series") == "2 series"


@pytest.mark.parametrize(
    ("value", "unit", "expected"),
    [
        (0.0042, "seconds", "+4.2 ms"),
        (-2048.0, "bytes", "−2 KiB"),
        (-0.031, "ratio", "−3.1 pp"),
        (2.5, "percent", "+2.5 pp"),
        (0.0, "seconds", "±0"),
        (-12.0, "", "−12"),
    ],
)
def test_a_change_is_said_with_its_sign(value: float, unit: str, expected: str) -> None:
    assert signed(value, unit) == expected


@pytest.mark.parametrize(
    ("change", "before", "unit", "expected"),
    [
        (1.0, 8.0, "seconds", "+12.5 %"),
        (-1.0, -8.0, "", "−12.5 %"),
        (0.1, 0.5, "ratio", ""),
        (1.0, 0.0, "seconds", ""),
        (0.0, 5.0, "seconds", ""),
    ],
)
def test_a_change_is_said_beside_what_was(
    change: float, before: float, unit: str, expected: str
) -> None:
    assert share(change, before, unit) == expected


@pytest.mark.parametrize(
    ("value", "shown"),
    [(1.7e9, "2023-11-14 22:13:20"), (-9.22e15, "-9,220,000,000,000,000"), (9.22e15, "9,220,000,000,000,000")],
)  # fmt: skip
def test_an_extreme_beside_moments_is_a_number(value: float, shown: str) -> None:
    assert in_scale(value, EPOCH) == shown
