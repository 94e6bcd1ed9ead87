"""Rating in the terminal: two texts, one key and Enter."""

import time
from collections.abc import Callable

from text_generation.evaluation.rating.study import Item
from text_generation.evaluation.rating.votes import Choice, VoteBook
from text_generation.terminal_text import harmless

Say = Callable[[str], None]
Ask = Callable[[str], str]
"""Shows a prompt, returns the line that was typed; EOFError where there is no more input."""

_CHOICES: dict[str, Choice] = {"a": "a", "b": "b", "t": "tie", "s": "skip"}
_HELP = "a: A is better   b: B is better   t: tie   s: skip   z: back   q: quit"
_RULE = "─" * 60


def rate_in_terminal(book: VoteBook, rater: str, ask: Ask, say: Say) -> None:
    """Ask for votes until all items have one, or the rater quits; each is on the disk before the next is asked.

    Raises:
        UserError: a vote cannot be written.
    """
    total = len(book.study.items)
    before = len(book.of(rater))
    if before:
        say(f"Welcome back, {rater}: {before} of {total} are done.")
    last: Item | None = None
    taken_back: Item | None = None
    while (item := taken_back or book.next_item(rater)) is not None:
        say(_shown(book, item, rater))
        began = time.monotonic()
        answer = _answer(ask, say, can_go_back=last is not None and taken_back is None)
        if answer == "q":
            break
        if answer == "z":
            taken_back = last
            continue
        seconds = time.monotonic() - began
        book.vote(rater, item, _CHOICES[answer], seconds=seconds, replaces=taken_back is not None)
        last, taken_back = item, None
    done = len(book.of(rater))
    rest = "Thank you, that was all." if done == total else "The same command continues here."
    say(f"{done} of {total} are done, saved in {book.path}. {rest}")


def _answer(ask: Ask, say: Say, *, can_go_back: bool) -> str:
    """One of a, b, t, s, z, q. The end of the input quits."""
    while True:
        try:
            answer = ask("better? [a/b/t/s/z/q] ").strip().lower()
        except EOFError:
            return "q"
        if answer in (*_CHOICES, "q") or (answer == "z" and can_go_back):
            return answer
        say("There is nothing to take back." if answer == "z" else _HELP)


def _shown(book: VoteBook, item: Item, rater: str) -> str:
    a, b = book.shown(item, rater)
    done, total = len(book.of(rater)), len(book.study.items)
    number = min(done + 1, total)
    return "\n".join(
        [
            "",
            f"{_RULE} {number} of {total}",
            harmless(item.prompt),
            *(f"{_RULE} A", harmless(a) or "(empty)"),
            *(f"{_RULE} B", harmless(b) or "(empty)"),
            _RULE,
            harmless(book.study.question),
            _HELP,
        ]
    )
