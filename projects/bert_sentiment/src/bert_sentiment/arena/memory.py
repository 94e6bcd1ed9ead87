"""The most memory that a training takes.

On a GPU: what PyTorch has allocated at most since the training began; its own cost and what its allocator keeps in
reserve are not in it. On a CPU: what the whole process has had resident, Python and PyTorch included. That never falls,
and memory that is freed stays with the process; so it is taken once, at the end of the first training of a process
that serves one method alone.
"""

import re
import resource
import sys
from pathlib import Path

import torch

_STATUS = Path("/proc/self/status")
_PEAK = re.compile(r"^VmHWM:\s+(\d+) kB$", re.MULTILINE)


def start_measuring(device: torch.device) -> None:
    """Forget earlier peaks, where that is possible."""
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)


def peak_memory_mb(device: torch.device, fresh_process: bool) -> float | None:
    """The peak in MB (10^6 bytes); None on a CPU where other trainings went before in the process."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device) / 1e6
    return resident_peak_mb() if fresh_process else None


def resident_peak_mb() -> float:
    """What the process has had resident at most, in MB (10^6 bytes)."""
    # Not `ru_maxrss` on Linux: a process inherits it from the one that started it.
    if _STATUS.exists() and (found := _PEAK.search(_STATUS.read_text(encoding="utf-8"))):
        return int(found[1]) * 1024 / 1e6
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak * (1 if sys.platform == "darwin" else 1024) / 1e6
