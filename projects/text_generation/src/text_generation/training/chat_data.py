"""Conversations and preferences from JSON lines, in the shapes in which such data is published.

| row | becomes |
|---|---|
| `{"messages": [{"role": "user", "content": "…"}, …]}` | the conversation |
| `{"prompt": "…", "completion": "…"}` | a question and its answer |
| `{"instruction": "…", "input": "…", "output": "…"}` (Taori et al. 2023, Alpaca) | likewise; the input is optional |
| `{"prompt": "…", "chosen": "…", "rejected": "…"}` | a preference; each may also be a list of messages |

A row that cannot be used becomes a `Reject` with its line; the rest goes on.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar, get_args

from roadmap_shared.errors import UserError, did_you_mean
from text_generation.backends.types import Message, Role
from text_generation.corpora.splitting import hash_fraction
from text_generation.corpora.types import Reject, rejected_line
from text_generation.json_lines import HALF_PAIR, BrokenJsonError, has_half_pair, numbered_lines, parsed

Row = dict[str, Any]
Item = TypeVar("Item")


@dataclass(frozen=True)
class Conversation:
    """Turns that end with an answer. The loss is on the answers, all of them."""

    messages: tuple[Message, ...]
    source: str
    """Where it stands: `chats.jsonl:17`."""


@dataclass(frozen=True)
class Preference:
    """A conversation that ends with a question, an answer that is liked and one that is less so."""

    prompt: tuple[Message, ...]
    chosen: str
    rejected: str
    source: str


class RowError(ValueError):
    """Why a row cannot be used."""


def read_conversations(path: Path, max_rows: int | None = None) -> tuple[list[Conversation], list[Reject]]:
    """The conversations of a .jsonl file, and the rows that are none.

    Raises:
        UserError: the file cannot be read, or none of its rows can be used.
    """
    return read_rows(path, conversation_of, max_rows, "messages, prompt and completion, or instruction and output")


def read_preferences(path: Path, max_rows: int | None = None) -> tuple[list[Preference], list[Reject]]:
    """The preferences of a .jsonl file, and the rows that are none.

    Raises:
        UserError: the file cannot be read, or none of its rows can be used.
    """
    return read_rows(path, preference_of, max_rows, "prompt, chosen and rejected")


def conversation_of(row: Row, source: str) -> Conversation:
    """A row as a conversation.

    Raises:
        RowError: it is in none of the three shapes, or a part is missing or empty.
    """
    if "messages" in row:
        messages = messages_of(row["messages"])
    elif "completion" in row:
        messages = (*prompt_of(row), Message("assistant", text_of(row, "completion")))
    elif "instruction" in row:
        more = text_of(row, "input", optional=True)
        question = text_of(row, "instruction") + (f"\n\n{more}" if more else "")
        messages = (Message("user", question), Message("assistant", text_of(row, "output")))
    else:
        found = ", ".join(row) or "nothing"
        raise RowError(f"has {found}, but neither messages, nor prompt and completion, nor instruction and output")
    if messages[-1].role != "assistant":
        raise RowError(f"ends with a turn of the {messages[-1].role}, with no answer to learn")
    return Conversation(messages, source)


def preference_of(row: Row, source: str) -> Preference:
    """A row as a preference.

    Raises:
        RowError: a part is missing or empty, or both answers are the same.
    """
    prompt, chosen, rejected = prompt_of(row), answer_of(row, "chosen"), answer_of(row, "rejected")
    if chosen == rejected:
        raise RowError("'chosen' and 'rejected' are the same")
    return Preference(prompt, chosen, rejected, source)


def prompt_of(row: Row) -> tuple[Message, ...]:
    """The turns before the answer: a text is one turn of the user."""
    if isinstance(row.get("prompt"), list):
        messages = messages_of(row["prompt"])
        if messages[-1].role == "assistant":
            raise RowError("'prompt' ends with an answer")
        return messages
    return (Message("user", text_of(row, "prompt")),)


def answer_of(row: Row, name: str) -> str:
    """An answer: a text, or the last turn of a conversation."""
    if isinstance(row.get(name), list):
        last = messages_of(row[name])[-1]
        if last.role != "assistant":
            raise RowError(f"'{name}' ends with a turn of the {last.role}")
        return last.content
    return text_of(row, name)


def messages_of(value: Any) -> tuple[Message, ...]:
    """A list of {"role", "content"} as messages."""
    if not isinstance(value, list) or not value:
        raise RowError("'messages' is no list of turns")
    messages: list[Message] = []
    for number, turn in enumerate(value, start=1):
        if not isinstance(turn, dict):
            raise RowError(f"turn {number} is no object with role and content")
        role, content = turn.get("role"), turn.get("content")
        if role not in get_args(Role):
            raise RowError(f"turn {number} is by {role!r}, not by system, user or assistant")
        if not isinstance(content, str) or not content.strip():
            raise RowError(f"turn {number} has no text")
        messages.append(Message(role, content))  # pyright: ignore[reportArgumentType]
    return tuple(messages)


def text_of(row: Row, name: str, *, optional: bool = False) -> str:
    """A field's text.

    Raises:
        RowError: it is missing (unless it is optional), blank, or no text.
    """
    value = row.get(name)
    if optional and (value is None or value == ""):
        return ""
    if name not in row:
        hint = did_you_mean(name, row)
        raise RowError(f"has no '{name}'{f'. {hint}' if hint else ''}")
    if not isinstance(value, str) or not value.strip():
        raise RowError(f"'{name}' holds no text")
    return value


def split(items: Sequence[Item], share: float, seed: int, key: Callable[[Item], str]) -> tuple[list[Item], list[Item]]:
    """(training, validation) items; equal keys stay on one side, and no other item changes an item's side.

    At least one item is left to train on; the validation side may be empty.
    """
    held_out = [hash_fraction(key(item), seed) < share for item in items]
    if all(held_out):
        return list(items), []
    return (
        [item for item, out in zip(items, held_out, strict=True) if not out],
        [item for item, out in zip(items, held_out, strict=True) if out],
    )


def read_rows(
    path: Path, parse: Callable[[Row, str], Item], max_rows: int | None, expected: str
) -> tuple[list[Item], list[Reject]]:
    """What `parse` makes of the rows of a .jsonl file, and the rows for which it raises `RowError`.

    Args:
        path: the file.
        parse: takes a row and where it stands.
        max_rows: rows that can be used, after which reading ends; None reads all.
        expected: the fields of a row, for the message.

    Raises:
        UserError: the file cannot be read, or none of its rows can be used.
    """
    items: list[Item] = []
    rejects: list[Reject] = []
    for number, line in numbered_lines(text_of_file(path)):
        if max_rows is not None and len(items) == max_rows:
            break
        source = f"{path.name}:{number}"
        try:
            items.append(parse(row_of(line), source))
        except RowError as error:
            rejects.append(Reject(source, str(error)))
    if not items:
        reason = f": {rejected_line(rejects)}" if rejects else ""
        raise UserError(f"{path}: holds no row with {expected}{reason}")
    return items, rejects


def row_of(line: str) -> Row:
    """The object on a line.

    Raises:
        RowError: there is none, or it holds a text that cannot be learned.
    """
    try:
        row = parsed(line)
    except BrokenJsonError as error:
        place = f" at column {error.column}" if error.column is not None else ""
        raise RowError(f"no JSON: {error.problem[0].lower()}{error.problem[1:]}{place}") from None
    if not isinstance(row, dict):
        raise RowError("is no JSON object")
    if has_half_pair(row):
        raise RowError(f"holds {HALF_PAIR}")
    return row


def text_of_file(path: Path) -> str:
    """The text of a .jsonl file.

    Raises:
        UserError: there is no such file, it is another kind of file, or no UTF-8.
    """
    if path.suffix != ".jsonl":
        raise UserError(f"--data.path {path}: give a .jsonl file, with one JSON object a line")
    try:
        return path.read_text("utf-8-sig")
    except FileNotFoundError:
        neighbours = [entry.name for entry in path.parent.iterdir()] if path.parent.is_dir() else []
        hint = did_you_mean(path.name, neighbours)
        raise UserError(f"--data.path {path}: there is no such file. {hint}".rstrip()) from None
    except UnicodeDecodeError:
        raise UserError(f"--data.path {path}: is not UTF-8 text: convert it first") from None
    except OSError as error:
        raise UserError(f"--data.path {path}: cannot be read ({error.strerror})") from None
