"""Which process this is when `torchrun` has started several."""

from __future__ import annotations

import os


def is_main_process() -> bool:
    """Return True for the one process that prints and writes: rank 0, or the only one.

    `torchrun` numbers its processes in the environment variable RANK.
    """
    return os.environ.get("RANK", "0") == "0"
