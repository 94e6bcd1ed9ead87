"""The history of a conversation: a JSONL file that is only ever appended to.

```
{"id": 1, "role": "system", "content": "Be brief.", "time": "…"}
{"id": 2, "role": "user", "content": "Hello!", "time": "…"}
{"id": 3, "role": "assistant", "content": "Good day.", "time": "…"}
{"undo": [2, 3], "time": "…"}
```

What is taken back stays in the file, with a line that says so. A file with role and content alone can be gone on with.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from roadmap_shared.errors import UserError
from roadmap_shared.files import atomic_write
from roadmap_shared.interruption import finish_step_on_interrupt
from text_generation.backends.prompts import ROLES
from text_generation.backends.types import Message, Role
from text_generation.json_lines import append_line, json_lines, read_text


@dataclass(frozen=True)
class Turn:
    """What one side said."""

    id: int
    role: Role
    content: str
    interrupted: bool = False
    """The answer was stopped before its end."""


class History:
    """The turns of a conversation, in memory and on the disk. After every change the file is on the disk."""

    def __init__(self, path: Path) -> None:
        """Read what is there. Lines that cannot be used are left out of the file; it is copied to NAME.bak before.

        Raises:
            UserError: the file cannot be read or written, or holds no conversation.
        """
        self.path = path
        self.system = ""
        self.turns: list[Turn] = []
        """What was said and not taken back, without the system prompt."""
        self.repairs: list[str] = []
        """What was wrong with the file, a line each."""
        self._next_id = 1
        if path.exists():
            self._load()

    def messages(self) -> list[Message]:
        """The conversation for a model. Turns of one side that follow each other, as after an answer that never came,
        become one: chat templates want the sides to alternate."""
        found = [Message("system", self.system)] if self.system else []
        for turn in self.turns:
            if found and found[-1].role == turn.role:
                found[-1] = Message(turn.role, f"{found[-1].content}\n\n{turn.content}")
            else:
                found.append(Message(turn.role, turn.content))
        return found

    @property
    def next_id(self) -> int:
        """Number of the next turn; no other turn of the file ever had it."""
        return self._next_id

    def add(self, role: Role, content: str, *, interrupted: bool = False) -> Turn:
        """Append a turn. A system prompt takes the place of the one before; an empty one ends it.

        Raises:
            UserError: the file cannot be written.
        """
        # Half of a surrogate pair, as a server may send it, has no UTF-8 form: such a line could not be read again.
        turn = Turn(self._next_id, role, content.encode("utf-8", "replace").decode(), interrupted)
        record: dict[str, Any] = {"id": turn.id, "role": role, "content": turn.content}
        self._append({**record, "interrupted": True} if interrupted else record)
        self._take(turn)
        return turn

    def take_back(self, turns: Sequence[Turn]) -> None:
        """Take turns out of the conversation. Errors as for `add`."""
        self._append({"undo": [turn.id for turn in turns]})
        self.turns = [turn for turn in self.turns if turn not in turns]

    def _take(self, turn: Turn) -> None:
        self._next_id = max(self._next_id, turn.id) + 1
        if turn.role == "system":
            self.system = turn.content
        else:
            self.turns.append(turn)

    def _append(self, record: dict[str, Any]) -> None:
        line = {**record, "time": datetime.now(UTC).isoformat(timespec="seconds")}
        try:
            # A second Ctrl-C, while an answer that the first one stopped is being saved, must not cut the line.
            with finish_step_on_interrupt():
                append_line(self.path, line)
        except OSError as error:
            raise UserError(
                f"{self.path}: cannot be written ({error.strerror}). Free some space, or choose another --history."
            ) from error

    def _load(self) -> None:
        text = read_text(self.path)
        damaged: dict[int, str] = {}
        good: list[str] = []
        split = text.split("\n")
        for number, value in json_lines(text):
            problem = value if isinstance(value, str) else self._use(value)
            if problem:
                damaged[number] = problem
            else:
                good.append(split[number - 1])
        if damaged and not good:
            number, problem = next(iter(damaged.items()))
            raise UserError(
                f"{self.path}, line {number}: {problem}; the file holds no conversation. Choose another --history."
            )
        if damaged:
            self._repair(good, damaged)

    def _use(self, record: dict[str, Any]) -> str:
        """Apply a line; returns what is wrong with it, or ""."""
        if "undo" in record:
            undone = record["undo"]
            if not isinstance(undone, list) or not all(type(number) is int for number in undone):
                return "undo must be a list of turns' numbers"
            for number in undone:
                last = next((turn for turn in reversed(self.turns) if turn.id == number), None)
                if last is not None:
                    self.turns.remove(last)
            return ""
        if record.get("role") not in ROLES:
            return f"role must be one of {', '.join(ROLES)}"
        if not isinstance(record.get("content"), str):
            return "content must be a text"
        given = record.get("id", self._next_id)
        if type(given) is not int or given < 1:
            return "id must be a whole number from 1 on"
        self._take(Turn(given, record["role"], record["content"], record.get("interrupted") is True))
        return ""

    def _repair(self, good: Sequence[str], damaged: dict[int, str]) -> None:
        """Copy the file aside, and write it without the damaged lines."""
        backup = self.path.with_name(f"{self.path.name}.bak")
        number = 1
        while backup.exists():
            number += 1
            backup = self.path.with_name(f"{self.path.name}.bak{number}")
        try:
            atomic_write(backup, self.path.read_bytes())
            atomic_write(self.path, "".join(f"{line}\n" for line in good))
        except OSError as error:
            raise UserError(f"{self.path}: its damaged lines cannot be set aside ({error.strerror})") from error
        self.repairs = [f"{self.path}, line {line}: {problem}; skipped" for line, problem in damaged.items()]
        self.repairs.append(f"the file as it was is kept as {backup}")
