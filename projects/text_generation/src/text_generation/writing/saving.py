"""A conversation as a file for others: Markdown to read, JSON for programs."""

import json
from pathlib import Path

from roadmap_shared.errors import UserError
from roadmap_shared.files import atomic_write
from text_generation.writing.history import History

_HEADINGS = {"system": "System", "user": "You", "assistant": "Answer"}


def save_conversation(history: History, path: Path, *, replace: bool = False) -> None:
    """Write the conversation: a list of messages where the path ends in .json, Markdown otherwise.

    Raises:
        UserError: the file exists and may not be replaced, or cannot be written.
    """
    messages = history.messages()
    if path.suffix == ".json":
        turns = [{"role": message.role, "content": message.content} for message in messages]
        content = json.dumps(turns, indent=2, ensure_ascii=False) + "\n"
    else:
        content = "".join(f"## {_HEADINGS[message.role]}\n\n{message.content}\n\n" for message in messages)
    try:
        if path.exists() and not replace:
            raise UserError(f"{path} exists. Give another name: /save FILE")
        atomic_write(path, content.encode("utf-8", "replace"))
    except OSError as error:
        raise UserError(f"{path}: cannot be written ({error.strerror})") from error
    except ValueError as error:  # a zero byte
        raise UserError(f"{path}: cannot be written ({error})") from error
