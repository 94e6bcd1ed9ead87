"""Namespaces (Linux 3.8): an empty network, a process table of one's own, a file system that is read-only.

Where the user may not make a user namespace (some containers, `kernel.apparmor_restrict_unprivileged_userns`), none of
this holds. See namespaces(7), user_namespaces(7), mount_setattr(2).
"""

import ctypes
import os
import struct

from .syscalls import libc, raise_errno, syscall

_NEWNS, _NEWIPC, _NEWUSER, _NEWPID, _NEWNET = 0x00020000, 0x08000000, 0x10000000, 0x20000000, 0x40000000
_MS_NOSUID, _MS_NODEV, _MS_NOEXEC, _MS_RDONLY, _MS_REC, _MS_PRIVATE = 2, 4, 8, 1, 0x4000, 1 << 18
_MOUNT_ATTR_RDONLY, _AT_RECURSIVE, _AT_FDCWD = 1, 0x8000, -100
_MAX_FILES = 1000  # in the sandbox's folder


def enter() -> None:
    """Leave the network, the mounts, the IPC objects and, for children forked from here on, the process table.

    Raises:
        OSError: the kernel or its policy refuses, at the first step or at the mapping of the user.
    """
    uid, gid = os.getuid(), os.getgid()
    if libc.unshare(_NEWUSER | _NEWNET | _NEWNS | _NEWPID | _NEWIPC) < 0:
        raise_errno("unshare")
    # Only ever an unprivileged number inside, root outside included.
    for file, text in (("setgroups", "deny"), ("uid_map", f"65534 {uid} 1"), ("gid_map", f"65534 {gid} 1")):
        with open(f"/proc/self/{file}", "w") as mapping:
            mapping.write(text)


def mount_read_only(folder: str, megabytes: int) -> None:
    """Make every mount read-only but for a memory file system of limited size over `folder`, and hide /proc.

    Raises:
        OSError: the kernel (before 5.12) or its policy refuses.
    """
    _mount(None, "/", None, _MS_REC | _MS_PRIVATE, None)
    options = f"size={megabytes}m,nr_inodes={_MAX_FILES},mode=0700"
    _mount("tmpfs", folder, "tmpfs", _MS_NOSUID | _MS_NODEV | _MS_NOEXEC, options)
    _set_read_only("/", True, _AT_RECURSIVE)
    _set_read_only(folder, False, 0)
    _mount("tmpfs", "/proc", "tmpfs", _MS_RDONLY, "size=4k")


def _mount(source: str | None, target: str, kind: str | None, flags: int, options: str | None) -> None:
    texts = [None if text is None else os.fsencode(text) for text in (source, target, kind, options)]
    if libc.mount(*texts[:3], ctypes.c_ulong(flags), texts[3]) < 0:
        raise_errno(f"mount {target}")


def _set_read_only(target: str, read_only: bool, flags: int) -> None:
    setting = (_MOUNT_ATTR_RDONLY, 0) if read_only else (0, _MOUNT_ATTR_RDONLY)
    attributes = struct.pack("QQQQ", *setting, 0, 0)
    size = ctypes.c_size_t(len(attributes))
    syscall("mount_setattr", ctypes.c_int(_AT_FDCWD), os.fsencode(target), ctypes.c_uint(flags), attributes, size)
