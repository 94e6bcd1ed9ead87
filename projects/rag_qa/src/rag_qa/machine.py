"""What the machine grants this process: a folder for what can be made again, and processor cores."""

import os
from pathlib import Path


def cache_folder() -> Path:
    """The package's folder in the user's cache folder: below XDG_CACHE_HOME, or ~/.cache."""
    base = os.environ.get("XDG_CACHE_HOME", "")
    return (Path(base) if base else Path.home() / ".cache") / "rag_qa"


def usable_cores() -> int:
    """Processor cores that this process may use; macOS and Windows do not tell, and count all."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
