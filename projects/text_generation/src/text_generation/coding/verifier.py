"""Does a candidate's code pass a problem's tests? A verdict that the candidate has no hand in.

Running the tests in the candidate's process, as the first harnesses for HumanEval and MBPP do, lets it answer for
itself: `SystemExit(0)`, an object whose `__eq__` is always true, a patched `AssertionError`, a forged line on standard
output. Here they run in two processes, each in a sandbox of its own:

    judge                                      candidate
    runs the tests; compares      arguments →  runs the candidate's code
    exact built-in types          ← values     holds no test and no expected value

The candidate can lie about what its function returned, but a lie helps only if it is the right answer, and what that
is stands in the other process. Whatever else it does (patch modules, read frames, leave early, flood its output, start
a thread) happens where nothing decides. The verdict travels from the judge to this process over a pipe that the
candidate has never had.

What remains possible:

- A candidate that knows a public benchmark by heart answers from memory. No verifier can see that.
- It sees the arguments before it answers. A test such as `assert f(x) == g(x)` with a g that it also provides would
  leave the expected value to it; therefore only the functions and classes named in `Task.names` are the candidate's,
  and everything else that a test calls is the judge's own.
- A test that uses an object of the candidate's own class (MBPP 367: a tree of its `Node`) reads attributes that the
  candidate computes. Such objects can be handed back, but not compared.
- Identity is lost: arguments are copies, written back after the call, and `is` between an argument and a result is
  false. A subclass of a built-in type, such as Counter or a named tuple, arrives as that type.
- A function cannot be an argument of the candidate.
- What the sandbox does not cover (see `sandbox`), and tests that are themselves hostile or wrong.
"""

import json
import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any, Literal

from text_generation.coding.sandbox import Sandbox, SandboxedProcess, SandboxResult

VerdictStatus = Literal[
    "passed", "wrong", "error", "syntax", "missing", "crashed", "cpu_time", "wall_clock", "output", "tests"
]

_FOLDER = Path(__file__).parent
_WIRE = "text_generation.coding.wire"
_TASK = "text_generation.coding.task"
_JUDGE_EXTRA_SECONDS = 30.0  # the judge waits for the candidate, and must not be the first to give up


@dataclass(frozen=True)
class Task:
    """A candidate and the tests that it has to pass."""

    source: str
    """The candidate's code."""

    names: tuple[str, ...]
    """Functions and classes that the tests take from it."""

    tests: tuple[str, ...]
    """Python statements, each run by itself: it passes if nothing is raised."""

    preamble: str = ""
    """What the tests need that is the judge's own: imports, helper functions."""

    setup: str = ""
    """Statements that run before the tests and may use the candidate's names."""


@dataclass(frozen=True)
class Verdict:
    """What became of a candidate."""

    status: VerdictStatus
    """passed: every test; wrong: an assertion was false; error: it raised; syntax: it does not compile; missing: it
    lacks a name; crashed: its process ended; cpu_time, wall_clock, output: a limit; tests: they cannot be run."""

    detail: str
    """One line on the first failure; empty where all passed."""

    n_passed: int
    n_tests: int
    cpu_seconds: float
    """CPU time of the candidate's process."""

    @property
    def passed(self) -> bool:
        return self.status == "passed"


class Verifier:
    """Judges candidates. Holds no state: one serves any number of threads."""

    def __init__(self, sandbox: Sandbox | None = None) -> None:
        self._sandbox = sandbox or Sandbox()
        config = self._sandbox.config
        self._judge = self._sandbox.with_config(
            replace(
                config,
                cpu_seconds=2 * config.cpu_seconds,
                wall_seconds=config.wall_seconds + 2 * config.cpu_seconds + _JUDGE_EXTRA_SECONDS,
                threads=0,
            )
        )

    def verify(self, task: Task) -> Verdict:
        """Run a candidate against its tests.

        Raises:
            ValueError: the task has no test or no name.
            UserError: the system offers too little protection.
        """
        if not task.tests or not task.names:
            raise ValueError("a task needs at least one test, and the name of what is tested")
        pipes = [os.pipe() for _ in range(3)]
        (requests, ask), (answers, answer), (verdict, decide) = pipes
        running: list[SandboxedProcess] = []
        try:
            running.append(self._start_candidate([requests, answer]))
            running.append(self._start_judge(task, [ask, answers, decide]))
            for descriptor in (requests, ask, answers, answer, decide):
                os.close(descriptor)
            pipes = [(verdict, verdict)]
            candidate, judge = running
            try:
                judged = judge.wait()
            finally:
                candidate.cancel()
            done = candidate.wait()
            return _verdict(task, _read_verdict(verdict), judged, done, self._sandbox.config.cpu_seconds)
        except BaseException:
            for process in running:
                process.abandon()
            raise
        finally:
            for descriptor in {end for pipe in pipes for end in pipe}:
                os.close(descriptor)

    def _start_candidate(self, channels: Sequence[int]) -> SandboxedProcess:
        return self._sandbox.start(_source("candidate_host"), modules={_WIRE: _source("wire")}, channels=channels)

    def _start_judge(self, task: Task, channels: Sequence[int]) -> SandboxedProcess:
        fields = {name: getattr(task, name) for name in ("source", "names", "tests", "preamble", "setup")}
        modules = {_WIRE: _source("wire"), _TASK: f"import json\nTASK = json.loads({json.dumps(fields)!r})"}
        return self._judge.start(_source("judge_host"), modules=modules, channels=channels)


@cache
def _source(name: str) -> str:
    return (_FOLDER / f"{name}.py").read_text("utf-8")


def _read_verdict(descriptor: int) -> dict[str, Any] | None:
    """The judge's message, complete or not at all; the judge has ended, so this does not wait."""
    data = bytearray()
    while piece := os.read(descriptor, 1 << 16):
        data += piece
    if len(data) < 8 or len(data) != 8 + int.from_bytes(data[:8], "big"):
        return None
    return json.loads(bytes(data[8:]))


def _verdict(
    task: Task, message: dict[str, Any] | None, judged: SandboxResult, done: SandboxResult, cpu_limit: float
) -> Verdict:
    outcomes = message.get("outcomes") if message else None
    n_passed = sum(outcome is None for outcome in outcomes or ())
    if done.cpu_seconds > cpu_limit:
        return _failed(task, "cpu_time", f"used more than {cpu_limit:g} s of CPU time", n_passed, done)
    if message is None or not judged.ok:
        return _failed(task, "tests", f"the tests ended early ({judged.status}, code {judged.code})", 0, done)
    failures = [message["stopped"]] if "stopped" in message else [one for one in outcomes or () if one is not None]
    if not failures and n_passed == len(task.tests):
        return Verdict("passed", "", n_passed, n_passed, done.cpu_seconds)
    kind, detail = failures[0]
    if kind != "gone":
        return _failed(task, kind, detail, n_passed, done)
    limits = {
        "cpu_time": f"used more than {cpu_limit:g} s of CPU time",
        "wall_clock": "did not end: it slept or waited",
        "output": "printed more than the limit",
    }
    if done.status in limits:
        return _failed(task, done.status, limits[done.status], n_passed, done)
    how = f"signal {-done.code}" if done.code < 0 else f"exit code {done.code}"
    return _failed(task, "crashed", f"{detail} ({how})", n_passed, done)


def _failed(task: Task, status: Any, detail: str, n_passed: int, done: SandboxResult) -> Verdict:
    line = "".join(char if char.isprintable() else " " for char in detail)
    return Verdict(status, " ".join(line.split()), n_passed, len(task.tests), done.cpu_seconds)
