"""`model-optimization predict`: texts, or the lines of a file, to labels with probabilities, as JSON lines."""

import json
import os
import sys
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO

from model_optimization.config.serving import PredictConfig
from roadmap_shared.errors import UserError, one_line

if TYPE_CHECKING:
    from model_optimization.types import Classifier

_AT_ONCE = 2048
"""Texts that are read before they are computed: among so many, most find others of their length."""

_SHOWN = 5
Row = tuple[int, str]
"""Number of the line, from 1, and its text."""


def run(config: PredictConfig) -> None:
    """Label the texts.

    Raises:
        UserError: the variant or the file cannot be read, or none of its lines can be labelled.
    """
    rejects: list[str] = []
    rows = enumerate(config.texts, 1) if config.input is None else read_rows(config.input, rejects)
    if config.input is not None and not config.input.is_file():
        raise UserError(f"--input {config.input}: there is no such file")
    from model_optimization.variants import load_variant

    classifier = load_variant(config.variant)
    labelled = 0
    try:
        with _output(config.output) as file:
            for chunk in _chunks(rows, _AT_ONCE):
                for record in label(classifier, chunk, config.batch_size):
                    file.write(json.dumps(record, ensure_ascii=False) + "\n")
                labelled += len(chunk)
            if not labelled:
                raise UserError(f"--input {config.input}: holds no text that can be labelled{_reasons(rejects)}")
    finally:
        classifier.close()
    if rejects:
        print(f"not labelled: {len(rejects):,} lines{_reasons(rejects)}", file=sys.stderr)
    if config.output is not None:
        print(f"labelled: {labelled:,} texts, in {config.output}")


def label(classifier: "Classifier", rows: Sequence[Row], batch_size: int) -> Iterator[dict[str, Any]]:
    """One record a text, in their order."""
    from model_optimization.softmax import softmax

    for (number, text), logits in zip(rows, classifier.logits([text for _, text in rows], batch_size), strict=True):
        probabilities = softmax(logits)
        best = int(probabilities.argmax())
        rounded = {name: round(float(value), 6) for name, value in zip(classifier.labels, probabilities, strict=True)}
        name = classifier.labels[best]
        yield {"line": number, "text": text, "label": name, "probability": rounded[name], "probabilities": rounded}


def read_rows(path: Path, rejects: list[str]) -> Iterator[Row]:
    """Texts of a file, a line each; of a .jsonl file, the field `text`. What is none is added to `rejects`.

    Raises:
        UserError: the file cannot be read.
    """
    try:
        with path.open("rb") as file:
            for number, line in enumerate(file, 1):
                try:
                    yield number, _text(line.removeprefix(b"\xef\xbb\xbf"), path.suffix.lower() == ".jsonl")
                except ValueError as error:
                    rejects.append(f"line {number}: {error}")
    except OSError as error:
        raise UserError(f"--input {path}: cannot be read: {error.strerror}") from error


def _text(line: bytes, is_json: bool) -> str:
    try:
        text = line.decode("utf-8").rstrip("\r\n")
    except UnicodeDecodeError:
        raise ValueError("no UTF-8") from None
    if is_json and text.strip():
        try:
            record = json.loads(text)
        except (ValueError, RecursionError):
            raise ValueError("no JSON") from None
        text = record.get("text") if isinstance(record, dict) else None
        if not isinstance(text, str):
            raise ValueError("has no field 'text' with a string")
        text.encode("utf-8")  # half of a surrogate pair, a ValueError
    if not text.strip():
        raise ValueError("empty")
    return text


def _chunks(rows: Iterable[Row], size: int) -> Iterator[list[Row]]:
    remaining = iter(rows)
    while chunk := list(islice(remaining, size)):
        yield chunk


@contextmanager
def _output(path: Path | None) -> Iterator[TextIO]:
    """Standard output, or a file that is there when it is whole."""
    if path is None:
        yield sys.stdout
        return
    unfinished = path.with_name(f".{path.name}-{os.getpid()}.tmp")
    try:
        with unfinished.open("w", encoding="utf-8") as file:
            yield file
        os.replace(unfinished, path)
    except OSError as error:
        raise UserError(f"--output {path}: cannot be written: {error.strerror or one_line(error)}") from error
    finally:
        unfinished.unlink(missing_ok=True)


def _reasons(rejects: Sequence[str]) -> str:
    more = f"; and {len(rejects) - _SHOWN:,} more" if len(rejects) > _SHOWN else ""
    return f" ({'; '.join(rejects[:_SHOWN])}{more})" if rejects else ""
