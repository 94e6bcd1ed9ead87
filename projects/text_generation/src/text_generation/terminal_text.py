"""What others have written, made fit for a terminal."""

import unicodedata

_BIDI = frozenset("\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")


def harmless(text: str) -> str:
    """The text with a sign for all that could steer a terminal, such as an escape sequence that clears the screen."""
    return "".join(
        "\N{REPLACEMENT CHARACTER}"
        if sign not in "\n\t" and (unicodedata.category(sign) in ("Cc", "Cs") or sign in _BIDI)
        else sign
        for sign in text
    )
