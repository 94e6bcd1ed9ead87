"""Text files as streams of characters, whatever encoding they were saved in: for training and for prediction.

The encoding is looked for before the first character is handed out: a byte order mark, else UTF-8, else GB18030
(Chinese), else Windows-1252 or Latin-1 (Western European). What was guessed is said.
"""

import codecs
import gzip
import hashlib
import io
import re
import zlib
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, TextIO, cast

from roadmap_shared.errors import UserError, did_you_mean

_BLOCK = 1 << 20
_ASCII = bytes(range(128))
_UNDEFINED_IN_CP1252 = frozenset(b"\x81\x8d\x8f\x90\x9d")
_MARKS = {codecs.BOM_UTF8: "utf-8-sig", codecs.BOM_UTF16_LE: "utf-16", codecs.BOM_UTF16_BE: "utf-16"}
_ARCHIVES = {b"PK": "a zip archive or an Excel workbook", b"PAR1": "a Parquet file", b"\x1f\x8b": "a gzip archive"}
_ESCAPED = re.compile("[\udc80-\udcff]")  # bytes that are no UTF-8, as the error handler surrogateescape reads them


@dataclass(frozen=True)
class Encoding:
    """How bytes become characters. `remark` says what a user should know about it, if anything."""

    name: str
    errors: str = "strict"
    remark: str = ""

    @property
    def has_mark(self) -> bool:
        """Whether the file begins with a byte order mark."""
        return self.name in _MARKS.values()

    @property
    def is_utf8(self) -> bool:
        return self.name.startswith("utf-8")


@dataclass(frozen=True)
class TextFile:
    """A file that was examined: it can be opened again and again. `sha256` is that of its (unpacked) bytes."""

    path: Path
    encoding: Encoding
    sha256: str

    @contextmanager
    def open(self) -> Iterator[TextIO]:
        """The file as characters, line ends as they stand.

        Raises:
            UserError: the file is unreadable, or damaged behind the part that was read.
        """
        with (
            _reading(self.path),
            _open_bytes(self.path) as file,
            io.TextIOWrapper(file, encoding=self.encoding.name, errors=self.encoding.errors, newline="") as text,
        ):
            yield text


def examine(path: Path) -> TextFile:
    """Read a file once, in blocks, for its encoding and its checksum. One whose name ends in .gz is unpacked.

    Raises:
        UserError: the file is missing, unreadable, empty, damaged or binary.
    """
    digest = hashlib.sha256()

    def blocks(file: IO[bytes]) -> Iterator[bytes]:
        while block := file.read(_BLOCK):
            digest.update(block)
            yield block

    with _reading(path), _open_bytes(path) as file:
        encoding = detect(blocks(file), path)
        for _ in blocks(file):
            pass  # a mark settles the encoding before the end
    return TextFile(path, encoding, digest.hexdigest())


@contextmanager
def open_text(path: Path, log: Callable[[str], None]) -> Iterator[TextIO]:
    """The file as characters, line ends as they stand; `log` is told about an encoding that was guessed.

    Raises:
        UserError: the file is missing, unreadable, empty, damaged or binary.
    """
    found = examine(path)
    if found.encoding.remark:
        log(f"{path.name}: {found.encoding.remark}")
    with found.open() as text:
        yield text


def detect(blocks: Iterable[bytes], path: Path) -> Encoding:
    """The encoding of a file that comes in blocks. The path is for messages."""
    blocks = iter(blocks)
    beginning = next(blocks, b"")
    if not beginning.strip():
        raise UserError(f"{path}: is empty: give a file with a text in each row")
    for mark, name in _MARKS.items():
        if beginning.startswith(mark):
            return Encoding(name, "replace")
    _refuse_binary(beginning, path)
    decoder = codecs.getincrementaldecoder("utf-8")("surrogateescape")
    n_damaged = n_high = 0
    block, seen = beginning, set()
    while block:
        n_damaged += len(_ESCAPED.findall(decoder.decode(block)))
        n_high += len(block.translate(None, _ASCII))
        seen.update(block)
        block = next(blocks, b"")
    n_damaged += len(decoder.decode(b"", final=True))
    if not n_damaged:
        return Encoding("utf-8")
    if 10 * n_damaged < n_high:
        places = "1 damaged byte in its UTF-8 is" if n_damaged == 1 else f"{n_damaged} damaged bytes in its UTF-8 are"
        return Encoding("utf-8", "replace", f"{places} read as �")
    return _guess(beginning, seen)


def _refuse_binary(beginning: bytes, path: Path) -> None:
    """Raise for a file that is no text. A lone zero byte in a long text is a slip, and a character like any other."""
    if b"\0" not in beginning:
        return
    kind = next((kind for magic, kind in _ARCHIVES.items() if beginning.startswith(magic)), None)
    if kind or 1000 * beginning.count(0) > len(beginning):
        raise UserError(f"{path}: is {kind or 'a binary file'}, not text: save it as CSV in UTF-8")


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


def suffix_of(path: Path) -> str:
    """What the name ends in, in small letters, without .gz."""
    return (path.with_suffix("") if path.suffix == ".gz" else path).suffix.lower()


def _open_bytes(path: Path) -> IO[bytes]:
    return cast(IO[bytes], gzip.open(path, "rb")) if path.suffix == ".gz" else path.open("rb")


@contextmanager
def _reading(path: Path) -> Iterator[None]:
    try:
        yield
    except (OSError, EOFError, zlib.error, UnicodeError) as error:
        raise cannot_read(path, error) from error


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
