"""`metrics.jsonl`: the record of a run that is always kept, one strict JSON object a line."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

from roadmap_shared.files import atomic_write

_NON_FINITE = {"NaN": math.nan, "Infinity": math.inf, "-Infinity": -math.inf}


class JsonlTracker:
    """Appends each step's metrics as a line `{"step": 5, "loss": 1.25}`, flushed at once.

    JSON has no NaN and no infinity, so they are written as the strings "NaN", "Infinity" and "-Infinity".
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        repair(path)
        self._file = path.open("a", encoding="utf-8")

    def log_metrics(self, step: int, metrics: dict[str, Any]) -> None:
        """Append one line.

        Raises:
            OSError: the disk is full.
        """
        self._file.write(strict_json({"step": step, **metrics}) + "\n")
        self._file.flush()

    def rewind(self, step: int) -> None:
        """Drop the lines after `step`, in one atomic replacement of the file."""
        self._file.close()
        kept = [line for line in read_history(self._path) if line["step"] <= step]
        atomic_write(self._path, "".join(strict_json(line) + "\n" for line in kept))
        self._file = self._path.open("a", encoding="utf-8")

    def close(self) -> None:
        """Close the file."""
        self._file.close()


def read_history(path: Path) -> list[dict[str, Any]]:
    """Read a `metrics.jsonl` back, without a last line that a kill tore; no file gives no lines."""
    if not path.exists():
        return []
    lines: list[dict[str, Any]] = []
    texts = path.read_text("utf-8", errors="replace").split("\n")
    for number, text in enumerate(texts, start=1):
        try:
            line = json.loads(text) if text else None
        except ValueError:
            if number < len(texts):  # only the last line can be torn
                raise
            continue
        if line is not None:
            lines.append({key: _number(value) for key, value in line.items()})
    return lines


def repair(path: Path) -> None:
    """Take away a torn last line, so that the next one starts on a line of its own."""
    content = path.read_bytes() if path.exists() else b""
    if content and not content.endswith(b"\n"):
        atomic_write(path, "".join(strict_json(line) + "\n" for line in read_history(path)))


def strict_json(value: Any, indent: int | None = None) -> str:
    """Return JSON that every parser reads: non-finite numbers as strings, array scalars as numbers."""
    return json.dumps(_plain(value), indent=indent, ensure_ascii=False, allow_nan=False)


def scalar(value: Any) -> Any:
    """Return a NumPy or torch scalar as a Python number, anything else as it is."""
    return value.item() if hasattr(value, "item") else value


def _number(value: Any) -> Any:
    return _NON_FINITE.get(value, value) if isinstance(value, str) else value


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    value = scalar(value)
    if isinstance(value, float) and not math.isfinite(value):
        return "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"
    return value
