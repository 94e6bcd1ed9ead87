"""The filter of system calls, run by an interpreter written for this test, and the layers' tables."""

import re
import sys
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

if sys.platform != "linux":
    pytest.skip("seccomp and Landlock are Linux's", allow_module_level=True)

from text_generation.coding.isolation.landlock import all_rights
from text_generation.coding.isolation.seccomp import Instruction, assemble, program
from text_generation.coding.isolation.syscalls import numbers

UNTIMED = settings(max_examples=50, deadline=None, suppress_health_check=[HealthCheck.too_slow])

ALLOW, KILL, EPERM, ENOSYS = 0x7FFF0000, 0x80000000, 0x00050001, 0x00050026
ARCH = {"x86_64": 0xC000003E, "aarch64": 0xC00000B7}
OWN = 4321
NULL = 0


def decide(instructions: list[Instruction], arch: int, number: int, *arguments: int) -> int:
    """Run the filter on a struct seccomp_data: number, architecture, instruction pointer, six arguments."""
    padded = (*arguments, 0, 0, 0, 0, 0, 0)[:6]
    data = number.to_bytes(4, "little") + arch.to_bytes(4, "little") + bytes(8)
    data += b"".join((value & (2**64 - 1)).to_bytes(8, "little") for value in padded)
    accumulator, position = 0, 0
    while True:
        code, if_true, if_false, operand = instructions[position]
        position += 1
        if code == 0x06:
            return operand
        if code == 0x20:
            accumulator = int.from_bytes(data[operand : operand + 4], "little")
            continue
        truth = {0x15: accumulator == operand, 0x35: accumulator >= operand, 0x45: bool(accumulator & operand)}[code]
        position += if_true if truth else if_false


@pytest.mark.parametrize("machine", ["x86_64", "aarch64"])
class TestFilter:
    def verdict(self, machine: str, name: str, *arguments: int, threads: bool = False) -> int:
        return decide(program(OWN, threads, machine), ARCH[machine], numbers(machine)[name], *arguments)

    @pytest.mark.parametrize("name", ["read", "openat", "mmap", "futex", "exit_group", "getpid", "renameat2"])
    def test_what_python_needs_is_allowed(self, machine: str, name: str) -> None:
        assert self.verdict(machine, name) == ALLOW

    def test_signals_go_to_itself_only(self, machine: str) -> None:
        for name in ("kill", "tkill", "tgkill"):
            assert self.verdict(machine, name, OWN, 9) == ALLOW
            for other in (0, 1, -1, -OWN, OWN + 1, 2**32 - 1):
                assert self.verdict(machine, name, other, 9) == EPERM

    def test_limits_can_be_read_and_not_set(self, machine: str) -> None:
        assert self.verdict(machine, "prlimit64", 0, 7, NULL, 0xDEAD) == ALLOW
        assert self.verdict(machine, "prlimit64", 0, 7, 0xDEAD, NULL) == EPERM
        assert self.verdict(machine, "prlimit64", 0, 7, 0xDEAD00000000, NULL) == EPERM
        assert self.verdict(machine, "prlimit64", OWN, 7, NULL, NULL) == EPERM

    def test_a_pipe_has_no_owner(self, machine: str) -> None:
        assert self.verdict(machine, "fcntl", 3, 1) == ALLOW
        assert [self.verdict(machine, "fcntl", 3, command) for command in (8, 10, 15)] == [EPERM] * 3

    def test_prctl_names_and_nothing_else(self, machine: str) -> None:
        assert self.verdict(machine, "prctl", 15) == ALLOW
        assert [self.verdict(machine, "prctl", option) for option in (1, 4, 22, 24, 38)] == [EPERM] * 5

    def test_clone_starts_threads_where_they_are_allowed_and_processes_never(self, machine: str) -> None:
        thread, process, namespace = 0x003D0F00, 0x01200011, 0x10000011
        assert self.verdict(machine, "clone", thread, threads=True) == ALLOW
        assert self.verdict(machine, "clone", thread) == EPERM
        for flags in (process, namespace):
            assert self.verdict(machine, "clone", flags, threads=True) == EPERM
        assert self.verdict(machine, "clone3", threads=True) == ENOSYS

    def test_another_architecture_kills(self, machine: str) -> None:
        filter_ = program(OWN, False, machine)
        assert decide(filter_, 0x40000003, 4) == KILL
        assert decide(filter_, ARCH[machine], 0x40000000) == KILL

    def test_its_form(self, machine: str) -> None:
        filter_ = program(OWN, True, machine)
        assert len(filter_) < 4096
        assert len(assemble(filter_)) == 8 * len(filter_)

    @UNTIMED
    @given(number=st.integers(0, 600), arguments=st.lists(st.integers(0, 2**64 - 1), max_size=6))
    def test_every_other_call_is_refused(self, machine: str, number: int, arguments: list[int]) -> None:
        known = {value: name for name, value in numbers(machine).items()}
        verdict = decide(program(OWN, False, machine), ARCH[machine], number, *arguments)
        refused = {"mount_setattr", "landlock_create_ruleset", "landlock_add_rule", "landlock_restrict_self", "clone"}
        if number not in known or known[number] in refused:
            assert verdict == EPERM
        else:
            assert verdict in (ALLOW, EPERM, ENOSYS)


DANGEROUS = """
    socket connect bind listen accept sendto sendmsg socketpair fork vfork execve execveat ptrace process_vm_readv
    process_vm_writev pidfd_open pidfd_send_signal pidfd_getfd rt_sigqueueinfo rt_tgsigqueueinfo setsid setpgid chmod
    fchmod fchmodat chown fchown fchownat lchown utime utimes utimensat futimesat setxattr mount umount2 unshare setns
    pivot_root chroot bpf perf_event_open io_uring_setup io_uring_enter memfd_create shmget msgget semget mq_open
    userfaultfd keyctl add_key setrlimit setuid setgid setreuid setresuid capset seccomp kexec_load init_module
    setpriority sched_setaffinity sched_setscheduler mknod mknodat name_to_handle_at open_by_handle_at timer_create
""".split()


@pytest.mark.skipif(not Path("/usr/include/x86_64-linux-gnu/asm/unistd_64.h").exists(), reason="no kernel headers")
def test_numbers_are_those_of_the_kernels_headers() -> None:
    text = Path("/usr/include/x86_64-linux-gnu/asm/unistd_64.h").read_text()
    header = {name: int(number) for name, number in re.findall(r"#define __NR_(\w+) (\d+)", text)}
    table = numbers("x86_64")
    assert {name: header[name] for name in table} == table
    filter_ = program(OWN, True, "x86_64")
    allowed = [name for name in DANGEROUS if decide(filter_, ARCH["x86_64"], header[name]) == ALLOW]
    assert allowed == []


@pytest.mark.skipif(not Path("/usr/include/asm-generic/unistd.h").exists(), reason="no kernel headers")
def test_numbers_of_aarch64_are_the_generic_ones() -> None:
    text = Path("/usr/include/asm-generic/unistd.h").read_text()
    header = {name: int(number) for name, number in re.findall(r"#define __NR(?:3264)?_(\w+) (\d+)", text)}
    header["newfstatat"] = header["fstatat"]
    table = numbers("aarch64")
    assert {name: header[name] for name in table} == table


def test_an_unknown_machine_is_an_error() -> None:
    with pytest.raises(OSError, match=r"^the numbers of the system calls on riscv64 are not known here$"):
        program(1, False, "riscv64")


def test_rights_of_landlock_by_version() -> None:
    """include/uapi/linux/landlock.h: MAKE_SYM is bit 12, REFER 13 (version 2), TRUNCATE 14 (3), IOCTL_DEV 15 (5)."""
    assert [all_rights(version) for version in range(1, 8)] == [
        0x1FFF, 0x3FFF, 0x7FFF, 0x7FFF, 0xFFFF, 0xFFFF, 0xFFFF,
    ]  # fmt: skip
