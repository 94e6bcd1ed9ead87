"""What has to be done with each file: decided by sizes, times and hashes, before any is read as a document."""

import hashlib
import stat
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from rag_qa.document_processor.database import DocumentInfo, FileStamp
from rag_qa.document_processor.files import FoundFile
from rag_qa.document_processor.ingest_report import Duplicate, Refused


@dataclass
class Plan:
    """Sources by what is to be done with them."""

    read: list[tuple[FoundFile, FileStamp]] = field(default_factory=list)
    """Files to read, with what they were when they were looked at."""

    copies: dict[str, list[tuple[FoundFile, FileStamp]]] = field(default_factory=dict)
    """Files with the bytes of one to read, by its source: duplicates once that one has been read. Where it cannot be,
    one of them may, since the suffix has a say in how bytes are read."""

    unchanged: dict[str, FileStamp] = field(default_factory=dict)
    removed: list[str] = field(default_factory=list)
    duplicates: list[Duplicate] = field(default_factory=list)
    refused: list[Refused] = field(default_factory=list)


def make_plan(
    files: Iterable[FoundFile],
    known: Sequence[DocumentInfo],
    groups: tuple[str, ...],
    folder: Path | None,
    max_bytes: int,
) -> Plan:
    """Compare files with what the index has.

    Args:
        files: what was found, each source once.
        known: the index's documents.
        groups: who may see the files.
        folder: the folder that was searched: documents that came from it and are not among the files are removed.
            None: nothing is.
        max_bytes: larger files are not hashed; the reader refuses them.
    """
    plan, by_source = Plan(), {info.source: info for info in known}
    root = None if folder is None else folder.resolve()
    looked_at: list[tuple[FoundFile, FileStamp, str | None]] = []
    for found in files:
        info = by_source.get(found.source)
        stamp = _stamp(found.path, root)
        if info is not None and _belongs_elsewhere(info, stamp):
            plan.refused.append(Refused(source=found.source, reason=_taken(info)))
        else:
            looked_at.append((found, stamp, _hash(found.path, info, stamp, max_bytes)))
    present = {found.source for found, _, _ in looked_at} | {one.source for one in plan.refused}
    plan.removed = [
        info.source
        for info in known
        if root is not None and info.file is not None and info.file.root == root and info.source not in present
    ]
    _compare(plan, looked_at, by_source, groups)
    return plan


def _compare(
    plan: Plan,
    looked_at: list[tuple[FoundFile, FileStamp, str | None]],
    by_source: dict[str, DocumentInfo],
    groups: tuple[str, ...],
) -> None:
    """Sort files into unchanged ones, duplicates and those to read."""
    stays = {source: info for source, info in by_source.items() if source not in plan.removed}
    for found, stamp, content_hash in looked_at:
        info = by_source.get(found.source)
        if info is not None and info.content_hash == content_hash and info.groups == groups:
            plan.unchanged[found.source] = stamp
        else:
            stays.pop(found.source, None)
    # The same bytes for other readers are another document: a duplicate would show its name to them.
    first = {(info.content_hash, info.groups): source for source, info in stays.items()}
    to_read: set[str] = set()
    for found, stamp, content_hash in looked_at:
        if found.source in plan.unchanged:
            continue
        same_as = first.setdefault((content_hash or "", groups), found.source) if content_hash else found.source
        if same_as == found.source:
            plan.read.append((found, stamp))
            to_read.add(found.source)
        elif same_as in to_read:
            plan.copies.setdefault(same_as, []).append((found, stamp))
        else:
            plan.duplicates.append(Duplicate(source=found.source, same_as=same_as))
            if found.source in by_source:
                plan.removed.append(found.source)


def _stamp(path: Path, root: Path | None) -> FileStamp:
    try:
        status = path.stat()
    except OSError:  # the reader says why
        return FileStamp(path=path.absolute(), size=-1, mtime_ns=-1, root=root)
    regular = stat.S_ISREG(status.st_mode)
    return FileStamp(
        path=path.absolute(), size=status.st_size if regular else -1, mtime_ns=status.st_mtime_ns, root=root
    )


def _hash(path: Path, info: DocumentInfo | None, stamp: FileStamp, max_bytes: int) -> str | None:
    """The sha256 of a file's bytes; None where it cannot be told."""
    if info is not None and info.file is not None:
        was = info.file
        if (was.path, was.size, was.mtime_ns) == (stamp.path, stamp.size, stamp.mtime_ns) and stamp.size >= 0:
            return info.content_hash
    if not 0 <= stamp.size <= max_bytes:
        return None
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError:
        return None


def _belongs_elsewhere(info: DocumentInfo, stamp: FileStamp) -> bool:
    """Whether the index has a document of this name from another file, which is still there."""
    if info.file is None or info.file.path == stamp.path:
        return False
    try:
        return info.file.path.exists() and not info.file.path.samefile(stamp.path)
    except OSError:
        return False


def _taken(info: DocumentInfo) -> str:
    assert info.file is not None
    return (
        f"{info.source}: the index has a document of this name from {info.file.path}: rename one of the files, or "
        "ingest the folder above both"
    )
