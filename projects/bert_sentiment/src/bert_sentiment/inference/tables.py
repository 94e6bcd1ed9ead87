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

from bert_sentiment.data.labelled import TEXT_COLUMNS
from bert_sentiment.inference.predictor import Prediction
from bert_sentiment.inference.text_files import Line, Lines, csv_records
from roadmap_shared.errors import UserError, did_you_mean, one_line

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


def open_table(path: Path, encoding: str, text_column: str | None) -> Table:
    """The table in a file, by the file's ending.

    Raises:
        UserError: the ending is unknown, the file is empty or lacks the text column, or it is labelled already.
    """
    match path.suffix.lower():
        case ".csv" | ".tsv":
            return DelimitedTable(path, encoding, text_column)
        case ".jsonl":
            return JsonLinesTable(path, encoding, text_column)
        case ".txt":
            return PlainText(path, encoding, text_column)
    endings = ", ".join(OUTPUT_ENDINGS)
    raise UserError(f"{path}: ends in '{path.suffix}'; files that can be labelled end in {endings}")


class DelimitedTable:
    """CSV with commas, or semicolons where the header has no comma (as Excel writes it in many countries); TSV."""

    def __init__(self, path: Path, encoding: str, text_column: str | None) -> None:
        self._path, self._encoding = path, encoding
        with _open(path, encoding) as file:
            first = next((line for line in Lines(file) if line.text.strip()), Line(0, ""))
        if path.suffix.lower() == ".tsv":
            self._delimiter = "\t"
        else:
            self._delimiter = ";" if ";" in first.text and "," not in first.text else ","
        self._line_end = "\r\n" if first.text.endswith("\r\n") else "\n"
        with _open(path, encoding) as file:
            record = next(csv_records(Lines(file), self._delimiter), None)
        if record is None:
            raise UserError(f"{path}: is empty")
        if record.broken:
            raise UserError(f"{path}: line {record.line}, the header: {record.broken}")
        self._columns = record.cells
        self.text_column = _text_column(path, self._columns, text_column)
        self._index = self._columns.index(self.text_column)

    def header(self) -> str:
        mark = "\ufeff" if self._encoding == "utf-8-sig" else ""
        return mark + self._written([*self._columns, LABEL_COLUMN, PROBABILITY_COLUMN])

    def rows(self) -> Iterator[Row]:
        with _open(self._path, self._encoding) as file:
            records = csv_records(Lines(file), self._delimiter, n_cells=len(self._columns))
            next(records)
            for number, record in enumerate(records, 1):
                text = "" if record.broken else record.cells[self._index]
                yield Row(number, record.line, text, record.cells, record.broken)

    def labelled(self, row: Row, prediction: Prediction) -> str:
        return self._written([*row.content, prediction.label, f"{prediction.probability:.6f}"])

    def _written(self, cells: Sequence[str]) -> str:
        return _csv_line(cells, self._delimiter, self._line_end)


class JsonLinesTable:
    """One JSON object a line."""

    def __init__(self, path: Path, encoding: str, text_column: str | None) -> None:
        self._path, self._encoding = path, encoding
        columns: dict[str, None] = {}
        for _, line in islice(self._lines(), _ROWS_LOOKED_AT):
            columns |= dict.fromkeys(_json_object(line)[0])
        if not columns:
            raise UserError(f"{path}: is empty, or none of its first {_ROWS_LOOKED_AT} lines is a JSON object")
        self.text_column = _text_column(path, list(columns), text_column)

    def header(self) -> str:
        return ""

    def rows(self) -> Iterator[Row]:
        for number, line in self._lines():
            record, reason = _json_object(line)
            text = record.get(self.text_column)
            if reason is None:
                reason = self._without_text(text, record)
            yield Row(number, line.number, "" if reason else str(text), line.text, reason)

    def labelled(self, row: Row, prediction: Prediction) -> str:
        # The line itself is kept and not written anew: 1.10, 1e400 or a key that comes twice would not survive.
        start = row.content.strip().removesuffix("}").rstrip()
        label = json.dumps(prediction.label, ensure_ascii=False)
        return f'{start}, "{LABEL_COLUMN}": {label}, "{PROBABILITY_COLUMN}": {prediction.probability:.6f}}}\n'

    def _lines(self) -> Iterator[tuple[int, Line]]:
        """Lines that are not blank, counted from 1."""
        with _open(self._path, self._encoding) as file:
            yield from enumerate((line for line in Lines(file) if line.text.strip()), 1)

    def _without_text(self, text: Any, record: dict[str, Any]) -> str | None:
        if text is None:
            return f"has no {self.text_column}"
        if not isinstance(text, str):
            return f"{self.text_column} is {json.dumps(text)[:40]} and no text"
        taken = {LABEL_COLUMN, PROBABILITY_COLUMN} & record.keys()
        return f"has {min(taken)} already" if taken else None


class PlainText:
    """One text a line. It is written as CSV."""

    text_column = "text"

    def __init__(self, path: Path, encoding: str, text_column: str | None) -> None:
        if text_column is not None:
            raise UserError(f"{path}: has one text a line and no columns: leave --text_column out")
        self._path, self._encoding = path, encoding

    def header(self) -> str:
        return _csv_line([self.text_column, LABEL_COLUMN, PROBABILITY_COLUMN], ",", "\n")

    def rows(self) -> Iterator[Row]:
        with _open(self._path, self._encoding) as file:
            lines = (line for line in Lines(file) if line.text.strip())
            for number, line in enumerate(lines, 1):
                text, reason = line.text.strip(), None if line.whole else "the line is too long"
                yield Row(number, line.number, text, text, reason)

    def labelled(self, row: Row, prediction: Prediction) -> str:
        return _csv_line([row.text, prediction.label, f"{prediction.probability:.6f}"], ",", "\n")


def _open(path: Path, encoding: str) -> Any:
    # newline="": a line break inside a quoted cell stays the one that it is.
    return path.open(encoding=encoding, newline="")


def _json_object(line: Line) -> tuple[dict[str, Any], str | None]:
    """The object on a line, or an empty one with the reason why there is none."""
    if not line.whole:
        return {}, "the line is too long"
    try:
        record = json.loads(line.text)
    except (ValueError, RecursionError) as error:
        return {}, f"the line is no JSON: {one_line(error)}"
    return (record, None) if isinstance(record, dict) else ({}, "the line is no JSON object")


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
    known = [name for name in TEXT_COLUMNS if name in columns]
    if not known:
        raise UserError(
            f"{path}: has no column {', '.join(TEXT_COLUMNS[:-1])} or {TEXT_COLUMNS[-1]}. {there}. "
            "Name the one with the text with --text_column"
        )
    return known[0]
