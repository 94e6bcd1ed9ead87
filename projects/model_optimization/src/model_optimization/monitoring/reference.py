"""Where the reference comes from: another log, a file of texts, or the beginning of the log itself."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from model_optimization.monitoring.embeddings import Encoder
from model_optimization.monitoring.log_database import LogTable, Selection, read_log
from model_optimization.monitoring.observed import Observed, observe, observed_in
from roadmap_shared.errors import UserError, one_line


def with_embeddings(table: LogTable, encode: Encoder | None) -> Observed:
    """What a log tells, with embeddings of its texts where there is an encoder and there are texts."""
    texts = [str(text) for text in table.text]
    has_texts = len(table) > 0 and all(text is not None for text in table.text)
    return observed_in(table, encode(texts) if encode is not None and has_texts else None)


def read_reference(path: Path, encode: Encoder | None = None, most: int = 5000) -> Observed:
    """A reference from a log (.sqlite, .db), or from texts (.jsonl, .txt).

    Args:
        path: the file.
        encode: (N, D) embeddings of texts; None leaves them out.
        most: records or lines that are read, from the beginning.

    Raises:
        UserError: the file cannot be read, or holds nothing.
    """
    if path.suffix in (".jsonl", ".txt"):
        return _read_texts(path, encode, most)
    table = read_log(path, Selection(oldest=most, answered=True))
    if not len(table):
        raise UserError(f"{path}: holds no predictions: the reference needs some")
    return with_embeddings(table, encode)


def _read_texts(path: Path, encode: Encoder | None, most: int) -> Observed:
    rows = [row for _, row in zip(range(most), _rows(path), strict=False)]
    if not rows:
        raise UserError(f"{path}: holds no texts: the reference needs some")
    texts = [row["text"] for row in rows]
    labels = [row.get("label") for row in rows]
    confidence = [row.get("confidence") for row in rows]
    return observe(
        texts,
        labels=[str(label) for label in labels] if None not in labels else None,
        confidence=np.array(confidence, dtype=np.float64) if None not in confidence else None,
        embeddings=None if encode is None else encode(texts),
    )


def _rows(path: Path) -> Iterator[dict[str, Any]]:
    try:
        with path.open(encoding="utf-8") as file:
            for number, line in enumerate(file, start=1):
                if line.strip():
                    yield _row(path, number, line) if path.suffix == ".jsonl" else {"text": line.rstrip("\n")}
    except FileNotFoundError:
        raise UserError(f"{path}: there is no such file") from None
    except UnicodeDecodeError:
        raise UserError(f"{path}: is not UTF-8: convert it first") from None
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror})") from error


def _row(path: Path, number: int, line: str) -> dict[str, Any]:
    try:
        row = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise UserError(f"{path}, line {number}: is no JSON ({one_line(error)})") from None
    if not isinstance(row, dict) or not isinstance(row.get("text"), str):
        raise UserError(f"{path}, line {number}: needs a text under `text`")
    confidence = row.get("confidence")
    if confidence is not None and (isinstance(confidence, bool) or not isinstance(confidence, int | float)):
        raise UserError(f"{path}, line {number}: confidence must be a number")
    return row
