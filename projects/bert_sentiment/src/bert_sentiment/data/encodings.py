"""Text files as streams of characters, whatever encoding they were saved in.

The encoding is looked for before the first character is handed out: a byte order mark, else UTF-8, else GB18030
(Chinese), else Windows-1252 or Latin-1 (Western European). Everything but sound UTF-8 is said.
"""

import codecs
import gzip
import io
import re
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, TextIO, cast

from roadmap_shared.errors import UserError, did_you_mean

_CHUNK = 1 << 20
_ASCII = bytes(range(128))
_UNDEFINED_IN_CP1252 = frozenset(b"\x81\x8d\x8f\x90\x9d")
_MARKS = {codecs.BOM_UTF8: "utf-8-sig", codecs.BOM_UTF16_LE: "utf-16", codecs.BOM_UTF16_BE: "utf-16"}
_ARCHIVES = {b"PK": "a zip archive or an Excel workbook", b"PAR1": "a Parquet file", b"\x1f\x8b": "a gzip archive"}


@dataclass(frozen=True)
class Encoding:
    """How bytes become characters. `remark` says what a user should know about it, if anything."""

    name: str
    errors: str = "strict"
    remark: str = ""


@contextmanager
def open_text(path: Path, log: Callable[[str], None]) -> Iterator[TextIO]:
    """The file (unpacked when its name ends in .gz) as characters, line ends as they stand.

    Raises:
        UserError: the file is missing, unreadable, empty, damaged or binary.
    """
    try:
        with _open_bytes(path) as file:
            encoding = detect(file, path)
        if encoding.remark:
            log(f"{path.name}: {encoding.remark}")
        with (
            _open_bytes(path) as file,
            io.TextIOWrapper(file, encoding=encoding.name, errors=encoding.errors, newline="") as text,
        ):
            yield text
    except (OSError, EOFError, zlib.error, UnicodeError) as error:
        raise cannot_read(path, error) from error


def detect(file: IO[bytes], path: Path) -> Encoding:
    """The encoding of a file that is open at its beginning; reads it to the end."""
    chunk = file.read(_CHUNK)
    if not chunk.strip():
        raise UserError(f"{path}: is empty: give a file with a text and a label in each row")
    for mark, name in _MARKS.items():
        if chunk.startswith(mark):
            return Encoding(name, "replace")
    if b"\0" in chunk:
        kind = next((kind for magic, kind in _ARCHIVES.items() if chunk.startswith(magic)), "a binary file")
        raise UserError(f"{path}: is {kind}, not text: save it as CSV in UTF-8")
    decoder = codecs.getincrementaldecoder("utf-8")("replace")
    n_damaged = n_high = 0
    beginning, seen = chunk, set()
    while chunk:
        # U+FFFD in the file itself is rare enough to count as damage, which it is.
        n_damaged += decoder.decode(chunk).count("�")
        n_high += len(chunk.translate(None, _ASCII))
        seen.update(chunk)
        chunk = file.read(_CHUNK)
    n_damaged += len(decoder.decode(b"", final=True))
    if not n_damaged:
        return Encoding("utf-8")
    if 10 * n_damaged < n_high:
        return Encoding("utf-8", "replace", f"{n_damaged} damaged places in its UTF-8 are read as �")
    return _guess(beginning, seen)


def _guess(beginning: bytes, seen: set[int]) -> Encoding:
    """The encoding of a file that is not UTF-8."""
    runs = re.findall(rb"[\x80-\xff]+", beginning)
    # A Chinese character is two high bytes, and a clause several characters; an accented letter stands alone.
    if runs and sum(map(len, runs)) / len(runs) >= 3 and _decodes(beginning, "gb18030"):
        return Encoding("gb18030", "replace", "is not UTF-8; read as GB18030 (Chinese). Save it as UTF-8 if wrong")
    is_windows = seen & set(range(0x80, 0xA0)) and not seen & _UNDEFINED_IN_CP1252
    name, shown = ("cp1252", "Windows-1252") if is_windows else ("latin-1", "Latin-1")
    return Encoding(name, "replace", f"is not UTF-8; read as {shown} (Western European). Save it as UTF-8 if wrong")


def _decodes(data: bytes, encoding: str) -> bool:
    try:
        codecs.getincrementaldecoder(encoding)().decode(data)  # may end inside a character
    except UnicodeDecodeError:
        return False
    return True


def _open_bytes(path: Path) -> IO[bytes]:
    return cast(IO[bytes], gzip.open(path, "rb")) if path.suffix == ".gz" else path.open("rb")


def cannot_read(path: Path, error: Exception) -> UserError:
    """The one line for a file that the system does not hand over, or whose archive is damaged."""
    if isinstance(error, FileNotFoundError):
        return missing(path)
    reason = error.strerror if isinstance(error, OSError) and error.strerror else f"damaged: {error}"
    return UserError(f"{path}: cannot be read ({reason})")


def missing(path: Path) -> UserError:
    """The one line for a path that does not exist, with the nearest name in its folder."""
    neighbours = [entry.name for entry in path.parent.iterdir()] if path.parent.is_dir() else []
    return UserError(f"{path}: there is no such file or folder. {did_you_mean(path.name, neighbours)}".rstrip())
