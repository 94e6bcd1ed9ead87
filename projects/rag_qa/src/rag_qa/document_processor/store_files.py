"""The file of one generation of a FAISS store: `vectors-000012.npz`, uncompressed, without pickled objects.

A generation is written under a temporary name and renamed when it is whole, so that a killed process leaves the
file of the generation before.
"""

import json
import os
import re
import tempfile
import zipfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, cast

import numpy as np

from rag_qa.protocols import FloatArray, IdArray, Metadata
from roadmap_shared.errors import UserError, one_line
from roadmap_shared.files import sync_folder

_NAME = re.compile(r"vectors-(\d{6,})\.npz")


@dataclass(frozen=True)
class StoredVectors:
    """What a file holds: (N,) ids, (N, D) vectors and N metadata records."""

    ids: IdArray
    vectors: FloatArray
    metadata: list[Metadata]


def generation_path(folder: Path, generation: int) -> Path:
    """Path of a generation's file."""
    return folder / f"vectors-{generation:06}.npz"


def generations(folder: Path) -> list[int]:
    """Generations that have a file in the folder, ascending."""
    found = (_NAME.fullmatch(path.name) for path in folder.iterdir())
    return sorted(int(match[1]) for match in found if match)


def write_generation(path: Path, ids: IdArray, vectors: FloatArray, metadata: Sequence[Metadata]) -> None:
    """Write a generation's file in one step.

    Raises:
        UserError: the folder is full or read-only.
    """
    records = np.frombuffer(json.dumps(list(metadata), ensure_ascii=False).encode(), dtype=np.uint8)
    try:
        with _whole_or_absent(path) as file:
            np.savez(file, ids=ids, vectors=vectors, metadata=records)
    except OSError as error:
        raise UserError(
            f"{path}: cannot be written ({error.strerror or error}): the index is as it was before; make room "
            "and repeat"
        ) from None


def read_generation(path: Path, dimension: int) -> StoredVectors:
    """Read a generation's file.

    Raises:
        UserError: the file is missing, damaged or holds vectors of another dimension.
    """
    try:
        with path.open("rb") as opened, np.load(opened, allow_pickle=False) as file:
            ids, vectors, records = file["ids"], file["vectors"], json.loads(file["metadata"].tobytes())
        if vectors.ndim != 2 or ids.shape != (len(vectors),) or len(records) != len(ids):
            raise ValueError(f"{ids.shape} ids, {vectors.shape} vectors and {len(records)} records")
    except FileNotFoundError:
        raise UserError(f"{path}: missing: restore it from a backup, or ingest again into an empty folder") from None
    except (OSError, EOFError, KeyError, ValueError, TypeError, zipfile.BadZipFile) as error:
        raise UserError(
            f"{path}: damaged ({one_line(error)}): restore it from a backup, or ingest again into an empty folder"
        ) from None
    if vectors.shape[1] != dimension:
        raise UserError(f"{path}: holds vectors of {vectors.shape[1]} dimensions, but the encoder makes {dimension}")
    return StoredVectors(
        ids.astype(np.int64, copy=False),
        vectors.astype(np.float32, copy=False),
        [_as_tuples(record) for record in records],
    )


def _as_tuples(record: dict[str, object]) -> Metadata:
    """JSON knows lists only; a field with several values is a tuple."""
    return cast(Metadata, {key: tuple(value) if isinstance(value, list) else value for key, value in record.items()})


@contextmanager
def _whole_or_absent(path: Path) -> Iterator[BinaryIO]:
    """A file that takes its name when the block ends well, and vanishes otherwise."""
    descriptor, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=".tmp")
    try:
        with os.fdopen(descriptor, "wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except BaseException:
        with suppress(OSError):
            os.unlink(temporary)
        raise
    sync_folder(path.parent)
