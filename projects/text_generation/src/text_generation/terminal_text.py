"""What others have written, made fit for a terminal."""

import sys
import unicodedata
from collections.abc import Sequence

_MOST_LINES = 10
_BIDI = frozenset("\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")


def harmless(text: str) -> str:
    """The text with a sign for all that could steer a terminal, such as an escape sequence that clears the screen."""
    return "".join(
        "\N{REPLACEMENT CHARACTER}"
        if sign not in "\n\t" and (unicodedata.category(sign) in ("Cc", "Cs") or sign in _BIDI)
        else sign
        for sign in text
    )


def shown(text: str) -> str:
    """What to print to standard output: `harmless` on a terminal; as it is where a file or a program takes it."""
    return harmless(text) if sys.stdout.isatty() else text


def told(rejects: Sequence[object]) -> list[str]:
    """What could not be used, for a terminal: a line for each, the first ten at most, and how many more there are."""
    lines = [harmless(f"passed over: {reject}") for reject in rejects[:_MOST_LINES]]
    n_more = len(rejects) - _MOST_LINES
    return [*lines, f"passed over: {n_more:,} more"] if n_more > 0 else lines
