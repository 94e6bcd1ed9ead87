"""Rows of a .jsonl, .jsonl.gz or .json file, each with its place; a bad row is told apart from a bad file."""

import gzip
import json
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from roadmap_shared.errors import UserError
from text_generation.json_lines import HALF_PAIR, BrokenJsonError, has_half_pair, numbered_lines, parsed

_ENDINGS = (".jsonl", ".jsonl.gz", ".json")


class RowError(Exception):
    """Why a row cannot be used."""


@dataclass(frozen=True)
class Row:
    """One JSON object, or what is wrong with it."""

    line: int
    fields: dict[str, Any] = field(default_factory=dict)
    error: str = ""


def read_rows(path: Path) -> Iterator[Row]:
    """Every row of a file but the empty ones.

    Raises:
        UserError: the file is missing or damaged, is no UTF-8, or has another ending.
    """
    if not path.name.endswith(_ENDINGS):
        raise UserError(f"{path}: problems are read from {', '.join(_ENDINGS)}")
    text = _text(path)
    if path.name.endswith(".json"):
        yield from _entries(path, text)
        return
    for number, line in numbered_lines(text):
        try:
            value = parsed(line)
        except BrokenJsonError as error:
            yield Row(number, error=f"no JSON: {error.problem}")
        else:
            yield _row(number, value)


def text_field(row: Row, name: str, *, optional: bool = False) -> str:
    """A field's text; a number, as MBPP's task_id is, becomes text.

    Raises:
        RowError: it is missing, empty or no text.
    """
    value = row.fields.get(name)
    if optional and value in (None, ""):
        return ""
    if isinstance(value, int) and not isinstance(value, bool):
        return str(value)
    if not isinstance(value, str) or not value.strip():
        raise RowError(f"'{name}' is {'missing' if value is None else 'no text' if value else 'empty'}")
    return value.replace("\r\n", "\n")


def texts_field(row: Row, name: str) -> tuple[str, ...]:
    """A field's list of texts.

    Raises:
        RowError: it is missing, empty or something else.
    """
    value = row.fields.get(name)
    if not isinstance(value, list) or not value or not all(isinstance(item, str) for item in value):
        raise RowError(f"'{name}' is no list of texts")
    return tuple(item.replace("\r\n", "\n") for item in value)


def _text(path: Path) -> str:
    try:
        data = gzip.decompress(path.read_bytes()) if path.name.endswith(".gz") else path.read_bytes()
        return data.decode("utf-8-sig")
    except FileNotFoundError:
        raise UserError(f"{path}: no such file. Give a HumanEval or MBPP file with --data.path.") from None
    except UnicodeDecodeError as error:
        line = error.object[: error.start].count(b"\n") + 1
        raise UserError(f"{path}: line {line} is not UTF-8. Convert the file to UTF-8.") from None
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise UserError(f"{path}: damaged gzip file ({error}). Fetch it again.") from None
    except OSError as error:
        raise UserError(f"{path}: {error.strerror or error}") from None


def _entries(path: Path, text: str) -> Iterator[Row]:
    try:
        content = parsed(text)
    except BrokenJsonError as error:
        raise UserError(f"{path}: no JSON: {error.__context__ if error.column else error}") from None
    entries = list(content.values()) if isinstance(content, dict) else content
    if not isinstance(entries, list):
        raise UserError(f"{path}: expected a list of problems, found a {type(content).__name__}")
    for number, entry in enumerate(entries, start=1):
        yield _row(number, entry)


def _row(number: int, value: Any) -> Row:
    if has_half_pair(value):
        return Row(number, error=f"holds {HALF_PAIR}")
    if isinstance(value, dict):
        return Row(number, value)
    try:
        shown = json.dumps(value)[:40]
    except RecursionError:
        shown = "lists in lists"
    return Row(number, error=f"a JSON object is expected, not {shown}")
