"""Which files of a folder are read, and their bytes within bounds."""

import os
import re
import stat
from dataclasses import dataclass
from pathlib import Path

from rag_qa.document_processor.unreadable import UnreadableDocument
from roadmap_shared.errors import UserError


@dataclass(frozen=True)
class FoundFile:
    """A file to read and what its document is called."""

    path: Path
    source: str
    """Path within the folder, with forward slashes, on one line: bytes that are no UTF-8, and characters that steer a
    terminal or the direction of text, appear as \\xNN and the like."""


@dataclass(frozen=True)
class SkippedFile:
    """An entry of a folder that is not followed."""

    source: str
    reason: str


@dataclass(frozen=True, kw_only=True)
class Survey:
    """What a folder holds, both parts sorted by source."""

    files: tuple[FoundFile, ...]
    skipped: tuple[SkippedFile, ...]


_STEERING = re.compile("[\x00-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069]")
_NOWHERE = "a link that leads nowhere, or back to itself"


def find_files(folder_or_file: Path) -> list[FoundFile]:
    """Files below a folder (or the one file), sorted by source, hidden ones left out; see `survey`.

    A file of a kind without a reader is in the list: `read_document` refuses it with its reason.
    """
    return list(survey(folder_or_file).files)


def survey(folder_or_file: Path) -> Survey:
    """Files below a folder, and the entries that are not followed, with the reason.

    Hidden files and folders (a name that begins with a dot) are left out in silence, with Office's lock files (~$).
    A link is followed only to a file within the folder, and never to a folder: that keeps out loops and files that
    nobody meant to index. Raises UserError: there is no such file, or the folder cannot be listed.
    """
    root = Path(folder_or_file)
    try:
        mode = root.stat().st_mode
    except (OSError, ValueError) as error:
        raise UserError(f"{root}: cannot be read: {getattr(error, 'strerror', None) or error}") from None
    if not stat.S_ISDIR(mode):
        return Survey(files=(FoundFile(path=root, source=_printable(root.name)),), skipped=())
    files: list[FoundFile] = []
    skipped: list[SkippedFile] = []

    def failed(error: OSError) -> None:
        if error.filename is None or Path(error.filename) == root:
            raise UserError(f"{root}: cannot be listed: {error.strerror}") from None
        skipped.append(SkippedFile(source=_source(Path(error.filename), root), reason=f"{error.strerror}"))

    for folder, folders, names in os.walk(root, onerror=failed):
        for name in [*folders, *names]:
            path = Path(folder, name)
            if _hidden(name) or (name in folders and not path.is_symlink()):
                continue
            if reason := _why_not(path, root):
                skipped.append(SkippedFile(source=_source(path, root), reason=reason))
            else:
                files.append(FoundFile(path=path, source=_source(path, root)))
        folders[:] = [name for name in folders if not _hidden(name)]
    return Survey(
        files=tuple(sorted(files, key=lambda found: found.source)),
        skipped=tuple(sorted(skipped, key=lambda entry: entry.source)),
    )


def read_bytes(path: Path, source: str, max_bytes: int) -> bytes:
    """The whole file, read once, so that text and hash speak of the same bytes.

    Raises UnreadableDocument: a folder, a device, an empty file, one above `max_bytes`, or one that is gone.
    """
    try:
        status = path.stat()
        if stat.S_ISDIR(status.st_mode):
            raise UnreadableDocument(f"{source}: is a folder, not a file")
        if not stat.S_ISREG(status.st_mode):
            # Opening a pipe would wait for a writer.
            raise UnreadableDocument(f"{source}: is not a regular file")
        with path.open("rb") as file:
            data = file.read(max_bytes + 1)
    except FileNotFoundError:
        raise UnreadableDocument(f"{source}: is gone: it was moved or deleted before it could be read") from None
    except (OSError, ValueError) as error:
        raise UnreadableDocument(f"{source}: cannot be read: {getattr(error, 'strerror', None) or error}") from None
    if len(data) > max_bytes:
        raise UnreadableDocument(
            f"{source}: is larger than {max_bytes:,} bytes; raise --reading.max_bytes to read it, or split it"
        )
    if not data:
        raise UnreadableDocument(f"{source}: is empty (0 bytes)")
    return data


def _why_not(path: Path, root: Path) -> str:
    """Why an entry that is no plain folder is left out, or "" for a file to read."""
    try:
        if path.is_symlink():
            target = path.resolve(strict=True)
            if target.is_dir():
                return "a link to a folder, not followed"
            if not target.is_relative_to(root.resolve()):
                return "a link to a file outside the folder, not followed"
        if not stat.S_ISREG(path.stat().st_mode):
            return "not a regular file"
    except RuntimeError:
        return _NOWHERE  # Python below 3.13 says so by RuntimeError
    except OSError as error:
        return _NOWHERE if path.is_symlink() else f"{error.strerror}"
    return ""


def _hidden(name: str) -> bool:
    return name.startswith((".", "~$"))


def _source(path: Path, root: Path) -> str:
    return _printable(path.relative_to(root).as_posix())


def _printable(name: str) -> str:
    # A name that is no UTF-8 comes with lone surrogates, which neither JSON nor SQLite can store. With a line break, a
    # name would write lines of its own into every report.
    whole = os.fsencode(name).decode("utf-8", "backslashreplace")
    return _STEERING.sub(lambda sign: sign[0].encode("unicode_escape").decode(), whole)
