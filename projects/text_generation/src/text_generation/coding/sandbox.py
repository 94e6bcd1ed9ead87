"""Execution of Python that nobody trusts, without root.

A program runs in a process of its own: a bare interpreter (`-P -s -S -B`, an environment of three variables, no
installed packages), in a new session, with its own temporary folder. Between it and the machine stand layers. Each is
used where the system has it, and the result says which held:

- `namespaces`, `mounts` (Linux user namespaces): an empty network, a process table in which nothing else exists, a
  read-only file system but for a small memory file system over the program's folder, no /proc.
- `landlock` (Linux 5.13): reads the standard library and shared libraries alone, writes below its folder alone.
- `seccomp` (Linux): an allow-list of system calls without socket, fork, execve, ptrace, chmod; signals to itself only.
- `privileges` (Linux): no capabilities, no_new_privs.
- `limits` (any Unix): CPU time, address space, file size, open files, processes.

The process is ended at its limit of CPU time, which does not depend on what else the machine does; at a generous limit
of wall-clock time, for what sleeps; and at a limit of output. Whatever it started ends with it.

A program runs only where some layer closes each of `network`, `files` and `processes`; elsewhere, as on macOS, where
nothing but the resource limits exists, that is an error unless `allow_weak` says otherwise.

Not covered:

- A hole in the kernel or in the interpreter. Against an attacker with one, use a virtual machine (gVisor, Firecracker).
- Side channels: the program sees the clock, the machine's name, the load, and whether a path exists (stat).
- Contention: it uses one core up to its CPU time, and memory up to its limit. Many at once add up.
- Without `mounts`, the size of each file is limited but not their number. Without `landlock`, every file that the user
  can read can be read. RLIMIT_NPROC does not bind root: without `seccomp` root's programs are ended, but not counted.
- With `threads` above 0 the number of threads is limited by the address space alone.
- A caller that is killed outright leaves an empty folder behind; the program itself is ended.
- asyncio's event loop and multiprocessing, which need sockets and processes, do not work.
- What the caller does with the result. Text that a program prints is as little trusted as the program.
"""

import json
import os
import select
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Literal

from roadmap_shared.errors import UserError, one_line
from text_generation.config.coding import SandboxConfig

Status = Literal["exited", "signal", "cpu_time", "wall_clock", "output", "cancelled"]
LAYERS = ("namespaces", "mounts", "landlock", "seccomp", "privileges", "limits")
PROTECTIONS = ("network", "files", "processes")

_PACKAGE = str(Path(__file__).parent)
_START = f"import sys; sys.path.insert(0, {_PACKAGE!r}); from isolation.launcher import main; main()"
_GRACE_SECONDS = 20.0  # what the launcher may need beyond the program's wall-clock time, on a busy machine


@dataclass(frozen=True)
class Layer:
    """A means of the system, and whether it holds here."""

    name: str
    holds: bool
    detail: str
    """Its version, or why it does not hold."""


@dataclass(frozen=True)
class SandboxResult:
    """What a program did."""

    status: Status
    """exited: it ended by itself; signal: a signal ended it, as a crash does; cpu_time, wall_clock, output: a limit;
    cancelled: the caller did."""

    code: int
    """Exit code, or minus the number of the signal."""

    stdout: str
    stderr: str
    """Text up to the limit of output, which both share."""

    cpu_seconds: float
    peak_mb: float
    """Most memory resident at once, in MB (10^6 bytes)."""

    layers: tuple[Layer, ...]

    @property
    def ok(self) -> bool:
        """It ended by itself with exit code 0, within its limits."""
        return self.status == "exited" and self.code == 0


class Sandbox:
    """Runs untrusted programs, each in a process of its own. Holds no state: one serves any number of threads."""

    def __init__(
        self, config: SandboxConfig | None = None, *, layers: Sequence[str] = LAYERS, python: str | None = None
    ) -> None:
        """Prepare to run programs.

        Args:
            config: limits.
            layers: those to use; fewer than all only to see what each is worth.
            python: the interpreter; None takes the one that runs this.

        Raises:
            UserError: the system is neither Linux nor macOS.
        """
        if not sys.platform.startswith(("linux", "darwin")):
            raise UserError(f"the sandbox needs Linux, not {sys.platform}. Use WSL, a container or a virtual machine.")
        self.config = config or SandboxConfig()
        self._layers = list(layers)
        self._python = python or sys.executable

    def run(self, program: str) -> SandboxResult:
        """Run a program as `__main__`, to its end or to a limit.

        Raises:
            UserError: the system offers too little protection.
        """
        return self.start(program).wait()

    def start(
        self, program: str, *, modules: Mapping[str, str] | None = None, channels: Sequence[int] = ()
    ) -> "SandboxedProcess":
        """Start a program without waiting for it.

        Args:
            program: Python source, run as `__main__`.
            modules: source of the modules that it may import besides the standard library, by dotted name.
            channels: descriptors of this process that it inherits as 3, 4 … The caller closes its own.

        Raises:
            UserError: the interpreter cannot be started.
            ValueError: a channel is a standard stream.
        """
        for channel in channels:
            if channel < 3:  # the program would be given the launcher's own
                raise ValueError(f"channel {channel} is a standard stream, which the sandbox's launcher needs")
        folder = tempfile.mkdtemp(prefix="sandbox-")
        job = {**self._job(folder), "program": program, "modules": dict(modules or {}), "channels": list(channels)}
        try:
            launcher = subprocess.Popen(
                [self._python, "-P", "-s", "-S", "-B", "-c", _START],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                # A fixed hash seed: sets come in the same order each time, and a sample keeps its verdict.
                env={"PYTHONHASHSEED": "0", "TMPDIR": folder, "HOME": folder, "LANG": "C.UTF-8"},
                cwd="/",
                pass_fds=list(channels),
                start_new_session=True,
            )
        except OSError as error:
            shutil.rmtree(folder, ignore_errors=True)
            raise UserError(f"cannot start the sandbox's interpreter {self._python}: {error.strerror}") from error
        return SandboxedProcess(launcher, folder, job)

    def _job(self, folder: str) -> dict[str, Any]:
        """What the launcher has to know about limits and layers."""
        limits = asdict(self.config)
        return {
            "folder": folder,
            "package": _PACKAGE,
            "layers": self._layers,
            "required": [] if limits.pop("allow_weak") else list(PROTECTIONS),
            "wall_seconds": limits.pop("wall_seconds"),
            "output_kb": limits.pop("output_kb"),
            "limits": limits,
        }

    def check(self) -> tuple[Layer, ...]:
        """Which layers hold on this machine, found by running an empty program; no error where they are too few."""
        return self.with_config(replace(self.config, allow_weak=True)).run("").layers

    def with_config(self, config: SandboxConfig) -> "Sandbox":
        """The same with other limits."""
        return Sandbox(config, layers=self._layers, python=self._python)


class SandboxedProcess:
    """A program that runs. Whoever starts one waits for it."""

    def __init__(self, launcher: subprocess.Popen[bytes], folder: str, job: dict[str, Any]) -> None:
        self._launcher = launcher
        self._folder = folder
        self._deadline = time.monotonic() + job["wall_seconds"] + _GRACE_SECONDS
        message = json.dumps(job).encode()
        assert launcher.stdin is not None
        with suppress(BrokenPipeError):  # it has died; `wait` says why
            launcher.stdin.write(len(message).to_bytes(8, "big") + message)
            launcher.stdin.flush()

    def cancel(self) -> None:
        """Ask for its end; `wait` still has to be called."""
        assert self._launcher.stdin is not None
        with suppress(BrokenPipeError):
            self._launcher.stdin.close()

    def abandon(self) -> None:
        """End it at once and remove its folder, whatever state it is in. Harmless when called again."""
        self._end()

    def wait(self) -> SandboxResult:
        """Wait for its end and remove its folder.

        Raises:
            UserError: the system offers too little protection.
            RuntimeError: the launcher itself failed.
        """
        try:
            report = self._read_report()
            self._launcher.wait()
            complaint = self._complaint()
        finally:
            self._end()
        if not report:
            raise RuntimeError(f"the sandbox's launcher ended with code {self._launcher.returncode}: {complaint}")
        return _result(json.loads(report), complaint)

    def _read_report(self) -> bytes:
        assert self._launcher.stdout is not None
        descriptor = self._launcher.stdout.fileno()
        report = bytearray()
        while (remaining := self._deadline - time.monotonic()) > 0:
            if not select.select([descriptor], [], [], remaining)[0]:
                break
            piece = os.read(descriptor, 1 << 16)
            if not piece:
                return bytes(report)
            report += piece
        self._kill()
        return b""

    def _complaint(self) -> str:
        """What the launcher itself had to say, without waiting for more."""
        assert self._launcher.stderr is not None
        descriptor = self._launcher.stderr.fileno()
        os.set_blocking(descriptor, False)
        try:
            return one_line(os.read(descriptor, 1 << 16)[-2000:].decode("utf-8", "replace"))
        except BlockingIOError:
            return ""

    def _kill(self) -> None:
        try:
            os.killpg(self._launcher.pid, signal.SIGKILL)
        except (ProcessLookupError, PermissionError):
            self._launcher.kill()

    def _end(self) -> None:
        if self._launcher.poll() is None:
            self._kill()
            self._launcher.wait()
        for pipe in (self._launcher.stdin, self._launcher.stdout, self._launcher.stderr):
            if pipe is not None:
                pipe.close()
        shutil.rmtree(self._folder, ignore_errors=True)


def _result(report: dict[str, Any], complaint: str) -> SandboxResult:
    layers = tuple(
        Layer(name, report["layers"][name]["holds"], report["layers"][name]["detail"])
        for name in LAYERS
        if name in report["layers"]
    )
    if report["status"] == "broken":
        raise RuntimeError(f"the sandbox could not be set up: {complaint}")
    if report["refused"]:
        reasons = "; ".join(f"{layer.name}: {layer.detail}" for layer in layers if not layer.holds)
        raise UserError(
            f"the sandbox cannot protect {', '.join(report['refused'])} on this system ({reasons}). Run in a virtual "
            "machine, or accept that with --sandbox.allow_weak True."
        )
    fields = ("status", "code", "stdout", "stderr", "cpu_seconds", "peak_mb")
    return SandboxResult(**{name: report[name] for name in fields}, layers=layers)
