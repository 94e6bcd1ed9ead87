"""Where the variants of a run stand, and what earlier runs trained already."""

import hashlib
import json
import os
import shutil
from collections.abc import Callable, Mapping
from dataclasses import asdict, is_dataclass
from pathlib import Path
from typing import Any

from model_optimization.types import Texts
from model_optimization.variants import check_files
from roadmap_shared.errors import UserError, one_line

_VERSION = 1
"""Raised whenever training changes: what was kept before is then made anew."""


class Shelf:
    """The folder of a run's variants. What takes training is kept beside the runs, by what it depends on."""

    def __init__(self, folder: Path, cache: Path | None, log: Callable[[str], None] = print) -> None:
        """`cache` holds trained variants of all runs; None: each run trains its own."""
        self.folder = folder
        self._cache = cache
        self._log = log

    def place(self, name: str) -> Path:
        """Folder of a variant, there or not."""
        return self.folder / name

    def trained(self, name: str, depends_on: Mapping[str, Any], make: Callable[[Path], object]) -> Path:
        """The variant `name`, from the cache where it was trained before, else made and kept.

        Args:
            name: of the variant and its folder.
            depends_on: everything that its weights depend on: settings, texts, fingerprints of what it is made from.
            make: writes the variant's folder.

        Raises:
            UserError: the cache cannot be written.
        """
        place = self.place(name)
        if self._cache is None:
            make(place)
            return place
        kept = self._cache / f"{name}-{fingerprint(depends_on)[:16]}"
        if not _whole(kept):
            make(kept)
        else:
            self._log(f"{name}: trained before with the same settings and texts, taken from {kept}")
        return _copied(kept, place)


def fingerprint(depends_on: Mapping[str, Any]) -> str:
    """sha256 of settings, texts and other fingerprints, hexadecimal."""
    return hashlib.sha256(json.dumps({"version": _VERSION} | dict(depends_on), default=_plain).encode()).hexdigest()


def _plain(value: object) -> object:
    if isinstance(value, Texts):
        return [list(value.texts), value.targets.tolist()]
    if is_dataclass(value) and not isinstance(value, type):
        return asdict(value)
    if isinstance(value, Path):
        return str(value.resolve())
    raise TypeError(f"a {type(value).__name__} has no fingerprint")


def _whole(folder: Path) -> bool:
    """Whether a kept variant is there with all its bytes; a damaged one is made again."""
    if not folder.is_dir():
        return False
    try:
        check_files(folder)
    except UserError:
        return False
    return True


def _copied(kept: Path, place: Path) -> Path:
    unfinished = place.with_name(f".{place.name}-copy-{os.getpid()}")
    try:
        shutil.copytree(kept, unfinished)
        shutil.rmtree(place, ignore_errors=True)
        os.replace(unfinished, place)
    except OSError as error:
        raise UserError(f"{place}: cannot be written: {error.strerror or one_line(error)}") from error
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)
    return place
