import math

import pytest

from roadmap_shared.metrics import Interval
from roadmap_shared.report import format_interval, format_number
from roadmap_shared.report.formatting import format_column, format_seconds


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0, "0"),
        (-1234567, "-1,234,567"),
        (1.61842, "1.618"),
        (0.5, "0.5"),
        (104.26, "104.3"),
        (12345.6, "12,346"),
        (0.00123456, "0.001235"),
        (0.00002, "2e-05"),
        (3.2e9, "3.2e+09"),
        (0.0, "0"),
        (math.nan, "–"),
        (math.inf, "∞"),
        (-math.inf, "−∞"),
    ],
)
def test_number(value: float, text: str) -> None:
    assert format_number(value) == text


@pytest.mark.parametrize(
    ("interval", "texts"),
    [
        (Interval(1.61842, 1.59718, 1.64011), ("1.618", "1.597 to 1.640")),
        (Interval(0.9, 0.1, 1.0), ("0.90", "0.10 to 1.00")),
        (Interval(1834.2, 1500.0, 2211.0), ("1,834", "1,500 to 2,211")),
        (Interval(1.0, 1.0, 1.0), ("1.000", "1.000 to 1.000")),
    ],
)
def test_interval_has_two_digits_of_its_width(interval: Interval, texts: tuple[str, str]) -> None:
    assert format_interval(interval) == texts


@pytest.mark.parametrize(
    ("values", "texts"),
    [
        ([1, 20_000], ["1", "20,000"]),
        ([0.4, 104.2, 98.1], ["0.4", "104.2", "98.1"]),
        ([0.99312, 12.3], ["0.993", "12.300"]),
        ([2.47113, 1.905, math.nan], ["2.471", "1.905", "–"]),
        ([1e-5, 2.0], ["1e-05", "2"]),
        ([0.0, math.nan], ["0", "–"]),
        ([], []),
    ],
)
def test_column_shares_its_decimals(values: list[float], texts: list[str]) -> None:
    assert format_column(values) == texts


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (4.24, "4.2 s"),
        (59.96, "1 min 00 s"),
        (185.2, "3 min 05 s"),
        (3599.7, "1 h 00 min"),
        (7640, "2 h 07 min"),
    ],
)
def test_seconds(seconds: float, text: str) -> None:
    assert format_seconds(seconds) == text
