"""A filter of system calls (seccomp, Linux 3.5): what is not on the list does not happen.

The list holds what a Python function needs that computes, reads and writes files and waits. Missing are, among
others, socket, fork, vfork, execve, ptrace, process_vm_readv, pidfd_open, setsid, chmod, chown, setxattr, mount,
unshare, bpf, io_uring_setup, memfd_create, setrlimit. A missing call fails with EPERM.

See Documentation/userspace-api/seccomp_filter.rst of the kernel, and Drewry 2012.
"""

import ctypes
import os
import platform
import struct

from .syscalls import numbers, prctl

_ALLOWED = """
    read write readv writev pread64 pwrite64 preadv pwritev preadv2 pwritev2 close close_range lseek sendfile
    copy_file_range open openat creat access faccessat faccessat2 getdents64 fstat stat lstat newfstatat statx statfs
    fstatfs getcwd chdir fchdir mkdir mkdirat rmdir unlink unlinkat rename renameat renameat2 link linkat symlink
    symlinkat readlink readlinkat truncate ftruncate fallocate fadvise64 fsync fdatasync flock umask ioctl pipe pipe2
    dup dup2 dup3 eventfd2 poll ppoll select pselect6 epoll_create epoll_create1 epoll_ctl epoll_wait epoll_pwait
    mmap mprotect munmap mremap madvise brk membarrier futex set_robust_list get_robust_list rseq set_tid_address
    arch_prctl sched_yield sched_getaffinity restart_syscall getcpu nanosleep clock_nanosleep clock_gettime
    clock_getres gettimeofday time times getrusage getrandom sysinfo uname getpid getppid gettid getuid geteuid getgid
    getegid getgroups getresuid getresgid getpgrp getpgid getsid getrlimit getpriority rt_sigaction rt_sigprocmask
    rt_sigreturn rt_sigpending rt_sigtimedwait rt_sigsuspend sigaltstack pause alarm setitimer getitimer wait4 waitid
    exit exit_group
""".split()

_AUDIT_ARCH = {"x86_64": 0xC000003E, "amd64": 0xC000003E, "aarch64": 0xC00000B7, "arm64": 0xC00000B7}
_X32_BIT = 0x40000000

# Berkeley packet filter: load a word, jump if equal / at least / any bit set, return.
_LOAD, _EQUAL, _AT_LEAST, _ANY_BIT, _RETURN = 0x20, 0x15, 0x35, 0x45, 0x06
_NUMBER, _ARCH = 0, 4  # offsets in struct seccomp_data
_ALLOW, _KILL, _ERRNO = 0x7FFF0000, 0x80000000, 0x00050000
_EPERM, _ENOSYS = 1, 38

_CLONE_THREAD = 0x00010000
_F_SETOWN, _F_SETSIG, _F_SETOWN_EX = 8, 10, 15
_PR_SET_SECCOMP, _SECCOMP_MODE_FILTER = 22, 2
_PR_SET_NAME, _PR_GET_NAME, _PR_SET_VMA = 15, 16, 0x53564D41

Instruction = tuple[int, int, int, int]
"""Operation, instructions to skip if true, instructions to skip if false, operand."""


def install(threads: bool) -> None:
    """Filter the calls of this process from here on; there is no way back. Needs PR_SET_NO_NEW_PRIVS.

    Args:
        threads: whether it may start threads. It may never start a process.

    Raises:
        OSError: the kernel refuses, or the machine is not known.
    """
    code = assemble(program(os.getpid(), threads, platform.machine()))
    buffer = ctypes.create_string_buffer(code, len(code))
    header = struct.pack("HxxxxxxP", len(code) // 8, ctypes.addressof(buffer))
    pointed_to = ctypes.create_string_buffer(header, len(header))
    prctl(_PR_SET_SECCOMP, _SECCOMP_MODE_FILTER, ctypes.addressof(pointed_to))


def program(own_pid: int, threads: bool, machine: str) -> list[Instruction]:
    """The filter as instructions.

    Args:
        own_pid: the only process that it may send signals to.
        threads: whether clone may start a thread.
        machine: as `platform.machine()` names it.

    Raises:
        OSError: the machine is not known.
    """
    number = numbers(machine)
    instructions: list[Instruction] = [
        (_LOAD, 0, 0, _ARCH),
        (_EQUAL, 1, 0, _AUDIT_ARCH[machine.lower()]),
        (_RETURN, 0, 0, _KILL),  # a 32-bit call on a 64-bit machine has other numbers
        (_LOAD, 0, 0, _NUMBER),
        (_AT_LEAST, 0, 1, _X32_BIT),
        (_RETURN, 0, 0, _KILL),
    ]
    for name in _ALLOWED:
        if name in number:
            instructions += _when(number[name], [(_RETURN, 0, 0, _ALLOW)])
    for name in ("kill", "tkill", "tgkill"):
        instructions += _when(number[name], _allow_if(0, [own_pid]))
    # A pipe's owner gets the signal of its choice when data come: another way to kill.
    instructions += _when(number["fcntl"], _refuse_if(1, [_F_SETOWN, _F_SETSIG, _F_SETOWN_EX]))
    instructions += _when(number["prctl"], _allow_if(0, [_PR_SET_NAME, _PR_GET_NAME, _PR_SET_VMA]))
    instructions += _when(number["prlimit64"], _reads_own_limits())
    # glibc tries clone3, whose flags lie in memory where no filter can see them, and falls back on clone.
    instructions += _when(number["clone3"], [(_RETURN, 0, 0, _ERRNO | _ENOSYS)])
    if threads:
        instructions += _when(number["clone"], [(_LOAD, 0, 0, _low(0)), *_branch(_ANY_BIT, _CLONE_THREAD)])
    return [*instructions, (_RETURN, 0, 0, _ERRNO | _EPERM)]


def assemble(instructions: list[Instruction]) -> bytes:
    """The instructions as an array of struct sock_filter, 8 bytes each."""
    return b"".join(struct.pack("HBBI", *instruction) for instruction in instructions)


def _when(number: int, then: list[Instruction]) -> list[Instruction]:
    """Do `then`, which ends by returning, for the call of this number."""
    return [(_EQUAL, 0, len(then), number), *then]


def _allow_if(argument: int, values: list[int]) -> list[Instruction]:
    tests = [(_EQUAL, len(values) - index, 0, value) for index, value in enumerate(values)]
    return [(_LOAD, 0, 0, _low(argument)), *tests, (_RETURN, 0, 0, _ERRNO | _EPERM), (_RETURN, 0, 0, _ALLOW)]


def _refuse_if(argument: int, values: list[int]) -> list[Instruction]:
    tests = [(_EQUAL, len(values) - index, 0, value) for index, value in enumerate(values)]
    return [(_LOAD, 0, 0, _low(argument)), *tests, (_RETURN, 0, 0, _ALLOW), (_RETURN, 0, 0, _ERRNO | _EPERM)]


def _reads_own_limits() -> list[Instruction]:
    """prlimit64(pid 0, …, new_limit NULL): with another pid it could end the parent's CPU time."""
    loads = [_low(0), _low(2), _low(2) + 4]
    refuse = len(loads) * 2
    checks: list[Instruction] = []
    for index, offset in enumerate(loads):
        checks += [(_LOAD, 0, 0, offset), (_EQUAL, 0, refuse - 2 * index - 1, 0)]
    return [*checks, (_RETURN, 0, 0, _ALLOW), (_RETURN, 0, 0, _ERRNO | _EPERM)]


def _branch(test: int, operand: int) -> list[Instruction]:
    return [(test, 1, 0, operand), (_RETURN, 0, 0, _ERRNO | _EPERM), (_RETURN, 0, 0, _ALLOW)]


def _low(argument: int) -> int:
    """Offset of an argument's low 32 bits in struct seccomp_data, on a little-endian machine."""
    return 16 + 8 * argument
