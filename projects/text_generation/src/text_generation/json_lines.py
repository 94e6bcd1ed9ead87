"""JSON lines: one object a line, read with the number of each line, and appended so that no line is lost.

What is wrong with a line is told and spoils that line alone.
"""

import fcntl
import json
import os
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from roadmap_shared.errors import UserError

HALF_PAIR = "half of a surrogate pair, which has no UTF-8 form"


@dataclass(frozen=True)
class Reject:
    """A line that cannot be used, and why."""

    path: Path
    line: int
    reason: str

    def __str__(self) -> str:
        return f"{self.path}:{self.line}: {self.reason}"


class BrokenJsonError(ValueError):
    """Why a line is no JSON: the `problem`, and the `column` where the parser stopped, where it says so."""

    def __init__(self, problem: str, column: int | None = None) -> None:
        super().__init__(problem)
        self.problem, self.column = problem, column


def read_text(path: Path) -> str:
    """The text of a UTF-8 file; what is not UTF-8 becomes U+FFFD, so that it spoils its own line alone.

    Raises:
        UserError: it cannot be read.
    """
    try:
        return path.read_bytes().decode("utf-8-sig", "replace")
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror})") from error


def numbered_lines(text: str) -> Iterator[tuple[int, str]]:
    """(line number from 1, line) of the lines that are not blank."""
    # Only \n ends a line: a JSON text may hold the other characters that str.splitlines cuts at.
    for number, line in enumerate(text.split("\n"), start=1):
        if line.strip():
            yield number, line


def parsed(line: str | bytes) -> Any:
    """The JSON value of a line.

    Raises:
        BrokenJsonError: it is none, or one that Python does not take.
    """
    try:
        return json.loads(line)
    except json.JSONDecodeError as error:
        raise BrokenJsonError(error.msg, error.colno) from None
    except UnicodeDecodeError:
        raise BrokenJsonError("not UTF-8") from None
    except RecursionError:
        raise BrokenJsonError("nested too deeply") from None
    except ValueError:  # Python reads no integer of more than 4,300 digits
        raise BrokenJsonError("a number with too many digits") from None


def has_half_pair(value: Any) -> bool:
    """Whether a text in a JSON value holds half of a surrogate pair, which no tokenizer and no file takes."""
    left = [value]  # no recursion: what the parser takes may be nested more deeply than Python calls
    while left:
        match left.pop():
            case str(text) if not _has_utf8_form(text):
                return True
            case list(entries):
                left += entries
            case dict(fields):
                left += [*fields, *fields.values()]
    return False


def _has_utf8_form(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def json_lines(text: str) -> Iterator[tuple[int, dict[str, Any] | str]]:
    """(line, object), or (line, what is wrong with it). Blank lines are passed over."""
    for number, line in numbered_lines(text):
        try:
            value = parsed(line)
        except BrokenJsonError as error:
            yield number, f"broken JSON ({error.problem})"
            continue
        if has_half_pair(value):
            yield number, HALF_PAIR
        else:
            yield number, value if isinstance(value, dict) else "no JSON object"


def append_line(path: Path, record: Mapping[str, Any]) -> None:
    """Append an object to a file that other processes may be appending to, and force it to the disk.

    The file is made with its folder. A last line without its end, as a process leaves it that was killed while
    writing, is ended first.

    Raises:
        OSError: the file cannot be written.
    """
    line = json.dumps(record).encode()
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("ab+") as file:
        _lock(file)
        end = file.seek(0, os.SEEK_END)
        broken = False
        if end:
            file.seek(end - 1)
            broken = file.read(1) != b"\n"
        file.write((b"\n" if broken else b"") + line + b"\n")
        file.flush()
        os.fsync(file.fileno())


def _lock(file: IO[bytes]) -> None:
    """Wait until no other process writes to the file; it is ours until it is closed."""
    # Some network file systems have no locks. A process that writes there alone needs none.
    with suppress(OSError):
        fcntl.flock(file, fcntl.LOCK_EX)


def cut_torn_line(path: Path) -> bytes:
    """What a file holds, without a last line that a killed process left unfinished, which is cut off.

    Raises:
        OSError: the file cannot be read, or the line cannot be cut off.
    """
    content = path.read_bytes() if path.exists() else b""
    if content and not content.endswith(b"\n"):
        with path.open("r+b") as file:
            _lock(file)  # what looks torn may be a line that another process is writing
            content = file.read()
            content = content[: content.rfind(b"\n") + 1]
            file.truncate(len(content))
    return content
