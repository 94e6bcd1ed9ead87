"""Linux system calls by number, for those that the C library does not wrap or that a filter must name."""

import ctypes
import functools
import os
import platform

# name, number on x86_64, number on aarch64; "-" where that machine has no such call.
# Source: the kernel's arch/x86/entry/syscalls/syscall_64.tbl and include/uapi/asm-generic/unistd.h.
_TABLE = """
read 0 63|write 1 64|readv 19 65|writev 20 66|pread64 17 67|pwrite64 18 68|preadv 295 69|pwritev 296 70
preadv2 327 286|pwritev2 328 287|close 3 57|close_range 436 436|lseek 8 62|sendfile 40 71|copy_file_range 326 285
open 2 -|openat 257 56|creat 85 -|access 21 -|faccessat 269 48|faccessat2 439 439|getdents64 217 61
fstat 5 80|stat 4 -|lstat 6 -|newfstatat 262 79|statx 332 291|statfs 137 43|fstatfs 138 44
getcwd 79 17|chdir 80 49|fchdir 81 50|mkdir 83 -|mkdirat 258 34|rmdir 84 -|unlink 87 -|unlinkat 263 35
rename 82 -|renameat 264 38|renameat2 316 276|link 86 -|linkat 265 37|symlink 88 -|symlinkat 266 36
readlink 89 -|readlinkat 267 78|truncate 76 45|ftruncate 77 46|fallocate 285 47|fadvise64 221 223
fsync 74 82|fdatasync 75 83|flock 73 32|umask 95 166|fcntl 72 25|ioctl 16 29
pipe 22 -|pipe2 293 59|dup 32 23|dup2 33 -|dup3 292 24|eventfd2 290 19
poll 7 -|ppoll 271 73|select 23 -|pselect6 270 72
epoll_create 213 -|epoll_create1 291 20|epoll_ctl 233 21|epoll_wait 232 -|epoll_pwait 281 22
mmap 9 222|mprotect 10 226|munmap 11 215|mremap 25 216|madvise 28 233|brk 12 214|membarrier 324 283
futex 202 98|set_robust_list 273 99|get_robust_list 274 100|rseq 334 293|set_tid_address 218 96|arch_prctl 158 -
sched_yield 24 124|sched_getaffinity 204 123|restart_syscall 219 128|getcpu 309 168
nanosleep 35 101|clock_nanosleep 230 115|clock_gettime 228 113|clock_getres 229 114|gettimeofday 96 169
time 201 -|times 100 153|getrusage 98 165|getrandom 318 278|sysinfo 99 179|uname 63 160
getpid 39 172|getppid 110 173|gettid 186 178|getuid 102 174|geteuid 107 175|getgid 104 176|getegid 108 177
getgroups 115 158|getresuid 118 148|getresgid 120 150|getpgrp 111 -|getpgid 121 155|getsid 124 156
getrlimit 97 163|getpriority 140 141
rt_sigaction 13 134|rt_sigprocmask 14 135|rt_sigreturn 15 139|rt_sigpending 127 136|rt_sigtimedwait 128 137
rt_sigsuspend 130 133|sigaltstack 131 132|pause 34 -|alarm 37 -|setitimer 38 103|getitimer 36 102
wait4 61 260|waitid 247 95|exit 60 93|exit_group 231 94
kill 62 129|tkill 200 130|tgkill 234 131|prlimit64 302 261|clone 56 220|clone3 435 435|prctl 157 167
mount_setattr 442 442|landlock_create_ruleset 444 444|landlock_add_rule 445 445|landlock_restrict_self 446 446
"""
_MACHINES = {"x86_64": 1, "amd64": 1, "aarch64": 2, "arm64": 2}

libc = ctypes.CDLL(None, use_errno=True)


@functools.cache
def numbers(machine: str | None = None) -> dict[str, int]:
    """The numbers of the system calls by name on a machine, by default this one.

    Raises:
        OSError: the machine is not in the table.
    """
    machine = machine or platform.machine()
    column = _MACHINES.get(machine.lower())
    if column is None:
        raise OSError(f"the numbers of the system calls on {machine} are not known here")
    rows = [entry.split() for entry in _TABLE.replace("\n", "|").split("|") if entry]
    return {row[0]: int(row[column]) for row in rows if row[column] != "-"}


def syscall(name: str, *arguments: object) -> int:
    """Call the kernel and return its answer.

    Raises:
        OSError: with the kernel's errno.
    """
    result = libc.syscall(numbers()[name], *arguments)
    if result < 0:
        raise_errno(name)
    return result


def prctl(option: int, *arguments: int) -> None:
    """prctl(2), whose unused arguments must be 0.

    Raises:
        OSError: with the kernel's errno.
    """
    padded = [ctypes.c_ulong(value) for value in (*arguments, 0, 0, 0, 0)[:4]]
    if libc.prctl(option, *padded) < 0:
        raise_errno("prctl")


def raise_errno(name: str) -> None:
    """Raise the OSError of the C library's last failure, naming the call.

    Raises:
        OSError: always.
    """
    number = ctypes.get_errno()
    raise OSError(number, f"{name}: {os.strerror(number)}")
