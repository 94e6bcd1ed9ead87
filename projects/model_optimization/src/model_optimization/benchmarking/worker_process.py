"""The parent's end of a worker: a process of its own for each variant, talked to by lines of JSON.

A process of its own, because memory that one variant has allocated, threads that it has started and kernels that it
has chosen stay in a process, and because one that crashes takes nothing with it but itself.
"""

import json
import os
import queue
import signal
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from contextlib import suppress
from threading import Thread
from typing import Any, Protocol

from roadmap_shared.errors import one_line

COMMAND = (sys.executable, "-P", "-m", "model_optimization.benchmarking.worker")
"""Without -P, the folder that the program is started in would hide modules of the standard library."""


class WorkerError(Exception):
    """A variant cannot be measured: what happened, in one line."""


class Worker(Protocol):
    """What measures one variant."""

    def wait(self, timeout: float) -> dict[str, Any]:
        """The next answer. Raises WorkerError: there is none."""
        ...

    def request(self, command: str, timeout: float, **arguments: Any) -> dict[str, Any]:
        """Send a command and wait for its answer, seconds at most. Raises WorkerError: there is none."""
        ...

    def close(self) -> None:
        """End it, whatever it does."""
        ...


class WorkerProcess:
    """Implements `Worker` by a process.

    Args:
        threads: of its computations, by the variables that OpenMP and MKL read when they are loaded.
        command: the program and its arguments.
    """

    def __init__(self, threads: int, command: Sequence[str] = COMMAND) -> None:
        number = str(threads)
        environment = os.environ | {"OMP_NUM_THREADS": number, "MKL_NUM_THREADS": number, "PYTHONIOENCODING": "utf-8"}
        self._errors = tempfile.TemporaryFile()  # noqa: SIM115 - lives as long as the process
        self._process = subprocess.Popen(
            list(command),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._errors,
            env=environment,
            text=True,
            encoding="utf-8",
        )
        self._lines: queue.Queue[str | None] = queue.Queue()
        self._reader = Thread(target=self._read, daemon=True)
        self._reader.start()

    def request(self, command: str, timeout: float, **arguments: Any) -> dict[str, Any]:
        """Send a command and wait for its answer, seconds at most. Raises WorkerError: there is none."""
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(json.dumps({"command": command} | arguments) + "\n")
            self._process.stdin.flush()
        except (BrokenPipeError, OSError):
            raise WorkerError(self._how_it_ended()) from None
        return self.wait(timeout)

    def wait(self, timeout: float) -> dict[str, Any]:
        """The next answer. Raises WorkerError: there is none."""
        try:
            line = self._lines.get(timeout=timeout)
        except queue.Empty:
            self.close()
            raise WorkerError(
                f"gave no answer within {timeout:g} s and was ended: raise --benchmark.timeout_seconds"
            ) from None
        if line is None:
            raise WorkerError(self._how_it_ended())
        try:
            answer = json.loads(line)
        except ValueError:
            raise WorkerError(f"answered with something else than JSON: {one_line(line)[:80]}") from None
        if "error" in answer:
            raise WorkerError(answer["error"])
        return answer

    def close(self) -> None:
        """End it, whatever it does."""
        if self._process.poll() is None:
            self._process.kill()
        self._process.wait()
        self._reader.join()
        for pipe in (self._process.stdin, self._process.stdout, self._errors):
            with suppress(OSError):  # what was not sent cannot be flushed to a process that is gone
                pipe.close()  # type: ignore[union-attr]

    def _read(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            self._lines.put(line)
        self._lines.put(None)

    def _how_it_ended(self) -> str:
        code = self._process.wait()
        if code < 0:
            name = signal.Signals(-code).name
            hint = ", as the system does to a process when memory runs out" if name == "SIGKILL" else ""
            return f"its process was ended by {name}{hint}"
        self._errors.seek(0)
        said = self._errors.read().decode(errors="replace").strip().splitlines()
        return f"its process ended with code {code}" + (f": {one_line(said[-1])}" if said else "")


def start_worker(threads: int) -> Worker:
    """Start the process that will hold a variant."""
    return WorkerProcess(threads)
