"""A conversation's file and its lock where something odd is written, typed or refused."""

import errno
import fcntl
from pathlib import Path
from typing import Any

import pytest

from roadmap_shared.errors import UserError
from text_generation.backends.scripted import ScriptedBackend
from text_generation.text_generator import TextGenerator
from text_generation.writing.history import History
from text_generation.writing.locks import locked
from text_generation.writing.session import ChatSession
from text_generation.writing.terminal import ChatTerminal


def test_an_answer_with_half_of_a_surrogate_pair_is_there_again_when_the_history_is_read(tmp_path: Path) -> None:
    """A server may send one, as JSON can hold it."""
    path = tmp_path / "chat.jsonl"
    history = History(path)
    session = ChatSession(TextGenerator(ScriptedBackend(["half \ud83d of it"])), history)
    list(session.say("hello"))
    again = History(path)
    assert again.repairs == []
    assert again.turns == history.turns
    assert again.turns[1].content == "half ? of it"


class Output:
    """Keeps what is written."""

    def __init__(self) -> None:
        self.text = ""

    def write(self, text: str) -> None:
        self.text += text

    def flush(self) -> None:
        """Nothing is held back."""


def typed(folder: Path, *lines: str) -> str:
    """What a person is told who types these lines."""
    left, notes = iter(lines), Output()

    def read_line(prompt: str) -> str:
        try:
            return next(left)
        except StopIteration:
            raise EOFError from None

    session = ChatSession(TextGenerator(ScriptedBackend(["yes"])), History(folder / "chat.jsonl"))
    streams: Any = (Output(), notes)
    ChatTerminal(session, read_line, *streams, interactive=True, on_terminal=False).run()
    return notes.text


@pytest.mark.parametrize(
    ("name", "problem"),
    [
        ("~no-such-user/a.md", "~no-such-user/a.md: there is no such user. Give another name: /save FILE"),
        ("x" * 300, "x" * 300 + ": cannot be written (File name too long)"),
        ("a\0b", "a�b: cannot be written (embedded null byte)"),
    ],
)
def test_a_name_that_no_file_can_have_ends_no_session(tmp_path: Path, name: str, problem: str) -> None:
    notes = typed(tmp_path, "hello", f"/save {name}", "/save", "/quit")
    assert notes.splitlines() == [problem, f"saved as {tmp_path / 'chat.md'}"]


def test_a_file_system_without_locks_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(descriptor: int, operation: int) -> None:
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(fcntl, "flock", refuse)
    with pytest.raises(UserError) as caught, locked(tmp_path / ".lock", "busy"):
        pass
    assert str(caught.value) == f"{tmp_path / '.lock'}: cannot be locked (No locks available). Choose another place."
