"""Verbatim quotes in wrapped text: white space does not count, everything else does."""


def without_spaces(text: str) -> str:
    """The text without any white space."""
    return "".join(text.split())


def find_quote(text: str, quote: str) -> tuple[int, int] | None:
    """Offsets of the first place where the quote stands in the text, or None.

    White space is ignored on both sides, because a document may be wrapped at another width, and Chinese text may be
    wrapped between any two characters. The span begins and ends with a character that is not white space.

    Raises:
        ValueError: the quote is blank.
    """
    wanted = without_spaces(quote)
    if not wanted:
        raise ValueError("a quote needs at least one character that is not white space")
    start = without_spaces(text).find(wanted)
    if start < 0:
        return None
    places = [place for place, character in enumerate(text) if not character.isspace()]
    return places[start], places[start + len(wanted) - 1] + 1
