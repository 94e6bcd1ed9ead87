"""The one exception that stands for a user's mistake, the hint that goes with a misspelt name, and what the system
refused behind an exception of a library."""

from __future__ import annotations

import difflib
import errno
import os
import re
from collections.abc import Iterable

_RUST = re.compile(r"\(os error (\d+)\)")
_TORCH_WRITER = re.compile(r"inline_container\.cc.*(unexpected pos|failed writing)", re.DOTALL)


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
    """Return a text's lines joined by spaces: a message of other code, made fit for a `UserError`.

    Control characters become spaces, because a message may quote a file or a server, which could steer the terminal.
    """
    joined = " ".join(line.strip() for line in str(text).splitlines() if line.strip())
    return "".join(sign if sign.isprintable() else " " for sign in joined)


def system_error(error: BaseException) -> OSError | None:
    """Return the failed system call behind an exception, or None where there is none.

    Libraries that write files in another language report a full disk by exceptions of their own: safetensors by
    `SafetensorError`, tokenizers by a bare `Exception`, both with the system's number in their text, and `torch.save`
    by a `RuntimeError` that has lost it: its file is shorter than what was written.
    """
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, OSError):
            return cause
        if found := _RUST.search(str(cause)):
            return OSError(int(found[1]), os.strerror(int(found[1])))
        if isinstance(cause, RuntimeError) and _TORCH_WRITER.search(str(cause)):
            return OSError(errno.ENOSPC, "torch could not write a file to its end, as on a full disk")
        # Not the context: that may be an error which was dealt with before the present one came up.
        cause = cause.__cause__
    return None
