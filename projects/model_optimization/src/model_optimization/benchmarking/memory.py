"""The most memory that a process has held, on Linux, macOS and Windows. Unit: bytes.

On Linux this is `VmHWM` ("high water mark") and not `getrusage`'s `ru_maxrss`: the latter survives `exec`, so that a
small process that was started by a large one reports the size of its parent.
"""

import re
import sys
from pathlib import Path

import psutil

_HIGH_WATER = re.compile(r"^VmHWM:\s+(\d+) kB$", re.MULTILINE)


def peak_memory() -> int:
    """Largest resident memory of this process so far."""
    try:
        if peak := high_water_mark(Path("/proc/self/status").read_text(encoding="ascii", errors="replace")):
            return peak
    except OSError:
        pass
    return _peak_elsewhere()


def resident_memory() -> int:
    """Resident memory of this process as of the call."""
    return psutil.Process().memory_info().rss


def high_water_mark(status: str) -> int | None:
    """The peak in the text of /proc/<pid>/status; None where the kernel does not tell it."""
    found = _HIGH_WATER.search(status)
    return int(found[1]) * 1024 if found else None


def _peak_elsewhere() -> int:
    if sys.platform == "win32":
        return psutil.Process().memory_info().peak_wset
    import resource

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024  # macOS counts bytes, others kilobytes
