"""What was measured, kept in a folder: one JSON file a fitted model and test part, named by the sha256 of its key."""

import hashlib
import json
import shutil
import sys
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from bert_sentiment.comparison.keys import digest
from roadmap_shared.errors import UserError, one_line
from roadmap_shared.files import atomic_write

_UNFINISHED = "unfinished"


@dataclass(frozen=True)
class Result:
    """One fitted model on one test part.

    `predicted` holds the index of a label for each test text, `labels` the names. Every figure is computed from them
    when it is shown, so that another number of resamples measures nothing anew.
    """

    predicted: tuple[int, ...]
    labels: tuple[str, ...]
    seconds: float
    parameters: int
    trained: int


class ResultCache:
    """A folder of results. A damaged file is named on stderr, counts as absent, and is written again."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.damaged: list[str] = []
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise UserError(
                f"--cache {folder}: the folder for the results cannot be made ({error.strerror}): name another"
            ) from error

    def get(self, key: Mapping[str, Any]) -> Result | None:
        """The result under this key; None when it is not there, or damaged."""
        path = self._path(key)
        if not path.is_file() or path.name in self.damaged:
            return None
        try:
            return _read(path, key)
        except (OSError, ValueError, KeyError, TypeError) as error:
            self.damaged.append(path.name)
            print(f"{path}: the kept result is damaged ({one_line(error)}), it is measured again", file=sys.stderr)
            return None

    def put(self, key: Mapping[str, Any], result: Result, about: str) -> None:
        """Keep a result; `about` says in words what it is, for who looks into the file."""
        record = {"about": about, "key": dict(key), "result": asdict(result)}
        atomic_write(self._path(key), json.dumps({**record, "sha256": _checksum(record)}, ensure_ascii=False) + "\n")

    def unfinished(self, fit_key: Mapping[str, Any]) -> Path:
        """The folder in which a fit keeps its checkpoints until it is done."""
        return self.folder / _UNFINISHED / digest(fit_key)

    def forget_unfinished(self, fit_key: Mapping[str, Any]) -> None:
        """Remove the checkpoints of a fit."""
        shutil.rmtree(self.unfinished(fit_key), ignore_errors=True)

    def _path(self, key: Mapping[str, Any]) -> Path:
        return self.folder / f"{digest(key)}.json"


def _read(path: Path, key: Mapping[str, Any]) -> Result:
    """The result in a file.

    Raises:
        ValueError, KeyError, TypeError: it holds none, or another one.
    """
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
    except ValueError:
        raise ValueError("it is no JSON") from None
    if not isinstance(record, dict) or not {"key", "result", "sha256"} <= record.keys():
        raise ValueError("it holds no result")
    if record.pop("sha256") != _checksum(record):
        raise ValueError("its checksum does not agree")
    if digest(record["key"]) != digest(key):
        raise ValueError("it belongs to another key")
    fields = record["result"]
    return Result(**{**fields, "predicted": tuple(fields["predicted"]), "labels": tuple(fields["labels"])})


def _checksum(record: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(record, sort_keys=True, ensure_ascii=False).encode()).hexdigest()
