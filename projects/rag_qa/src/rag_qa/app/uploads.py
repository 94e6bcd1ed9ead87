"""Uploaded files: what they may be called, what they must be, and where they are kept.

A file of the user alice called report.pdf becomes the source `uploads/alice/report.pdf`: two users cannot overwrite, or
notice, each other's files. Names are cleaned, never trusted: no part of a path is taken from a client as it is.
"""

import hashlib
import os
import secrets
import unicodedata
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from rag_qa.app.errors import ApiError
from rag_qa.app.keys import NAME
from rag_qa.document_processor.formats import SUFFIXES

FOLDER = "uploads"
"""First part of the source of each uploaded document."""

_MOST_BYTES = 150
"""Of a name in UTF-8; file systems take 255, and temporary names are longer."""

_KEPT = " ._-+,@&()[]'"
_RESERVED = {"con", "prn", "aux", "nul", *(f"{port}{n}" for port in ("com", "lpt") for n in range(10))}
_TEXT_MARKS = (b"\xff\xfe", b"\xfe\xff", b"\xef\xbb\xbf")
_BINARY_STARTS = (
    b"%PDF-",
    b"PK\x03\x04",
    b"\x7fELF",
    b"MZ\x90",
    b"\x89PNG",
    b"GIF8",
    b"\xff\xd8\xff",
    b"\x1f\x8b",
    b"\xd0\xcf\x11\xe0",
)


@dataclass(frozen=True)
class StagedFile:
    """A file that has arrived and is not yet in the index."""

    path: Path
    name: str
    """Cleaned."""

    sha256: str


def clean_name(name: str) -> str:
    """A name that is one part of a path on any file system, or "" where nothing of it is left.

    The last part counts, after slashes of either kind; letters and digits of any script stay, with a little
    punctuation; control, format and direction-changing characters go. Cleaning twice changes nothing.
    """
    last = unicodedata.normalize("NFC", name).replace("\\", "/").rpartition("/")[2]
    kept = "".join(_cleaned(character) for character in last)
    stem, dot, suffix = unicodedata.normalize("NFC", kept).strip(" .").rpartition(".")
    if not dot:
        stem, suffix = suffix, ""
    stem, suffix = stem.strip(" ."), suffix.strip(" .")[:12]
    if not stem or not any(character.isalnum() for character in stem):
        return ""
    if stem.split(".")[0].strip().lower() in _RESERVED:
        stem = f"_{stem}"
    room = _MOST_BYTES - len(suffix.encode())
    stem = stem.encode()[:room].decode(errors="ignore").rstrip(" .")
    return f"{stem}.{suffix}" if suffix else stem


def _cleaned(character: str) -> str:
    category = unicodedata.category(character)
    if character in _KEPT or category[0] in "LNM":
        return character
    return " " if category == "Zs" else "" if category[0] == "C" else "_"


def checked_name(name: str | None) -> str:
    """The cleaned name of a file of a kind that can be read.

    Raises:
        ApiError: 400, nothing is left of the name; 415, it is of another kind.
    """
    cleaned = clean_name(name or "")
    if not cleaned:
        raise ApiError(400, "a file has no name that can be used")
    if Path(cleaned).suffix.lower() not in SUFFIXES:
        raise ApiError(415, f"{cleaned}: files of this kind are not read; there are {' '.join(SUFFIXES)}")
    return cleaned


def check_content(name: str, start: bytes) -> None:
    """Check that the first bytes of a file are of the kind that its name says.

    Raises:
        ApiError: 415.
    """
    suffix = Path(name).suffix.lower()
    if suffix == ".pdf":
        fits = b"%PDF-" in start[:1024]
    elif suffix == ".docx":
        # Encrypted ones are no ZIP but an OLE container; the reader says that they need a password.
        fits = start.startswith((b"PK\x03\x04", b"\xd0\xcf\x11\xe0"))
    else:
        fits = start.startswith(_TEXT_MARKS) or not (start.startswith(_BINARY_STARTS) or b"\0" in start)
    if start and not fits:
        raise ApiError(415, f"{name}: its content is not what its name says")


def owner_of(source: str) -> str | None:
    """Who uploaded a document, or None for one that came by another way."""
    parts = source.split("/")
    return parts[1] if len(parts) == 3 and parts[0] == FOLDER else None


class UploadFolder:
    """The files behind uploaded documents, so that their pages can be shown."""

    def __init__(self, folder: Path) -> None:
        """Args:
        folder: made where it is missing. It must be no link.
        """
        self.folder = folder

    def source(self, user: str, name: str) -> str:
        """What the document is called in the index."""
        return f"{FOLDER}/{user}/{name}"

    def path(self, source: str) -> Path:
        """Where the file of an uploaded document is kept.

        Raises:
            ValueError: the source is no uploaded one, or would lie outside the folder.
        """
        owner = owner_of(source)
        name = source.rpartition("/")[2]
        if owner is None or not NAME.fullmatch(owner) or not name or name != clean_name(name):
            raise ValueError(source)
        return self.folder / owner / name

    @contextmanager
    def staging(self) -> Iterator[Path]:
        """A folder of its own for the files of one upload; it is gone afterwards.

        It lies outside the index, whose files are searched after a deletion, and on the same disk.
        """
        index = self.folder.parent
        place = index.parent / f".{index.name}-incoming-{secrets.token_hex(8)}"
        place.mkdir(parents=True, mode=0o700)
        try:
            yield place
        finally:
            for left in place.iterdir():
                left.unlink(missing_ok=True)
            place.rmdir()

    def keep(self, staged: StagedFile, source: str) -> None:
        """Put a file that has been indexed in its place, replacing an older one in one step."""
        place = self.path(source)
        place.parent.mkdir(parents=True, exist_ok=True)
        os.replace(staged.path, place)

    def remove(self, source: str) -> None:
        """Remove the file of an uploaded document, if there is one."""
        with suppress(ValueError, FileNotFoundError):
            self.path(source).unlink()


def sha256_of(path: Path) -> str:
    """Of a file's bytes, hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
