"""The one exception that stands for a user's mistake, and the hint that goes with a misspelt name."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class UserError(Exception):
    """A mistake that the user can mend: one line that says what, where and how to mend it.

    The command line prints the message without a traceback and exits with code 2. A bug is never a
    `UserError`: it keeps its traceback.
    """


def did_you_mean(word: str, candidates: Iterable[str]) -> str:
    """Return "Did you mean 'x'?" for the candidate nearest to `word`, or "" when none is near."""
    matches = difflib.get_close_matches(word, list(candidates), n=1, cutoff=0.6)
    return f"Did you mean '{matches[0]}'?" if matches else ""


def one_line(text: object) -> str:
    """Return a text's lines joined by spaces: a message of other code, made fit for a `UserError`."""
    return " ".join(line.strip() for line in str(text).splitlines() if line.strip())
