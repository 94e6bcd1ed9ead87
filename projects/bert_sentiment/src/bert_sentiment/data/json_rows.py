"""Objects of JSON files with the line on which each begins: one a line, or an array of them."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from bert_sentiment.data.lines import LINE_TOO_LONG, Line, Lines
from roadmap_shared.errors import UserError

BROKEN = "broken JSON"


def json_lines(lines: Lines) -> Iterator[tuple[Line, dict[str, Any] | str]]:
    """Each line of a JSONL file with the object on it, or with what is wrong with it. Empty lines are passed over."""
    return ((line, _object(line)) for line in lines.not_blank())


def _object(line: Line) -> dict[str, Any] | str:
    if not line.whole:
        return LINE_TOO_LONG
    try:
        value = json.loads(line.text)
    except json.JSONDecodeError as error:
        return f"{BROKEN}: {error.msg}"
    except (ValueError, RecursionError):  # a number of thousands of digits; thousands of brackets
        return BROKEN
    return value if isinstance(value, dict) else "no JSON object"


def json_array(text: str, path: Path) -> Iterator[tuple[int, dict[str, Any] | str]]:
    """(line, object) of each element of `[{…}, {…}]`.

    Raises:
        UserError: an element is no JSON, behind which nothing can be told apart.
    """
    decoder = json.JSONDecoder()
    line, position = 1, 0
    start = _skip(text, text.index("[") + 1)
    while start < len(text) and text[start] != "]":
        line += text.count("\n", position, start)
        position = start
        try:
            value, end = decoder.raw_decode(text, start)
        except (ValueError, RecursionError) as error:
            raise UserError(f"{path}: {BROKEN} at line {line}: mend it, or write one object a line (JSONL)") from error
        yield line, value if isinstance(value, dict) else "no JSON object"
        start = _skip(text, end)


def _skip(text: str, position: int) -> int:
    """The next position that is neither blank nor comma."""
    while position < len(text) and text[position] in " \t\r\n,":
        position += 1
    return position
