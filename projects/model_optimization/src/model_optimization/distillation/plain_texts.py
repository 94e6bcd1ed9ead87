"""Texts without labels, from files."""

from collections.abc import Collection
from pathlib import Path

from roadmap_shared.errors import UserError

LONGEST = 20_000
"""Characters of a line; a longer one is no text but a file of another kind."""


def read_plain_texts(path: Path, flag: str, without: Collection[str] = ()) -> tuple[str, ...]:
    """One text a line, blanks joined, each text once. Says how many lines could not be used.

    Args:
        path: a UTF-8 file, or a folder of .txt files.
        flag: that named it, for messages.
        without: texts that must not be among them, such as those of the test part.

    Raises:
        UserError: there is no such file, it is no UTF-8, or no text is left.
    """
    files = sorted(path.glob("*.txt")) if path.is_dir() else [path]
    if not files or not files[0].is_file():
        raise UserError(f"{flag} {path}: there is no such file, and no folder with .txt files")
    lines = [" ".join(line.split()) for file in files for line in _decoded(file, flag).splitlines()]
    held = {text.casefold() for text in without}
    texts = dict.fromkeys(line for line in lines if line and len(line) <= LONGEST)
    kept = tuple(text for text in texts if text.casefold() not in held)
    if not kept:
        raise UserError(f"{flag} {path}: holds no text (one a line, of at most {LONGEST:,} characters)")
    too_long, held_out = sum(len(line) > LONGEST for line in lines), len(texts) - len(kept)
    if too_long or held_out:
        print(f"{path}: left out {too_long:,} lines that are too long and {held_out:,} texts of the other parts")
    return kept


def _decoded(file: Path, flag: str) -> str:
    try:
        return file.read_bytes().decode("utf-8-sig")
    except OSError as error:
        raise UserError(f"{flag} {file}: cannot be read ({error.strerror})") from None
    except UnicodeDecodeError as error:
        raise UserError(f"{flag} {file}: byte {error.start:,} is not UTF-8: convert the file first") from None
