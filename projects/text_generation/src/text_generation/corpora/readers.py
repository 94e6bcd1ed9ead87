"""Texts from files and folders: one document each, or a reject with the line it stands on.

A row that cannot be used is handed on as a `Reject`; a file that cannot be read is a `UserError`.
"""

import gzip
import json
import zlib
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

from roadmap_shared.errors import UserError, did_you_mean, one_line
from text_generation.corpora.splitting import text_group
from text_generation.corpora.types import Document, Reject
from text_generation.json_lines import BrokenJsonError, numbered_lines, parsed

TEXT_SUFFIXES = (".txt", ".md", ".py")
TABLE_SUFFIXES = (".jsonl", ".json", ".parquet")
TEXT_COLUMNS = ("text", "story", "content", "code", "document", "completion")
_FORMATS = "use .txt, .md, .py, .jsonl, .json (each also as .gz), .parquet, or a folder of .txt, .md and .py files"
_ARCHIVES = {b"PK": "a zip archive", b"PAR1": "a Parquet file", b"\x1f\x8b": "a gzip archive", b"%PDF": "a PDF"}


def read_path(path: Path, separator: str, text_column: str | None) -> Iterator[Document | Reject]:
    """The documents of a file or folder, one after the other.

    Args:
        path: what to read; the name tells the format.
        separator: stands between the documents of a text file.
        text_column: column of a table that holds the text; None looks for one of `TEXT_COLUMNS`.

    Raises:
        UserError: there is nothing at the path, or neither a file nor a folder; it is empty, damaged, binary or not
            UTF-8, its name has none of the known endings, or there is no such column.
    """
    if not path.exists():
        neighbours = [entry.name for entry in path.parent.iterdir()] if path.parent.is_dir() else []
        hint = did_you_mean(path.name, neighbours)
        raise UserError(f"{path}: there is no such file or folder. {hint or 'Check --data.path'}")
    if path.is_dir():
        yield from _read_folder(path, separator)
        return
    if not path.is_file():  # a named pipe would be waited for without end
        raise UserError(f"{path}: is neither a file nor a folder")
    suffix = _suffix(path)
    if suffix == ".parquet":
        yield from table_documents(_parquet_rows(path), text_column, path.name)
    elif suffix in TABLE_SUFFIXES:
        rows = _json_rows(_read_text(path), path, whole=suffix == ".json")
        yield from table_documents(rows, text_column, path.name)
    elif suffix in TEXT_SUFFIXES:
        yield from _text_documents(_read_text(path), path.name, separator)
    else:
        raise UserError(f"{path}: cannot tell its format by its name: {_FORMATS}")


def document(text: str, source: str) -> Document | Reject:
    """A document with the line ends of Unix, without blank lines around it and with one line end at its end."""
    text = text.replace("\r\n", "\n").replace("\r", "\n").strip("\n")
    if not text.strip():
        return Reject(source, "no text")
    if "\0" in text:
        return Reject(source, "holds a zero byte")
    try:
        text.encode()
    except UnicodeEncodeError:
        return Reject(source, "holds half of a surrogate pair, which no UTF-8 text can")
    return Document(f"{text}\n", "text", source, text_group(text))


def table_documents(
    rows: Iterable[tuple[int, dict[str, Any] | str]], text_column: str | None, name: str
) -> Iterator[Document | Reject]:
    """A document for each row.

    Args:
        rows: (line or number of the row, its cells or the problem with it).
        text_column: column that holds the text; None takes the first of `TEXT_COLUMNS` that the first row has.
        name: of the table, for the sources and in messages.
    """
    column = text_column
    for line, row in rows:
        source = f"{name}:{line}"
        if isinstance(row, str):
            yield Reject(source, row)
            continue
        if column is None or (column not in row and column == text_column):
            column = _pick_column(row, text_column, name)
        text = row.get(column)
        yield document(text, source) if isinstance(text, str) else Reject(source, f"no text in '{column}'")


def _pick_column(row: dict[str, Any], wanted: str | None, name: str) -> str:
    if wanted is not None and wanted in row:
        return wanted
    if wanted is not None:
        hint = did_you_mean(wanted, row) or f"It has {', '.join(row)}."
        raise UserError(f"{name}: has no column '{wanted}'. {hint}")
    if found := next((column for column in TEXT_COLUMNS if column in row), None):
        return found
    raise UserError(f"{name}: which column holds the text? Name one of {', '.join(row)} with --data.text_column")


def _read_folder(folder: Path, separator: str) -> Iterator[Document | Reject]:
    """The text files below the folder in the order of their names; a file that cannot be read is rejected."""
    paths = sorted(
        path
        for path in folder.rglob("*")
        if _suffix(path) in TEXT_SUFFIXES and path.is_file() and not _is_hidden(path.relative_to(folder))
    )
    if not paths:
        raise UserError(f"{folder}: no .txt, .md or .py files in this folder")
    for path in paths:
        name = str(path.relative_to(folder))
        try:
            text = _read_text(path)
        except UserError as error:
            yield Reject(name, str(error).removeprefix(f"{path}: "))
            continue
        yield from _text_documents(text, name, separator)


def _is_hidden(path: Path) -> bool:
    return any(part.startswith(".") or part == "__pycache__" for part in path.parts)


def _text_documents(text: str, name: str, separator: str) -> Iterator[Document | Reject]:
    """The parts between separators; blank ones, as at the end of a file, are nothing to speak of."""
    line = 1
    for part in text.split(separator):
        if part.strip():
            blank_before = len(part) - len(part.lstrip("\r\n"))
            yield document(part, f"{name}:{line + part[:blank_before].count(chr(10))}")
        line += part.count("\n")


def _suffix(path: Path) -> str:
    """What the name ends in, in small letters, without .gz."""
    return (path.with_suffix("") if path.suffix == ".gz" else path).suffix.lower()


def _read_text(path: Path) -> str:
    """The characters of a UTF-8 file, unpacked when its name ends in .gz."""
    try:
        data = path.read_bytes()
        if path.suffix == ".gz":
            data = gzip.decompress(data)
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise UserError(f"{path}: is a damaged gzip archive: copy it again") from error
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror})") from error
    if not data.strip():
        raise UserError(f"{path}: is empty: there is no text in it")
    if kind := next((kind for magic, kind in _ARCHIVES.items() if data.startswith(magic)), None):
        raise UserError(f"{path}: is {kind}, not text: {_FORMATS}")
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise UserError(
            f"{path}: is not UTF-8 (byte 0x{data[error.start]:02x} on line {line}): convert it first, for example "
            "with iconv -f latin1 -t utf-8"
        ) from error


def _json_rows(text: str, path: Path, whole: bool) -> Iterator[tuple[int, dict[str, Any] | str]]:
    """Rows of JSON lines, or of a file that is one array of objects, numbered from 1."""
    if whole and text.lstrip().startswith("["):
        try:
            records = parsed(text)
        except BrokenJsonError as error:
            raise UserError(f"{path}: is no sound JSON ({_json_problem(error)}): mend it or write it again") from error
        for number, record in enumerate(records, start=1):
            yield number, record if isinstance(record, dict) else "no JSON object"
        return
    for number, line in numbered_lines(text):
        yield number, _json_row(line)


def _json_row(line: str) -> dict[str, Any] | str:
    try:
        record = parsed(line)
    except BrokenJsonError as error:
        return f"no JSON ({_json_problem(error)})"
    return record if isinstance(record, dict) else "no JSON object"


def _json_problem(error: BrokenJsonError) -> str:
    column = "" if error.column is None else f" at column {error.column}"
    # What `parsed` reads is a line as a rule; the parser's own error knows of which.
    cause = error.__context__
    line = f" of line {cause.lineno}" if isinstance(cause, json.JSONDecodeError) and cause.lineno > 1 else ""
    return f"{error.problem.lower() if column else error.problem}{column}{line}"


def _parquet_rows(path: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    import pyarrow
    from pyarrow import parquet

    number = 0
    try:
        with parquet.ParquetFile(path) as file:
            for batch in file.iter_batches():
                for row in batch.to_pylist():
                    number += 1
                    yield number, row
    except (OSError, pyarrow.ArrowException) as error:
        raise UserError(f"{path}: is no sound Parquet file ({one_line(error)[:120]}): write it again") from error


Announce = Callable[[str], None]
"""Is told what a user should know: rows that were left out, texts that were read."""
