"""Checkpoints of transformers' Trainer, made safe to resume from.

The Trainer writes a checkpoint's files one after another into its folder. A kill or a full disk leaves a part of them,
and resuming would fail on it or go on without the optimiser's state. So each finished checkpoint gets a list of its
files with their checksums, written last; only one whose list agrees is resumed.
"""

import hashlib
import json
import re
import shutil
import sys
from pathlib import Path

from roadmap_shared.files import atomic_write
from roadmap_shared.ranks import is_main_process

SEAL = "files.json"
_FOLDER = re.compile(r"checkpoint-(\d+)")


def seal(folder: Path) -> None:
    """Write the list of a finished checkpoint's files and their sha256."""
    files = {path.name: _sha256(path) for path in sorted(folder.iterdir()) if path.is_file() and path.name != SEAL}
    atomic_write(folder / SEAL, json.dumps(files, indent=1))


def fault_of(folder: Path) -> str | None:
    """Why a checkpoint cannot be used; None when it is whole."""
    if not (folder / SEAL).is_file():
        return "was not finished"
    try:
        files = json.loads((folder / SEAL).read_text(encoding="utf-8"))
        for name, checksum in files.items():
            if not (folder / name).is_file():
                return f"{name} is missing"
            if _sha256(folder / name) != checksum:
                return f"{name} is damaged"
    except (OSError, ValueError, AttributeError):
        return f"{SEAL} cannot be read"
    return None


def newest_whole_checkpoint(folder: Path) -> Path | None:
    """The newest checkpoint that is whole; each other on the way is named on stderr and removed.

    Training will write it again. Left in place, it would pass for older than what is written into it, and the Trainer
    would remove it as such.
    """
    if not folder.is_dir():
        return None
    found = [(int(match[1]), path) for path in folder.iterdir() if (match := _FOLDER.fullmatch(path.name))]
    for _, path in sorted(found, reverse=True):
        fault = fault_of(path)
        if fault is None:
            return path
        if is_main_process():
            print(f"checkpoint skipped: {path}: {fault}", file=sys.stderr)
            shutil.rmtree(path, ignore_errors=True)
    return None


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
