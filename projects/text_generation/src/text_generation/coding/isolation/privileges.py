"""What every Unix offers: resource limits; and on Linux, no capabilities and no way to regain any."""

import ctypes
import resource
import struct
import sys

from .syscalls import libc, prctl, raise_errno

_PR_SET_PDEATHSIG, _PR_SET_DUMPABLE, _PR_SET_NO_NEW_PRIVS, _PR_SET_CHILD_SUBREAPER = 1, 4, 38, 36
_CAPABILITY_VERSION_3 = 0x20080522
_MEGABYTE = 1_000_000


def limit_resources(cpu_seconds: float, memory_mb: int, disk_mb: int, open_files: int, threads: int) -> None:
    """Set the limits of setrlimit(2), soft and hard alike.

    CPU time is in whole seconds here, one more than asked for: the launcher ends the process to the millisecond, and
    this one holds should the launcher be gone. The limit on processes does not bind root.

    Raises:
        OSError, ValueError: the system refuses a limit, as macOS does for the address space.
    """
    _limit(resource.RLIMIT_CORE, 0)
    _limit(resource.RLIMIT_CPU, int(cpu_seconds) + 1)
    _limit(resource.RLIMIT_FSIZE, disk_mb * _MEGABYTE)
    _limit(resource.RLIMIT_NOFILE, open_files)
    if not threads:
        _limit(resource.RLIMIT_NPROC, 0)
    _limit(resource.RLIMIT_AS if sys.platform == "linux" else resource.RLIMIT_DATA, memory_mb * _MEGABYTE)


def die_with_parent() -> None:
    """Be killed when the process that started this one ends, and be opaque to other processes of the user."""
    prctl(_PR_SET_PDEATHSIG, 9)
    prctl(_PR_SET_DUMPABLE, 0)


def adopt_orphans() -> None:
    """Become the parent of every descendant that loses its own, so that none is lost from sight."""
    prctl(_PR_SET_CHILD_SUBREAPER, 1)


def drop_all() -> None:
    """Give up every capability, and the gain of any through a set-uid file.

    Raises:
        OSError: the kernel refuses.
    """
    prctl(_PR_SET_NO_NEW_PRIVS, 1)
    header = struct.pack("Ii", _CAPABILITY_VERSION_3, 0)
    none = struct.pack("IIIIII", *[0] * 6)
    if libc.capset(header, none) < 0:
        raise_errno("capset")


def _limit(which: int, value: int) -> None:
    hard = resource.getrlimit(which)[1]
    if hard != resource.RLIM_INFINITY:
        value = min(value, hard)
    resource.setrlimit(which, (value, value))


assert ctypes.sizeof(ctypes.c_ulong) == 8, "the structures here are those of a 64-bit machine"
