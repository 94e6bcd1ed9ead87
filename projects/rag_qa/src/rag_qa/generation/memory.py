"""Conversations: what was asked and answered before, as far as it fits, one file for each user and conversation."""

import hashlib
import json
import os
import re
from collections.abc import Callable, Sequence
from pathlib import Path

from rag_qa.protocols import Turn
from roadmap_shared.errors import UserError

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,63}")


def estimated_tokens(text: str) -> int:
    """Tokens where no tokenizer is known: one for every three bytes, on the safe side for most languages."""
    return -(-len(text.encode("utf-8", "surrogatepass")) // 3)


def bounded(
    turns: Sequence[Turn], max_turns: int, max_tokens: int, count: Callable[[str], int] = estimated_tokens
) -> list[Turn]:
    """The latest turns that fit, in order: at most `max_turns`, and `max_tokens` together."""
    kept: list[Turn] = []
    room = max_tokens
    for turn in list(turns)[::-1][: max(0, max_turns)]:
        room -= count(turn.question) + count(turn.answer)
        if room < 0:
            break
        kept.append(turn)
    return kept[::-1]


class ConversationMemory:
    """Turns of conversations, appended to JSON Lines files: `folder/<user>/<conversation>.jsonl`.

    A user's folder is named by the sha256 of the name: no name can lead to another user's folder or out of it.
    """

    def __init__(self, folder: Path | None = None, max_turns: int = 6, max_tokens: int = 1500) -> None:
        """Args:
        folder: where conversations are kept; None keeps them in memory only.
        max_turns: turns that a generator gets.
        max_tokens: estimated tokens that they may take up together.
        """
        if max_turns < 0 or max_tokens < 0:
            raise ValueError(f"max_turns {max_turns} and max_tokens {max_tokens} must be at least 0")
        self.folder, self.max_turns, self.max_tokens = folder, max_turns, max_tokens
        self._turns: dict[tuple[str, str], list[Turn]] = {}

    def add(self, user: str, conversation: str, turn: Turn) -> None:
        """Append a turn, on the disk first.

        Raises:
            UserError: the conversation's name is none, or the file cannot be written.
        """
        path = self._path(user, conversation)
        turns = self._load(user, conversation)
        if path is not None:
            line = json.dumps({"question": turn.question, "answer": turn.answer}, ensure_ascii=True) + "\n"
            try:
                path.parent.mkdir(parents=True, exist_ok=True)
                _append(path, line.encode())
            except OSError as error:
                raise UserError(f"{path}: the conversation cannot be kept: {error.strerror}") from error
        turns.append(turn)

    def history(self, user: str, conversation: str) -> list[Turn]:
        """The latest turns within the bounds."""
        return bounded(self._load(user, conversation), self.max_turns, self.max_tokens)

    def all_turns(self, user: str, conversation: str) -> list[Turn]:
        """Every turn, for showing a conversation again."""
        return list(self._load(user, conversation))

    def conversations(self, user: str) -> list[str]:
        """Names of the user's conversations."""
        known = {name for owner, name in self._turns if owner == user and self._turns[owner, name]}
        if self.folder is not None:
            known |= {path.stem for path in (self.folder / _folder_name(user)).glob("*.jsonl")}
        return sorted(known)

    def forget(self, user: str, conversation: str) -> bool:
        """Delete a conversation; whether there was one."""
        path = self._path(user, conversation)
        existed = bool(self._turns.pop((user, conversation), None))
        if path is not None and path.exists():
            path.unlink()
            existed = True
        return existed

    def _load(self, user: str, conversation: str) -> list[Turn]:
        path = self._path(user, conversation)
        key = (user, conversation)
        if key not in self._turns:
            self._turns[key] = [] if path is None or not path.exists() else _read(path)
        return self._turns[key]

    def _path(self, user: str, conversation: str) -> Path | None:
        if not _NAME.fullmatch(conversation):
            raise UserError(
                f"'{conversation[:80]}' is no name of a conversation: use 1 to 64 letters, digits, hyphens and "
                "underscores"
            )
        return None if self.folder is None else self.folder / _folder_name(user) / f"{conversation}.jsonl"


def _folder_name(user: str) -> str:
    return hashlib.sha256(user.encode("utf-8", "surrogatepass")).hexdigest()[:32]


def _append(path: Path, line: bytes) -> None:
    """Append a line; a torn last line, left by a killed process, is closed first so that it spoils no other."""
    with path.open("ab+") as file:
        if file.tell():
            file.seek(-1, os.SEEK_END)
            torn = file.read(1) != b"\n"
            line = b"\n" + line if torn else line
        file.write(line)
        file.flush()
        os.fsync(file.fileno())


def _read(path: Path) -> list[Turn]:
    """The turns of a file; lines that are none are left out."""
    turns = []
    for line in path.read_bytes().split(b"\n"):
        try:
            row = json.loads(line)
            turns.append(Turn(str(row["question"]), str(row["answer"])))
        except (ValueError, KeyError, TypeError):
            continue
    return turns
