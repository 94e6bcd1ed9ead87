"""Rows of text and label from files, whatever their form. Rows that cannot be used are told apart, with their place."""

import csv
import io
import json
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from model_optimization.config.data import DataConfig
from roadmap_shared.errors import UserError, did_you_mean, one_line

LONGEST = 20_000
"""Characters of a text; no encoder sees as many, and a file read as one text by mistake would stop the tokenizer."""

_PARTS = {"train": "train", "training": "train", "validation": "validation", "valid": "validation", "dev": "validation"}
_PARTS |= {"val": "validation", "test": "test"}


@dataclass
class Rows:
    """Texts with the names of their labels."""

    texts: list[str] = field(default_factory=list)
    labels: list[str] = field(default_factory=list)
    rejected: list[str] = field(default_factory=list)

    def add(self, place: str, text: object, label: object) -> None:
        """Keep a row, or the reason why it cannot be used."""
        if (reason := _fault(text, label)) is not None:
            self.rejected.append(f"{place}: {reason}")
            return
        self.texts.append(" ".join(str(text).split()))
        self.labels.append(_label(label))


def read_parts(config: DataConfig) -> dict[str, Rows]:
    """The parts that `--data.path` tells apart: `train`, and `validation` and `test` where it has them.

    Raises:
        UserError: there is nothing there, or nothing that can be read.
    """
    path = config.path
    assert path is not None
    if path.is_dir():
        return _folder(path, config)
    if not path.is_file():
        raise UserError(f"--data.path {path}: there is no such file or folder")
    return {"train": _file(path, config)}


def _folder(folder: Path, config: DataConfig) -> dict[str, Rows]:
    files = sorted(path for path in folder.iterdir() if path.is_file())
    named = {
        _PARTS[path.stem.lower()]: path for path in files if path.suffix in _READERS and path.stem.lower() in _PARTS
    }
    if "train" in named:
        return {name: _file(path, config) for name, path in named.items()}
    polar = [path for path in files if path.suffix in (".pos", ".neg")]
    if polar:
        return {"train": _lines(polar, config)}
    subfolders = sorted(path for path in folder.iterdir() if path.is_dir())
    parts = {_PARTS[path.name.lower()]: _labelled_folders(path, config) for path in subfolders if path.name in _PARTS}
    if "train" in parts:
        return parts
    rows = _labelled_folders(folder, config)
    if not rows.texts:
        raise UserError(
            f"--data.path {folder}: holds neither train.csv (or .tsv, .jsonl, .parquet), nor a folder of .txt files "
            "for each label, nor files that end in .pos and .neg"
        )
    return {"train": rows}


def _labelled_folders(folder: Path, config: DataConfig) -> Rows:
    """One folder of .txt files a label, one text a file."""
    rows = Rows()
    for path in sorted(folder.glob("*/*.txt")):
        rows.add(f"{path.parent.name}/{path.name}", _decoded(path, config), path.parent.name)
    return rows


def _lines(paths: Iterable[Path], config: DataConfig) -> Rows:
    """One text a line, the label in the file's ending."""
    rows = Rows()
    for path in paths:
        for number, line in enumerate(_decoded(path, config).splitlines(), 1):
            if line.strip():
                rows.add(f"{path.name}:{number}", line, path.suffix[1:])
    return rows


def _file(path: Path, config: DataConfig) -> Rows:
    reader = _READERS.get(path.suffix.lower())
    if reader is None:
        raise UserError(f"--data.path {path}: is none of {', '.join(_READERS)}")
    rows = Rows()
    for place, record in reader(path, config):
        if isinstance(record, str):
            rows.rejected.append(f"{path.name}:{place}: {record}")
            continue
        if place == 1 or not rows.texts:
            _check_columns(path, record, config)
        rows.add(f"{path.name}:{place}", record.get(config.text_column), record.get(config.label_column))
    return rows


def _check_columns(path: Path, record: dict[str, Any], config: DataConfig) -> None:
    for flag in ("text_column", "label_column"):
        wanted = getattr(config, flag)
        if wanted not in record:
            there = [str(name) for name in record if name]
            hint = did_you_mean(wanted, there) or f"It has {', '.join(there[:10])}."
            raise UserError(f"--data.path {path}: has no column '{wanted}'. {hint} Give --data.{flag}")


Record = tuple[int, dict[str, Any] | str]
"""Number of the line or row, and its values, or why they cannot be read."""


def _csv(path: Path, config: DataConfig) -> Iterator[Record]:
    text = _decoded(path, config)
    reader = csv.DictReader(io.StringIO(text), delimiter="\t" if path.suffix.lower() == ".tsv" else ",")
    try:
        for record in reader:
            yield reader.line_num, record
    except csv.Error as error:
        yield reader.line_num, one_line(error)


def _jsonl(path: Path, config: DataConfig) -> Iterator[Record]:
    for number, line in enumerate(_decoded(path, config).splitlines(), 1):
        if not line.strip():
            continue
        try:
            record = json.loads(line)
        except (ValueError, RecursionError) as error:
            yield number, f"is no JSON ({one_line(error)})"
            continue
        yield number, record if isinstance(record, dict) else "is no JSON object"


def _parquet(path: Path, config: DataConfig) -> Iterator[Record]:
    import pyarrow
    import pyarrow.parquet

    try:
        table = pyarrow.parquet.read_table(path)
    except (pyarrow.ArrowException, OSError) as error:
        raise UserError(f"--data.path {path}: is no Parquet file that can be read ({one_line(error)})") from None
    yield from enumerate(table.to_pylist(), 1)


_READERS: dict[str, Callable[[Path, DataConfig], Iterator[Record]]] = {
    ".csv": _csv,
    ".tsv": _csv,
    ".jsonl": _jsonl,
    ".parquet": _parquet,
}


def _decoded(path: Path, config: DataConfig) -> str:
    encoding = "utf-8-sig" if config.encoding.lower().replace("_", "-") in ("utf-8", "utf8") else config.encoding
    try:
        return path.read_bytes().decode(encoding)
    except OSError as error:
        raise UserError(f"--data.path {path}: cannot be read ({error.strerror})") from None
    except UnicodeDecodeError as error:
        raise UserError(
            f"--data.path {path}: byte {error.start:,} is not {config.encoding}: give --data.encoding, such as cp1252 "
            "or gb18030"
        ) from None


def _fault(text: object, label: object) -> str | None:
    if not isinstance(text, str) or not text.strip():
        return "has no text"
    if len(text) > LONGEST:
        return f"its text has {len(text):,} characters, more than {LONGEST:,}"
    if label is None or isinstance(label, (dict, list)) or not str(label).strip():
        return "has no label"
    return None


def _label(label: object) -> str:
    """1 and 1.0 are the same label: Parquet and JSON keep numbers."""
    return str(int(label)) if isinstance(label, float) and label.is_integer() else str(label).strip()
