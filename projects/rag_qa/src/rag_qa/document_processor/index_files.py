"""Names of an index's files, and which of them count."""

import re
import shutil
from pathlib import Path

from roadmap_shared.errors import UserError

_GENERATION = re.compile(r"(?:vectors|sparse)-(\d{6,})(?:\.npz)?")
_UNFINISHED = re.compile(r"\.(?:vectors-\d+\.npz|sparse\.npz|index\.sqlite)\..*")


def database_path(folder: Path) -> Path:
    """The database of documents and chunks."""
    return folder / "index.sqlite"


def existing_database(folder: Path) -> Path:
    """The database of an index that is there. Raises UserError: there is none."""
    path = database_path(folder)
    if not path.is_file():
        raise UserError(f"{folder}: holds no index: make one with `rag-qa ingest DOCUMENTS --index {folder}`")
    return path


def sparse_folder(folder: Path, generation: int) -> Path:
    """The word index of a generation."""
    return folder / f"sparse-{generation:06}"


def remove_other_generations(folder: Path, keep: int) -> None:
    """Delete the files of all generations but one, and what a killed process left half written. The caller writes."""
    for path in folder.iterdir():
        match = _GENERATION.fullmatch(path.name)
        if _UNFINISHED.fullmatch(path.name) or (match and int(match[1]) != keep):
            if path.is_dir():
                shutil.rmtree(path, ignore_errors=True)
            else:
                path.unlink(missing_ok=True)
