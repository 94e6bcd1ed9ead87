"""Objects of JSON files with the line on which each begins: one a line, or an array of them."""

import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from roadmap_shared.errors import UserError

BROKEN = "broken JSON"


def json_lines(lines: Iterable[str]) -> Iterator[tuple[int, dict[str, Any] | str]]:
    """(line, object) of a JSONL file, or (line, what is wrong with it). Empty lines are passed over."""
    for number, line in enumerate(lines, start=1):
        if line.strip():
            yield number, _object(line)


def _object(line: str) -> dict[str, Any] | str:
    try:
        value = json.loads(line)
    except (json.JSONDecodeError, RecursionError) as error:
        return f"{BROKEN}: {error.msg}" if isinstance(error, json.JSONDecodeError) else BROKEN
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
        except (json.JSONDecodeError, RecursionError) as error:
            raise UserError(f"{path}: {BROKEN} at line {line}: mend it, or write one object a line (JSONL)") from error
        yield line, value if isinstance(value, dict) else "no JSON object"
        start = _skip(text, end)


def _skip(text: str, position: int) -> int:
    """The next position that is neither blank nor comma."""
    while position < len(text) and text[position] in " \t\r\n,":
        position += 1
    return position
