"""Memory that a process frees and will soon want again."""

import ctypes
import platform

_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3  # malloc.h
_LARGEST = 2**30  # glibc takes an int


def keep_freed_memory() -> bool:
    """Let freed memory stay with the process instead of going back to the system; returns whether that is so now.

    glibc maps each block above 32 MB anew and gives it back when it is freed. A training step on a CPU frees and wants
    again the same big tensors, such as the logits: the kernel then has to find and zero their pages in every step,
    which took a quarter of the time of a small language model's. The process holds on to its peak of memory.

    Does nothing where the C library is another one (macOS, Windows, Alpine Linux).
    """
    if platform.libc_ver()[0] != "glibc":
        return False
    mallopt = ctypes.CDLL(None).mallopt
    return all(mallopt(parameter, _LARGEST) == 1 for parameter in (_M_MMAP_THRESHOLD, _M_TRIM_THRESHOLD))
