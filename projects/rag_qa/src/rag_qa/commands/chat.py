"""`rag-qa chat`: questions in turns; a question may refer to the ones before it."""

import json
import sys
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path

from rag_qa.assistant import Assistant
from rag_qa.commands.printing import dim, print_answer
from rag_qa.config import ChatConfig
from rag_qa.generation.memory import bounded
from rag_qa.protocols import Turn
from rag_qa.types import User
from roadmap_shared.errors import UserError

MAX_TURNS, MAX_TOKENS = 6, 1500
"""What of a conversation is read for the next answer."""


def run(config: ChatConfig) -> None:
    """Read questions from standard input until it ends; an error of one question does not end the conversation.

    Raises:
        UserError: there is no index, or the history is damaged.
    """
    turns = [] if config.history is None else read_history(config.history)
    assistant = Assistant.open(
        config.index,
        encoder=config.encoder,
        store=config.store,
        retrieval=config.retrieval,
        generation=config.generation,
    )
    user = User(groups=config.groups)
    for question in questions():
        try:
            answer = assistant.ask(question, user=user, history=bounded(turns, MAX_TURNS, MAX_TOKENS))
        except UserError as error:
            print(error, file=sys.stderr)
            continue
        print_answer(answer)
        turns.append(Turn(question, answer.text))
        if config.history is not None:
            append(config.history, turns[-1])


def questions() -> Iterator[str]:
    """Lines of standard input without the empty ones, with a prompt on a terminal."""
    asked_by_hand = sys.stdin.isatty()
    if asked_by_hand:
        print(dim("A question may refer to the ones before it. Ctrl-D ends the conversation."))
    while True:
        try:
            line = input("\n? " if asked_by_hand else "")
        except EOFError:
            if asked_by_hand:
                print()
            return
        if line.strip():
            yield line.strip()


def read_history(path: Path) -> list[Turn]:
    """Turns of an earlier conversation; none where there is no file.

    Raises:
        UserError: a line is not what `append` writes, or the file cannot be read.
    """
    if not path.absolute().parent.is_dir():
        raise UserError(f"--history {path}: there is no folder {path.parent}")
    if not path.exists():
        return []
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except OSError as error:
        raise UserError(f"--history {path}: cannot be read ({error.strerror})") from None
    except UnicodeDecodeError:
        raise UserError(f"--history {path}: is not UTF-8: give another file") from None
    turns = []
    for number, line in enumerate(lines, start=1):
        try:
            record = json.loads(line)
            turns.append(Turn(str(record["question"]), str(record["answer"])))
        except (ValueError, KeyError, TypeError, RecursionError):
            raise UserError(
                f"--history {path}, line {number}: no turn of a conversation: mend or remove the line"
            ) from None
    return turns


def append(path: Path, turn: Turn) -> None:
    """Add one line."""
    with path.open("a", encoding="utf-8") as file:
        file.write(json.dumps(asdict(turn), ensure_ascii=False) + "\n")
