"""Text files of unknown origin: their encoding, and their lines however long these are."""

import codecs
import csv
import hashlib
from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TextIO

from roadmap_shared.errors import UserError

MAX_LINE = 16_000_000
"""Characters of a line, or of a cell with its line breaks, that are held in memory."""

_BLOCK = 1 << 20


@dataclass(frozen=True)
class Survey:
    """What one pass over a file's bytes tells."""

    encoding: str
    """utf-8, utf-8-sig (with a byte order mark) or latin-1."""

    sha256: str
    first_bad_byte: int | None
    """Where the file stops being UTF-8; None if it is UTF-8."""


def survey(path: Path) -> Survey:
    """Read a file once, in blocks, for its encoding and its digest.

    Raises:
        UserError: the file cannot be read, or is no text.
    """
    digest, decoder = hashlib.sha256(), codecs.getincrementaldecoder("utf-8")()
    begins, position, bad = b"", 0, None
    try:
        with path.open("rb") as file:
            while block := file.read(_BLOCK):
                begins = begins or block
                digest.update(block)
                if bad is None:
                    bad = _bad_byte(decoder, block, position)
                position += len(block)
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror})") from error
    if bad is None and decoder.getstate()[0]:
        bad = position - len(decoder.getstate()[0])
    if begins.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        raise UserError(f"{path}: is UTF-16: save it as UTF-8 first")
    if b"\0" in begins[:4096]:
        raise UserError(f"{path}: is no text file (zero bytes in it): save it as CSV or JSON lines in UTF-8 first")
    encoding = "utf-8-sig" if begins.startswith(codecs.BOM_UTF8) else "utf-8"
    return Survey("latin-1" if bad is not None else encoding, digest.hexdigest(), bad)


def _bad_byte(decoder: codecs.IncrementalDecoder, block: bytes, position: int) -> int | None:
    """Where in the file the block stops being UTF-8."""
    kept = len(decoder.getstate()[0])
    try:
        decoder.decode(block)
    except UnicodeDecodeError as error:
        return position - kept + error.start
    return None


@dataclass(frozen=True)
class Line:
    """A physical line with its end-of-line characters. `whole` is False where it is cut at `MAX_LINE`."""

    number: int
    text: str
    whole: bool = True


class Lines:
    """The lines of a file in order; lines that were taken can be put back."""

    def __init__(self, file: TextIO) -> None:
        self._file = file
        self._waiting: deque[Line] = deque()
        self._number = 0

    def __iter__(self) -> Iterator[Line]:
        return self

    def __next__(self) -> Line:
        if self._waiting:
            return self._waiting.popleft()
        text = self._file.readline(MAX_LINE)
        if not text:
            raise StopIteration
        self._number += 1
        whole = len(text) < MAX_LINE or text.endswith(("\n", "\r"))
        if not whole:
            while (rest := self._file.readline(MAX_LINE)) and not rest.endswith(("\n", "\r")):
                pass
        return Line(self._number, text, whole)

    def put_back(self, lines: Iterable[Line]) -> None:
        """The lines come again, in their order, before any other."""
        self._waiting.extendleft(reversed(list(lines)))


@dataclass(frozen=True)
class Record:
    """Cells of one CSV record and the line on which it begins, or why it is none."""

    line: int
    cells: list[str]
    broken: str | None = None


def csv_records(lines: Lines, delimiter: str, n_cells: int | None = None) -> Iterator[Record]:
    """Records of a CSV file, each with `n_cells` cells where that is given; blank lines are skipped.

    A quote that is never closed would swallow the rest of the file. So a record of several lines that turns out to be
    broken costs its first line only: the others are read again, each as the beginning of a record.
    """
    # The limit is one for the whole process; the standard one is 131,072 characters.
    csv.field_size_limit(max(csv.field_size_limit(), MAX_LINE))
    while True:
        taken: list[Line] = []
        try:
            cells = next(csv.reader(_texts(lines, taken), delimiter=delimiter, strict=True))
            broken = None if not cells or n_cells in (None, len(cells)) else _miscounted(len(cells), n_cells)
        except StopIteration:
            return
        except csv.Error as error:
            cells, broken = [], f"the line is no {'TSV' if delimiter == chr(9) else 'CSV'}: {error}"
        if broken is not None:
            lines.put_back(taken[1:])
            literal = taken[0].text.rstrip("\r\n").split("\t") if delimiter == "\t" and taken[0].whole else []
            if len(literal) == n_cells:
                # Many TSV files quote nothing: there a quote is a character like any other.
                cells, broken = literal, None
        if cells or broken is not None:
            yield Record(taken[0].number, cells, broken)


def _texts(lines: Lines, taken: list[Line]) -> Iterator[str]:
    size = 0
    for line in lines:
        taken.append(line)
        size += len(line.text)
        if not line.whole or size > 2 * MAX_LINE:
            raise csv.Error(f"more than {MAX_LINE:,} characters")
        yield line.text


def _miscounted(found: int, expected: int | None) -> str:
    return f"the line has {found} {'cell' if found == 1 else 'cells'}, the header {expected}"
