"""A citation within its surroundings, for terminals and for web pages."""

import html

from rag_qa.types import Citation, Retrieved

_BOLD, _PLAIN = "\x1b[1;33m", "\x1b[0m"


def snippet(item: Retrieved, citation: Citation, around: int = 120) -> tuple[str, str, str]:
    """What stands before the quote, the quote, and what stands behind it, at most `around` characters each.

    Raises:
        ValueError: the citation is not of this chunk.
    """
    chunk = item.chunk
    start, end = citation.start - chunk.start, citation.end - chunk.start
    if citation.source != chunk.source or start < 0 or chunk.text[start:end] != citation.quote:
        raise ValueError(f"the citation of {citation.source} [{citation.start}, {citation.end}) is not of this chunk")
    first, last = max(0, start - around), min(len(chunk.text), end + around)
    # Whole words: cut at the first blank, where there is one.
    if first and " " in chunk.text[first:start]:
        first = chunk.text.index(" ", first) + 1
    if last < len(chunk.text) and " " in chunk.text[end:last]:
        last = chunk.text.rindex(" ", end, last)
    before = ("…" if first else "") + chunk.text[first:start]
    return before, citation.quote, chunk.text[end:last] + ("…" if last < len(chunk.text) else "")


def highlight_terminal(item: Retrieved, citation: Citation, around: int = 120, *, colour: bool = True) -> str:
    """The snippet on one line, the quote in bold; control characters of the document are taken out."""
    before, quote, behind = (_one_line(part) for part in snippet(item, citation, around))
    return f"{before}{_BOLD}{quote}{_PLAIN}{behind}" if colour else f"{before}»{quote}«{behind}"


def highlight_html(item: Retrieved, citation: Citation, around: int = 120) -> str:
    """The snippet with the quote in <mark>; everything that comes from the document is escaped."""
    before, quote, behind = (html.escape(part) for part in snippet(item, citation, around))
    return f"{before}<mark>{quote}</mark>{behind}"


def _one_line(text: str) -> str:
    visible = "".join(sign if sign.isprintable() else " " for sign in text)
    return " ".join(visible.split()) if visible.strip() == visible else _keeping_ends(visible)


def _keeping_ends(text: str) -> str:
    left = " " if text[:1].isspace() else ""
    right = " " if text[-1:].isspace() and text.strip() else ""
    return left + " ".join(text.split()) + right
