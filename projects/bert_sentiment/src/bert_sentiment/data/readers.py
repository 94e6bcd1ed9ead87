"""Files with rows and columns, read one row at a time: CSV, TSV, JSONL, JSON, Parquet, and lines that begin with a
label.

A row that cannot be read is handed on with its problem; a file that cannot be read is a `UserError`.
"""

from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import chain, islice
from pathlib import Path
from typing import Any, TextIO

from bert_sentiment.data.csv_rows import Record, read_csv
from bert_sentiment.data.encodings import cannot_read, missing, open_text, suffix_of
from bert_sentiment.data.json_rows import json_array, json_lines
from bert_sentiment.data.lines import Lines
from roadmap_shared.errors import UserError

TABLE_SUFFIXES = (".csv", ".tsv", ".jsonl", ".json", ".parquet", ".txt", ".all")
_FORMATS = "use .csv, .tsv, .jsonl, .json, .parquet (each but the last also as .gz), or .txt with `label text` a line"
_LOOK_AHEAD = 1000  # records of a JSON file among which an intact one must show the columns


@dataclass(frozen=True, slots=True)
class Row:
    """One row: its cells by column, or the problem with it. `line` is the one on which it begins, counted from 1;
    of a Parquet file, its number."""

    line: int
    cells: dict[str, Any]
    problem: str | None = None


@dataclass(frozen=True)
class Table:
    """Column names, and the rows as a stream."""

    columns: tuple[str, ...]
    rows: Iterator[Row]


@contextmanager
def open_table(
    path: Path, wanted: Sequence[str | None] = (), log: Callable[[str], None] = lambda _: None
) -> Generator[Table]:
    """The rows of a file.

    Args:
        path: the file; its name tells the format.
        wanted: columns that the caller names. A number that is no column of a CSV or TSV file says that the file has
            no header: its columns are then called 1, 2, 3 and so on.
        log: is told which encoding was found, where it is not UTF-8.

    Raises:
        UserError: there is no such file, it is empty, binary or damaged, or its name has none of the known endings.
    """
    suffix = suffix_of(path)
    if not path.exists():
        raise missing(path)
    if suffix not in TABLE_SUFFIXES:
        raise UserError(f"{path}: cannot tell its format by its name: {_FORMATS}")
    if suffix == ".parquet":
        with _open_parquet(path) as table:
            yield table
        return
    with open_text(path, log) as file:
        match suffix:
            case ".csv" | ".tsv":
                table = read_csv(file, path, wanted)
                yield Table(table.columns, (_csv_row(record, table.columns) for record in table.records))
            case ".jsonl" | ".json":
                yield _read_json(file, path)
            case _:
                yield Table(("label", "text"), _label_first(file))


def _csv_row(record: Record, columns: tuple[str, ...]) -> Row:
    if record.problem:
        return Row(record.line, {}, record.problem)
    return Row(record.line, dict(zip(columns, record.cells, strict=True)))


def _read_json(file: TextIO, path: Path) -> Table:
    beginning = next((sign for sign in iter(lambda: file.read(1), "") if not sign.isspace()), "")
    file.seek(0)
    if beginning == "[":
        records = json_array(file.read(), path)
    else:
        records = ((line.number, record) for line, record in json_lines(Lines(file)))
    ahead = list(islice(records, _LOOK_AHEAD))
    intact = next((record for _, record in ahead if isinstance(record, dict)), None)
    if intact is None:
        line, problem = ahead[0] if ahead else (1, "nothing in it")
        raise UserError(f"{path}: holds no JSON objects ({path.name}:{line}: {problem}): write one a line")
    return Table(tuple(intact), (_json_row(line, record) for line, record in chain(ahead, records)))


def _json_row(line: int, record: dict[str, Any] | str) -> Row:
    return Row(line, {}, record) if isinstance(record, str) else Row(line, record)


def _label_first(file: TextIO) -> Iterator[Row]:
    """`label text` or fastText's `__label__positive text`, one a line."""
    for line in Lines(file).not_blank():
        label, text = (*line.text.split(maxsplit=1), "")[:2]
        yield Row(line.number, {"label": label.removeprefix("__label__"), "text": text.strip()})


@contextmanager
def _open_parquet(path: Path) -> Generator[Table]:
    import pyarrow
    from pyarrow import parquet

    try:
        with parquet.ParquetFile(path) as file:
            yield Table(tuple(file.schema_arrow.names), _parquet_rows(file.iter_batches()))
    except OSError as error:
        raise cannot_read(path, error) from error
    except pyarrow.ArrowException as error:
        raise UserError(f"{path}: is no sound Parquet file: copy or write it again") from error


def _parquet_rows(batches: Iterable[Any]) -> Iterator[Row]:
    number = 0
    for batch in batches:
        for cells in batch.to_pylist():
            number += 1
            yield Row(number, cells)
