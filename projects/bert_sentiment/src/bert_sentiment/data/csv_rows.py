"""Rows of CSV and TSV files, in which a quote that is never closed costs one row and not the rest of the file.

Python's csv module reads such a cell to the next quote, wherever that is. Here a record that turns out broken gives
its lines back, except the first.
"""

import csv
from collections import deque
from collections.abc import Iterable, Iterator

MAX_CELL = 1 << 20
"""Characters of the longest cell that is taken for a text."""

TOO_LONG = "a cell above 1 MB"
UNCLOSED = "a quote that is not closed"


class _Lines:
    """Lines of a file, of which the ones handed out for the present record can be put back."""

    def __init__(self, file: Iterator[str]) -> None:
        self._file = file
        self._returned: deque[str] = deque()
        self.record: list[str] = []
        self.ended = False

    def __iter__(self) -> Iterator[str]:
        return self

    def __next__(self) -> str:
        line = self._returned.popleft() if self._returned else next(self._file, None)
        if line is None:
            self.ended = True
            raise StopIteration
        self.record.append(line)
        return line

    def begin_record(self) -> None:
        self.record, self.ended = [], False

    def keep_first(self) -> str:
        """Put all lines of the record back but its first, which is returned."""
        first, *rest = self.record
        self._returned.extendleft(reversed(rest))
        self.record = [first]
        return first


def csv_records(file: Iterable[str], delimiter: str) -> Iterator[tuple[int, list[str] | str]]:
    """(line, cells) of each record, or (line, what is wrong with it). `line` is the one on which it begins.

    Quotes are read as RFC 4180 has it. Tab-separated files are often written without any quoting, so that a quote is
    part of the text: where a quoted cell does not work out, their line is cut at its tabs.
    """
    # Python's own limit is an eighth of it. The setting belongs to the whole process: it is only ever raised, and may
    # be above ours already.
    csv.field_size_limit(max(csv.field_size_limit(), MAX_CELL))
    lines = _Lines(iter(file))
    reader = csv.reader(lines, delimiter=delimiter, strict=True)
    number = 1
    while True:
        lines.begin_record()
        try:
            cells = next(reader, None)
        except csv.Error:
            cells = _mend(lines, delimiter)
        if not lines.record:
            return
        if cells and any(len(cell) > MAX_CELL for cell in cells):
            cells = _mend(lines, delimiter)
        if delimiter == "\t" and _swallowed_rows(lines.record):
            cells = _mend(lines, delimiter)
        if cells:
            yield number, cells
        number += len(lines.record)


def _swallowed_rows(record: list[str]) -> bool:
    """Whether a quoted cell over several lines took in whole rows: each line has as many tabs as the first."""
    return len(record) > 1 and all(line.count("\t") == record[0].count("\t") for line in record[1:])


def _mend(lines: _Lines, delimiter: str) -> list[str] | str:
    """The cells of the first line of a record that the strict reader refuses, or what is wrong with it."""
    n_lines, ended = len(lines.record), lines.ended
    first = lines.keep_first()
    if len(first) > MAX_CELL:
        return TOO_LONG
    if delimiter == "\t":
        return first.rstrip("\r\n").split("\t")
    if n_lines > 1 or ended:
        return UNCLOSED
    # A quote inside a quoted cell that is not doubled, all on one line: "he said "no" to me",1
    return next(csv.reader([first], delimiter=delimiter))


def sniff_delimiter(header: str) -> str:
    """Comma, semicolon or tab: the one that cuts the header into most columns."""
    return max(",;\t", key=lambda delimiter: len(next(csv.reader([header[:10_000]], delimiter=delimiter), [])))
