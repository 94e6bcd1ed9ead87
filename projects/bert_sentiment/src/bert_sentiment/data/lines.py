"""Lines of a text file, however long they are: what does not fit into memory is passed over, not read."""

from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import TextIO

MAX_LINE = 16_000_000
"""Characters of a line, or of a cell with its line breaks, that are held in memory."""

LINE_TOO_LONG = "a line above 16 MB"


@dataclass(frozen=True, slots=True)
class Line:
    """A physical line with its end-of-line characters. `whole` is False where it is cut at `MAX_LINE`."""

    number: int
    text: str
    whole: bool = True


class Lines:
    """The lines of a file in order, counted from 1; lines that were taken can be put back."""

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

    def not_blank(self) -> Iterator[Line]:
        """The lines with something in them."""
        return (line for line in self if line.text.strip())
