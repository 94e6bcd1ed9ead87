"""Text laid out for a terminal: columns that count a Chinese character as two, lines that end at words."""

import re
import shutil
import sys
import unicodedata
from collections.abc import Sequence

WIDEST = 100
"""Columns of a line at most: longer ones are hard to read."""

_ESCAPE = re.compile(r"\x1b\[[\d;]*m")
_WIDE = (
    r"\u1100-\u115f\u2e80-\ua4cf\uac00-\ud7a3\uf900-\ufaff\ufe30-\ufe6f\uff00-\uff60\uffe0-\uffe6\U00020000-\U0003ffff"
)
_CLOSING = r"。，、；：？！）】》」』”’…%"
_ATOM = re.compile(rf"\x1b\[[\d;]*m|\s+|[{_WIDE}“‘][{_CLOSING}]*|[^\s\x1b{_WIDE}“‘]+[{_CLOSING}]*")
"""What a line is not broken within: a word, or one wide character with the punctuation that may not begin a line."""


def columns() -> int | None:
    """Columns to fill; None where a file or a program reads the output, whose lines are left whole."""
    return min(shutil.get_terminal_size().columns, WIDEST) if sys.stdout.isatty() else None


def width(text: str) -> int:
    """Columns that the text takes up; escape sequences take none."""
    return sum(_sign_width(sign) for sign in _ESCAPE.sub("", text))


def _sign_width(sign: str) -> int:
    if unicodedata.combining(sign) or unicodedata.category(sign) == "Cf":
        return 0
    return 2 if unicodedata.east_asian_width(sign) in "WF" else 1


def wrapped(text: str, indent: str = "", first: str | None = None, limit: int | None = None) -> str:
    """The text on lines of at most `limit` columns.

    Args:
        text: one paragraph; blanks count as one, line breaks as blanks.
        indent: what stands before each line.
        first: what stands before the first one instead.
        limit: None leaves one line.
    """
    begin = indent if first is None else first
    text = " ".join(text.split())
    if limit is None:
        return begin + text
    lines, line, used = [], begin, width(begin)
    empty = True
    for atom in _ATOM.findall(text):
        size = width(atom)
        if not empty and size and used + width(atom.rstrip()) > limit:
            lines.append(line.rstrip())
            line, used, empty = indent, width(indent), True
        if empty and atom.isspace():
            continue
        line, used = line + atom, used + size
        empty = empty and not size
    return "\n".join([*lines, line.rstrip()])


def fitted(rows: Sequence[Sequence[str]], limit: int | None) -> list[str]:
    """As `aligned`; a table that is too wide in several, one below the other, each with the first column."""
    lines = aligned(rows)
    if limit is None or len(rows[0]) < 3 or max(map(width, lines)) <= limit:
        return lines
    last = next(
        (end for end in range(len(rows[0]) - 1, 2, -1) if max(map(width, aligned([r[:end] for r in rows]))) <= limit), 2
    )
    return [*aligned([row[:last] for row in rows]), "", *fitted([[row[0], *row[last:]] for row in rows], limit)]


def remarked(rows: Sequence[Sequence[str]], limit: int | None) -> list[str]:
    """As `aligned`, the last column wrapped: it holds a sentence."""
    fronts = aligned([[*row[:-1], ""] for row in rows])
    begin = max(map(width, fronts)) + 2
    return [
        wrapped(row[-1], " " * begin, front + " " * (begin - width(front)), limit) if row[-1] else front
        for row, front in zip(rows, fronts, strict=True)
    ]


def aligned(rows: Sequence[Sequence[str]], numbers: Sequence[int] = ()) -> list[str]:
    """Rows of equal length with their columns below each other; the columns `numbers` end below each other."""
    widths = [max(map(width, column)) for column in zip(*rows, strict=True)]
    return [
        "  ".join(
            " " * (size - width(cell)) + cell if place in numbers else cell + " " * (size - width(cell))
            for place, (cell, size) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in rows
    ]
