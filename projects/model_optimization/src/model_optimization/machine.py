"""What the machine grants this process: processor cores, and a folder for what can be made again."""

import os
from pathlib import Path


def usable_cores() -> int:
    """Processor cores that this process may use; macOS and Windows do not tell, and count all."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def threads_wanted(threads: int | None) -> int:
    """Threads of one computation: as given, or OMP_NUM_THREADS, or all cores."""
    named = os.environ.get("OMP_NUM_THREADS", "")
    return threads or (int(named) if named.isdigit() and int(named) else usable_cores())


def cache_folder() -> Path:
    """The package's folder in the user's cache folder: below XDG_CACHE_HOME, or ~/.cache."""
    base = os.environ.get("XDG_CACHE_HOME", "")
    return (Path(base) if base else Path.home() / ".cache") / "model_optimization"
