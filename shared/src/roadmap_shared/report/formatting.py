"""Numbers as a reader wants them: as many digits as mean something, and not more."""

import math
from collections.abc import Sequence

from roadmap_shared.metrics import Interval

DASH = "\N{EN DASH}"


def format_number(value: int | float) -> str:
    """Integers in full with thousands separators, others to at most 4 significant digits, NaN as a dash."""
    if isinstance(value, int):
        return f"{value:,}"
    return _format_float(value, _decimals_needed(value))


def format_interval(interval: Interval) -> tuple[str, str]:
    """Estimate and "low to high", all three rounded to two significant digits of the interval's width."""
    width = interval.high - interval.low
    decimals = _decimals(interval.estimate)
    if 0 < width < math.inf:
        decimals = min(max(1 - math.floor(math.log10(width)), 0), 6)
    estimate, low, high = (_format_float(v, decimals) for v in (interval.estimate, interval.low, interval.high))
    return estimate, f"{low} to {high}"


def format_column(values: Sequence[int | float]) -> list[str]:
    """Numbers under each other, with the same number of decimals unless their sizes differ too much."""
    if all(isinstance(value, int) for value in values):
        return [format_number(value) for value in values]
    sizes = [abs(value) for value in values if math.isfinite(value) and value]
    if not sizes:
        return [_format_float(value, 0) for value in values]
    if max(sizes) >= 1e6 or min(sizes) < 1e-3:
        return [format_number(value) for value in values]
    most = min(max(_decimals(max(sizes)), _decimals(min(sizes)) - 1), 4)
    decimals = min(most, max(map(_decimals_needed, sizes)))
    return [_format_float(value, decimals) for value in values]


def format_seconds(seconds: float) -> str:
    """A duration: `4.2 s`, `3 min 05 s`, `2 h 07 min`."""
    if seconds < 59.95:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest:02d} s" if minutes < 60 else f"{minutes // 60} h {minutes % 60:02d} min"


def _decimals(value: float) -> int:
    """Decimals that give 4 significant digits."""
    if not math.isfinite(value) or value == 0:
        return 0
    return max(3 - math.floor(math.log10(abs(value))), 0)


def _decimals_needed(value: float) -> int:
    """Decimals of the value at 4 significant digits, without the zeros at its end."""
    return len(f"{value:.{_decimals(value)}f}".partition(".")[2].rstrip("0"))


def _format_float(value: float, decimals: int) -> str:
    if math.isnan(value):
        return DASH
    if math.isinf(value):
        return "∞" if value > 0 else "−∞"
    if value and (abs(value) >= 1e6 or abs(value) < 1e-4):
        return f"{value:.3g}"
    return f"{value:,.{decimals}f}"
