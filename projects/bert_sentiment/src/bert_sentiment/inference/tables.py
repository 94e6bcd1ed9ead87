"""Files with a text a record, read as a stream and written with a label: CSV, TSV, JSON lines, plain text.

Everything else in a record stays: the columns, their order, and in JSON lines the very characters.
"""

import csv
import io
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any, Protocol

from bert_sentiment.data.csv_rows import read_csv
from bert_sentiment.data.encodings import TextFile, suffix_of
from bert_sentiment.data.json_rows import json_lines
from bert_sentiment.data.labelled import TEXT_COLUMNS, usual_column
from bert_sentiment.data.lines import LINE_TOO_LONG, Line, Lines
from bert_sentiment.inference.predictor import Prediction
from roadmap_shared.errors import UserError, did_you_mean

LABEL_COLUMN, PROBABILITY_COLUMN = "predicted_label", "predicted_probability"
OUTPUT_ENDINGS = {".csv": ".csv", ".tsv": ".tsv", ".jsonl": ".jsonl", ".txt": ".csv"}
"""Ending of an input -> that of its output: plain text has no room for a label."""

_ROWS_LOOKED_AT = 100  # JSON lines have no header, and a record may lack a field


@dataclass(frozen=True)
class Row:
    """One record. `number` counts records from 1, `line` the lines of the file; `reason` says why it has no text."""

    number: int
    line: int
    text: str
    content: Any
    """What `labelled` writes again: the cells of the record, or its line."""

    reason: str | None = None


class Table(Protocol):
    """A file of records that can be read again and again."""

    text_column: str

    def header(self) -> str:
        """What the labelled file begins with."""
        ...

    def rows(self) -> Iterator[Row]:
        """The records from the first on."""
        ...

    def labelled(self, row: Row, prediction: Prediction) -> str:
        """The record with its label, as it is written."""
        ...


def open_table(file: TextFile, text_column: str | None) -> Table:
    """The table in a file, by the file's ending, one of `OUTPUT_ENDINGS`.

    Raises:
        UserError: the file has no header, lacks the text column or has several, or is labelled already.
    """
    match suffix_of(file.path):
        case ".jsonl":
            return JsonLinesTable(file, text_column)
        case ".txt":
            return PlainText(file, text_column)
        case _:
            return DelimitedTable(file, text_column)


class DelimitedTable:
    """CSV with the delimiter of its header; TSV. It is written as it was, but for its encoding."""

    def __init__(self, file: TextFile, text_column: str | None) -> None:
        self._file, self._wanted = file, text_column
        with file.open() as text:
            self._table = read_csv(text, file.path, (text_column,))
        columns = list(self._table.columns)
        self.text_column = _text_column(file.path, columns, text_column)
        self._index = columns.index(self.text_column)

    def header(self) -> str:
        mark = "\ufeff" if self._file.encoding.has_mark else ""
        return mark + self._written([*self._table.columns, LABEL_COLUMN, PROBABILITY_COLUMN])

    def rows(self) -> Iterator[Row]:
        with self._file.open() as text:
            for number, record in enumerate(read_csv(text, self._file.path, (self._wanted,)).records, 1):
                cell = "" if record.problem else record.cells[self._index]
                yield Row(number, record.line, cell, record.cells, record.problem)

    def labelled(self, row: Row, prediction: Prediction) -> str:
        return self._written([*row.content, prediction.label, f"{prediction.probability:.6f}"])

    def _written(self, cells: Sequence[str]) -> str:
        return _csv_line(cells, self._table.delimiter, self._table.line_end)


class JsonLinesTable:
    """One JSON object a line."""

    def __init__(self, file: TextFile, text_column: str | None) -> None:
        self._file = file
        columns: dict[str, None] = {}
        for _, record in islice(self._records(), _ROWS_LOOKED_AT):
            columns |= dict.fromkeys(record if isinstance(record, dict) else ())
        if not columns:
            raise UserError(f"{file.path}: none of its first {_ROWS_LOOKED_AT} lines is a JSON object")
        self.text_column = _text_column(file.path, list(columns), text_column)

    def header(self) -> str:
        return ""

    def rows(self) -> Iterator[Row]:
        for number, (line, record) in enumerate(self._records(), 1):
            reason = record if isinstance(record, str) else self._without_text(record)
            text = "" if isinstance(record, str) or reason else record[self.text_column]
            yield Row(number, line.number, text, line.text, reason)

    def labelled(self, row: Row, prediction: Prediction) -> str:
        # The line itself is kept and not written anew: 1.10, 1e400 or a key that comes twice would not survive.
        start = row.content.strip().removesuffix("}").rstrip()
        label = json.dumps(prediction.label, ensure_ascii=False)
        return f'{start}, "{LABEL_COLUMN}": {label}, "{PROBABILITY_COLUMN}": {prediction.probability:.6f}}}\n'

    def _records(self) -> Iterator[tuple[Line, dict[str, Any] | str]]:
        with self._file.open() as text:
            yield from json_lines(Lines(text))

    def _without_text(self, record: dict[str, Any]) -> str | None:
        """Why a record cannot be labelled, or None."""
        text = record.get(self.text_column)
        if text is None:
            return f"has no {self.text_column}"
        if not isinstance(text, str):
            return f"{self.text_column} is {json.dumps(text)[:40]} and no text"
        taken = {LABEL_COLUMN, PROBABILITY_COLUMN} & record.keys()
        return f"has {min(taken)} already" if taken else None


class PlainText:
    """One text a line. It is written as CSV."""

    text_column = "text"

    def __init__(self, file: TextFile, text_column: str | None) -> None:
        if text_column is not None:
            raise UserError(f"{file.path}: has one text a line and no columns: leave --text_column out")
        self._file = file

    def header(self) -> str:
        return _csv_line([self.text_column, LABEL_COLUMN, PROBABILITY_COLUMN], ",", "\n")

    def rows(self) -> Iterator[Row]:
        with self._file.open() as file:
            for number, line in enumerate(Lines(file).not_blank(), 1):
                text = line.text.strip()
                yield Row(number, line.number, text, text, None if line.whole else LINE_TOO_LONG)

    def labelled(self, row: Row, prediction: Prediction) -> str:
        return _csv_line([row.text, prediction.label, f"{prediction.probability:.6f}"], ",", "\n")


def _csv_line(cells: Sequence[str], delimiter: str, line_end: str) -> str:
    buffer = io.StringIO()
    csv.writer(buffer, delimiter=delimiter, lineterminator=line_end).writerow(cells)
    return buffer.getvalue()


def _text_column(path: Path, columns: list[str], wanted: str | None) -> str:
    if taken := [name for name in (LABEL_COLUMN, PROBABILITY_COLUMN) if name in columns]:
        raise UserError(f"{path}: has a column {taken[0]} already: rename it, or label the file it was made from")
    there = f"Its columns: {', '.join(columns)}"
    if wanted is not None:
        if wanted in columns:
            return wanted
        raise UserError(f"{path}: has no column '{wanted}'. {did_you_mean(wanted, columns)} {there}".replace("  ", " "))
    remedy = "name the one with the text with --text_column"
    if found := usual_column(columns, TEXT_COLUMNS, str(path), remedy):
        return found
    raise UserError(
        f"{path}: has no column {', '.join(TEXT_COLUMNS[:-1])} or {TEXT_COLUMNS[-1]}. {there}. "
        f"{remedy[0].upper()}{remedy[1:]}"
    )
