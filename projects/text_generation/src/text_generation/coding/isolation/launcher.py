"""The process between the caller and the untrusted program: it starts it, watches it and ends it.

It is started as `python -P -s -S -B -c …` with an empty environment, reads one JSON job from standard input and
writes one JSON report to standard output. It ends the program when its own standard input ends, so that nothing stays
behind when the caller is killed. It never reads what the program writes, but counts it.
"""

import json
import os
import select
import signal
import sys
import time
from contextlib import suppress
from typing import Any

from . import confinement, privileges

_LINUX = sys.platform == "linux"
_LONGEST_PAUSE = 0.25  # seconds between two looks at the CPU time where nothing else happens
_SHORTEST_PAUSE = 0.002
_CHUNK = 65_536


def main() -> None:
    """Read the job, run it, report."""
    size = int.from_bytes(os.read(0, 8), "big")
    job = json.loads(_read_exactly(0, size))
    os.write(1, json.dumps(_run(job)).encode())


def _run(job: dict[str, Any]) -> dict[str, Any]:
    layers = confinement.Layers(job["layers"])
    if _LINUX:
        privileges.adopt_orphans()
        confinement.enter_namespaces(layers, job["folder"], job["limits"]["disk_mb"])
    pipes = {name: os.pipe() for name in ("setup", "stdout", "stderr")}
    child = os.fork()
    if child == 0:
        _become_program(job, layers, pipes)
    for _, write_end in pipes.values():
        os.close(write_end)
    for channel in job["channels"]:
        os.close(channel)
    setup = _read_exactly(pipes["setup"][0], None)
    watch = _Watch(child, job, {name: pipes[name][0] for name in ("stdout", "stderr")})
    result = watch.until_end()
    if not setup:  # it ended before it could say
        return result | {"status": "broken", "layers": layers.report, "protections": {}, "refused": []}
    report = json.loads(setup)
    return result | report | ({"status": "refused"} if report["refused"] else {})


def _become_program(job: dict[str, Any], layers: confinement.Layers, pipes: dict[str, tuple[int, int]]) -> None:
    """The child: lose every right, say which layers hold, and turn into the program. Does not return."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    os.setsid()  # kill(0, …) reaches no further than itself
    if _LINUX:
        privileges.die_with_parent()
    written = [pipes[name][1] for name in ("stdout", "stderr")]
    setup = confinement.rearrange_descriptors([*written, *job["channels"], pipes["setup"][1]])
    confinement.confine(job, layers)
    protections = layers.protections()
    refused = [name for name in job["required"] if not protections[name]]
    report = {"layers": layers.report, "protections": protections, "refused": refused}
    os.write(setup, json.dumps(report).encode())
    os.close(setup)
    if refused:
        os._exit(0)
    confinement.execute(job)


class _Watch:
    """Follows the child until it ends or must end."""

    def __init__(self, child: int, job: dict[str, Any], streams: dict[str, int]) -> None:
        self._child = child
        self._limits = job["limits"]
        self._deadline = time.monotonic() + job["wall_seconds"]
        self._output_limit = job["output_kb"] * 1000
        self._streams = {descriptor: name for name, descriptor in streams.items()}
        self._kept = {name: bytearray() for name in streams}
        self._status: str | None = None
        self._ended: tuple[int, Any] | None = None
        # Readable when the child ends. Where there is none, the child is asked after every pause.
        self._handle = os.pidfd_open(child) if _LINUX else None

    def until_end(self) -> dict[str, Any]:
        """Wait, kill at the first limit, reap everything, and return what happened."""
        while self._status is None and not self._has_ended():
            self._wait_for_something()
            self._status = self._status or self._limit_reached()
        if self._ended is None:
            self._kill()
            self._ended = os.wait4(self._child, 0)[1:]
        _kill_descendants()
        self._drain()
        code, usage = self._ended
        cpu = usage.ru_utime + usage.ru_stime
        if self._status is None and cpu > self._limits["cpu_seconds"]:
            self._status = "cpu_time"
        status = self._status or ("exited" if os.WIFEXITED(code) else "signal")
        return {
            "status": status,
            "code": os.waitstatus_to_exitcode(code),
            "cpu_seconds": cpu,
            "peak_mb": usage.ru_maxrss * (1024 if _LINUX else 1) / 1e6,
            **{name: bytes(kept).decode("utf-8", "replace") for name, kept in self._kept.items()},
        }

    def _wait_for_something(self) -> None:
        sources = [0, *self._streams, *([self._handle] if self._handle is not None else [])]
        ready, _, _ = select.select(sources, [], [], self._pause())
        for descriptor in ready:
            if descriptor == 0:
                self._status = "cancelled"
            elif descriptor in self._streams:
                self._read(descriptor)

    def _pause(self) -> float:
        """A process with n threads cannot use t seconds of CPU time in less than t / n seconds."""
        threads = 1 + self._limits["threads"]
        remaining = (self._limits["cpu_seconds"] - self._cpu_seconds()) / threads
        until_deadline = self._deadline - time.monotonic()
        longest = _LONGEST_PAUSE if _LINUX else 0.01
        return max(min(remaining, until_deadline, longest), _SHORTEST_PAUSE)

    def _limit_reached(self) -> str | None:
        if sum(map(len, self._kept.values())) > self._output_limit:
            return "output"
        if self._cpu_seconds() > self._limits["cpu_seconds"]:
            return "cpu_time"
        return "wall_clock" if time.monotonic() > self._deadline else None

    def _cpu_seconds(self) -> float:
        """CPU time that the child has used, all its threads together."""
        if not _LINUX:
            return 0.0  # RLIMIT_CPU sees to it, in whole seconds
        try:
            return time.clock_gettime((~self._child << 3) | 2)  # MAKE_PROCESS_CPUCLOCK in the kernel's posix-timers.h
        except OSError:
            return 0.0

    def _has_ended(self) -> bool:
        if self._ended is None:
            pid, code, usage = os.wait4(self._child, os.WNOHANG)
            if pid:
                self._ended = (code, usage)
        return self._ended is not None

    def _read(self, descriptor: int) -> bool:
        data = os.read(descriptor, _CHUNK)
        if not data:
            del self._streams[descriptor]
            return False
        kept = self._kept[self._streams[descriptor]]
        room = self._output_limit + 1 - sum(map(len, self._kept.values()))
        kept += data[: max(room, 0)]
        return True

    def _drain(self) -> None:
        """Take what is left in the pipes; every writer has gone by now."""
        for descriptor in list(self._streams):
            os.set_blocking(descriptor, False)
            while descriptor in self._streams:
                try:
                    self._read(descriptor)
                except BlockingIOError:
                    break
        if self._status is None:
            over = sum(map(len, self._kept.values())) > self._output_limit
            self._status = "output" if over else None

    def _kill(self) -> None:
        os.kill(self._child, signal.SIGKILL)
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(self._child, signal.SIGKILL)


def _kill_descendants() -> None:
    """Kill what the program left behind. Orphans have become children of this process (see `adopt_orphans`)."""
    while True:
        for pid in _children():
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                continue
        try:
            pid, _ = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            return
        if pid == 0:
            time.sleep(_SHORTEST_PAUSE)


def _children() -> list[int]:
    try:
        with open(f"/proc/self/task/{os.getpid()}/children") as file:
            return [int(pid) for pid in file.read().split()]
    except OSError:
        return []


def _read_exactly(descriptor: int, size: int | None) -> bytes:
    """Read so many bytes, or all until the end."""
    data = bytearray()
    while size is None or len(data) < size:
        piece = os.read(descriptor, _CHUNK if size is None else min(size - len(data), _CHUNK))
        if not piece:
            break
        data += piece
    return bytes(data)
