"""CSV and TSV files: delimiter, header, and records, of which a broken one costs itself and not the rest of the file.

Python's csv module reads a quote that is never closed to the next quote, wherever that is. Here a record that turns out
broken gives its lines back, except the first, and each is read again as the beginning of a record.
"""

import csv
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import TextIO

from bert_sentiment.data.encodings import suffix_of
from bert_sentiment.data.lines import LINE_TOO_LONG, MAX_LINE, Line, Lines
from roadmap_shared.errors import UserError

UNCLOSED = "a quote that is not closed: close it, or write a quote inside a cell twice"
_NAMES = {",": "comma", ";": "semicolon", "\t": "tab"}


@dataclass(frozen=True, slots=True)
class Record:
    """Cells of one record and the line on which it begins, or what is wrong with it."""

    line: int
    cells: list[str]
    problem: str | None = None


@dataclass(frozen=True)
class CsvTable:
    """How a file is written, the names of its columns, and its records as a stream."""

    delimiter: str
    line_end: str
    columns: tuple[str, ...]
    records: Iterator[Record]


def read_csv(file: TextIO, path: Path, wanted: Iterable[str | None] = ()) -> CsvTable:
    """The table in an open file.

    Args:
        file: at its beginning, opened with `newline=""`.
        path: where it comes from; the ending .tsv stands for tabs.
        wanted: columns that the caller names. A number that is no column says that the file has no header: its columns
            are then called 1, 2, 3 and so on.

    Raises:
        UserError: the first line is no header.
    """
    lines = Lines(file)
    first = next(lines.not_blank(), None)
    if first is None:
        raise UserError(f"{path}: its first line is no header (it is blank)")
    lines.put_back([first])
    delimiter = "\t" if suffix_of(path) == ".tsv" else sniff_delimiter(first.text)
    header = next(csv_records(lines, delimiter))
    if header.problem:
        raise UserError(f"{path}: its first line is no header ({header.problem})")
    columns = tuple(cell.strip() for cell in header.cells)
    records = csv_records(lines, delimiter, len(columns))
    if any(name and name not in columns and name.isdigit() for name in wanted):
        columns = tuple(str(number) for number in range(1, len(columns) + 1))
        records = chain([header], records)
    return CsvTable(delimiter, "\r\n" if first.text.endswith("\r\n") else "\n", columns, records)


def sniff_delimiter(header: str) -> str:
    """Comma, semicolon or tab: the one that cuts the header into most columns."""
    return max(",;\t", key=lambda delimiter: len(next(csv.reader([header[:10_000]], delimiter=delimiter), [])))


def csv_records(lines: Lines, delimiter: str, n_cells: int | None = None) -> Iterator[Record]:
    """Records of a file, each with `n_cells` cells where that is given; blank lines are passed over.

    Quotes are read as RFC 4180 has it. Tab-separated files are often written without any quoting, so that a quote is
    part of the text: where a quoted cell does not work out, their line is cut at its tabs.
    """
    # Python's own limit is 131,072 characters. The setting belongs to the whole process: it is only ever raised.
    csv.field_size_limit(max(csv.field_size_limit(), MAX_LINE))
    while True:
        taken: list[Line] = []
        try:
            found: list[str] | str = next(csv.reader(_texts(lines, taken), delimiter=delimiter, strict=True))
        except StopIteration:
            return
        except csv.Error:
            found = UNCLOSED
        if isinstance(found, str) or _is_misread(taken, found, delimiter, n_cells):
            lines.put_back(taken[1:])
            found = _first_line(taken[0], delimiter)
        if isinstance(found, str):
            yield Record(taken[0].number, [], found)
        elif found and n_cells not in (None, len(found)):
            yield Record(taken[0].number, [], _ragged(n_cells, len(found), delimiter))
        elif found:
            yield Record(taken[0].number, found)


def _ragged(expected: int | None, found: int, delimiter: str) -> str:
    """What is wrong with a record of another length than the header, and how it is mended."""
    is_longer = expected is not None and found > expected
    remedy = f"put a cell that holds a {_NAMES[delimiter]} in quotes" if is_longer else "add the cells that are missing"
    return f"{expected} columns expected, {found} found: {remedy}"


def _texts(lines: Lines, taken: list[Line]) -> Iterator[str]:
    """The lines of one record, as many as the csv module asks for; all of them are kept in `taken`."""
    size = 0
    for line in lines:
        taken.append(line)
        size += len(line.text)
        if not line.whole or size > 2 * MAX_LINE:
            raise csv.Error(LINE_TOO_LONG)
        yield line.text


def _is_misread(taken: Sequence[Line], cells: list[str], delimiter: str, n_cells: int | None) -> bool:
    """Whether a quote that was meant as text, or left open, has joined what does not belong together: lines that are
    rows by themselves, or in a tab-separated file the cells of one line."""
    is_ragged = n_cells not in (None, len(cells))
    if delimiter != "\t" and not is_ragged:
        return False
    if len(taken) == 1:
        return delimiter == "\t" and is_ragged
    n_delimiters = taken[0].text.count(delimiter) if n_cells is None else n_cells - 1
    return all(line.text.count(delimiter) == n_delimiters for line in taken[1:])


def _first_line(line: Line, delimiter: str) -> list[str] | str:
    """The cells of one line of a record that was not read as it stands, or what is wrong with it."""
    if not line.whole:
        return LINE_TOO_LONG
    if delimiter == "\t":
        return line.text.rstrip("\r\n").split("\t")
    # A quote inside a quoted cell that is not doubled is read as text: "he said "no" to me",1. One that is left open
    # would take in a second line too.
    rows = list(csv.reader([line.text, ""], delimiter=delimiter))
    return rows[0] if len(rows) == 2 else UNCLOSED
