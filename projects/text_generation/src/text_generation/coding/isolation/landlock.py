"""Landlock (Linux 5.13): a process gives up every file but those below the folders it names.

From ABI 3 a file cannot be truncated, from ABI 4 no TCP port is bound or connected to, from ABI 6 no signal and no
abstract Unix socket leaves the sandbox. It also shuts /proc and hinders ptrace. It does not govern stat, chmod, chown
and utime, which the seccomp filter refuses. See Documentation/userspace-api/landlock.rst of the kernel.
"""

import ctypes
import os
import struct
from collections.abc import Iterable

from .syscalls import syscall

_EXECUTE, _WRITE_FILE, _READ_FILE, _READ_DIR = 1 << 0, 1 << 1, 1 << 2, 1 << 3
_TRUNCATE, _IOCTL_DEV = 1 << 14, 1 << 15
_FILE_RIGHTS = _EXECUTE | _WRITE_FILE | _READ_FILE | _TRUNCATE | _IOCTL_DEV
_DEVICE_FILES = 1 << 6 | 1 << 11  # MAKE_CHAR, MAKE_BLOCK
_TCP, _SCOPES = 0b11, 0b11
_VERSION_FLAG, _PATH_BENEATH = 1, 1


def abi() -> int:
    """The kernel's version of Landlock.

    Raises:
        OSError: it has none, or it is switched off.
    """
    return syscall("landlock_create_ruleset", None, ctypes.c_size_t(0), ctypes.c_uint32(_VERSION_FLAG))


def all_rights(version: int) -> int:
    """The bits of every right over files that a version knows."""
    bits = {1: 13, 2: 14, 3: 15, 4: 15}.get(version, 16)
    return (1 << bits) - 1


def restrict(readable: Iterable[str], listable: Iterable[str], writable: Iterable[str], devices: Iterable[str]) -> int:
    """Keep these places and lose all others, for good. Needs PR_SET_NO_NEW_PRIVS.

    Args:
        readable: files, and folders with all below, to read, list and map as a library.
        listable: folders whose names, and those of the folders below, may be listed.
        writable: folders below which everything but device files and execution is allowed.
        devices: files to read and write, such as /dev/null.

    A place that does not exist is left out.

    Returns:
        The version in force.

    Raises:
        OSError: the kernel has no Landlock, or refuses.
    """
    version = abi()
    rights = all_rights(version)
    attributes = struct.pack("QQQ", rights, _TCP if version >= 4 else 0, _SCOPES if version >= 6 else 0)
    size = 24 if version >= 6 else 16 if version >= 4 else 8
    ruleset = syscall("landlock_create_ruleset", attributes, ctypes.c_size_t(size), ctypes.c_uint32(0))
    try:
        for paths, allowed in (
            (readable, _READ_FILE | _READ_DIR | _EXECUTE),
            (listable, _READ_DIR),
            (writable, rights & ~_DEVICE_FILES & ~_EXECUTE),
            (devices, _READ_FILE | _WRITE_FILE),
        ):
            for path in paths:
                _allow(ruleset, path, allowed & rights)
        syscall("landlock_restrict_self", ctypes.c_int(ruleset), ctypes.c_uint32(0))
    finally:
        os.close(ruleset)
    return version


def _allow(ruleset: int, path: str, rights: int) -> None:
    try:
        place = os.open(path, os.O_PATH | os.O_CLOEXEC)
    except OSError:
        return
    try:
        if not os.path.isdir(path):
            rights &= _FILE_RIGHTS
        rule = struct.pack("=Qi", rights, place)
        syscall("landlock_add_rule", ctypes.c_int(ruleset), ctypes.c_int(_PATH_BENEATH), rule, ctypes.c_uint32(0))
    finally:
        os.close(place)
