"""Runs the tests, in a sandbox of its own where the candidate's code never runs.

A test calls the candidate's functions by stand-ins, which send the arguments to the candidate's process and bring back
values of exact built-in types. Comparisons, assertions and every library that a test uses are this process's own.
Descriptor 3 goes to the candidate, 4 comes from it, 5 takes the verdict to the caller.
"""

import ast
import builtins
import os
import sys
from collections.abc import Iterator
from typing import Any

from text_generation.coding.wire import WireError, decode, encode, receive, send

_REQUESTS, _ANSWERS, _VERDICT = 3, 4, 5
_LONGEST_DETAIL = 400
_LEFT, _RIGHT, _DESCRIBE = "_left_side_", "_right_side_", "_describe_sides_"


class CandidateGone(BaseException):
    """The candidate's process has ended, or says what no honest one would. No test can catch it unawares."""


class CandidateError(Exception):
    """The candidate raised something that is no built-in exception, or misused what it returned."""


class Candidate:
    """The other end of the pipes."""

    def __init__(self) -> None:
        self._number = 0
        self.gone: str | None = None

    def ask(self, do: str, **request: Any) -> dict[str, Any]:
        """Send a request and return its answer.

        Raises:
            CandidateGone: no answer, or the answer to another question.
            Exception: the built-in one that the candidate raised, or CandidateError.
        """
        if self.gone:
            raise CandidateGone(self.gone)
        self._number += 1
        try:
            send(_REQUESTS, {"id": self._number, "do": do, **request})
            answer = receive(_ANSWERS)
        except BrokenPipeError:
            answer = None
        except WireError as error:
            raise self._lost(f"its process sent {error}") from None
        if answer is None:
            raise self._lost("its process ended")
        if answer.get("id") != self._number:
            raise self._lost("its process sent an answer to no question")
        if "error" in answer:
            raise _exception(answer)
        return answer

    def value(self, do: str, **request: Any) -> Any:
        """The value in an answer, as exact built-in types and stand-ins."""
        return self.decoded(self.ask(do, **request).get("value"))

    def decoded(self, data: Any) -> Any:
        try:
            return decode(data, lambda number: RemoteObject(self, number))
        except (WireError, RecursionError) as error:
            raise self._lost(f"its process sent {error}") from None

    def _lost(self, reason: str) -> CandidateGone:
        self.gone = reason
        return CandidateGone(reason)


class RemoteFunction:
    """Stands for a function or class of the candidate."""

    def __init__(self, candidate: Candidate, target: str | int) -> None:
        self._candidate, self._target = candidate, target

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        sent = [encode(item, _number_of) for item in args]
        named = {name: encode(item, _number_of) for name, item in kwargs.items()}
        answer = self._candidate.ask("call", target=self._target, args=sent, kwargs=named)
        if answer.get("args") is not None:
            _update(args, self._candidate.decoded(answer["args"]))
        return self._candidate.decoded(answer.get("value"))


class RemoteObject:
    """Stands for an object that cannot travel, such as a tree's node. It can be handed back, called, iterated over and
    asked for its attributes; it cannot be compared, and is neither true nor false: its class would decide that."""

    def __init__(self, candidate: Candidate, number: int) -> None:
        object.__setattr__(self, "_candidate", candidate)
        object.__setattr__(self, "_number", number)

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return self._candidate.value("get", target=self._number, name=name)

    def __setattr__(self, name: str, value: Any) -> None:
        self._candidate.ask("set", target=self._number, name=name, value=encode(value, _number_of))

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return RemoteFunction(self._candidate, self._number)(*args, **kwargs)

    def __len__(self) -> int:
        return self._candidate.value("length", target=self._number)

    def __iter__(self) -> Iterator[Any]:
        steps = self._candidate.value("iterate", target=self._number)
        while not (answer := self._candidate.ask("next", target=_number_of(steps))).get("ended"):
            yield self._candidate.decoded(answer.get("value"))

    def _refuse(self, *_: Any) -> Any:
        raise CandidateError("it returned an object of a class of its own, which is no value to compare")

    __eq__ = __ne__ = __lt__ = __le__ = __gt__ = __ge__ = __bool__ = __hash__ = __str__ = __contains__ = _refuse
    __int__ = __float__ = __index__ = __getitem__ = __format__ = __repr__ = _refuse


def _number_of(value: Any) -> int:
    if type(value) is RemoteObject:
        return object.__getattribute__(value, "_number")
    raise TypeError(f"the test passes a {type(value).__name__}, which cannot be sent to the candidate")


def _exception(answer: dict[str, Any]) -> Exception:
    name, message = str(answer["error"])[:100], str(answer.get("message"))[:500]
    for kind_name in answer.get("kinds") or []:
        kind = getattr(builtins, str(kind_name), None)
        if isinstance(kind, type) and issubclass(kind, Exception) and kind_name not in ("Exception", "ExceptionGroup"):
            try:
                return kind(message)
            except TypeError:  # such as UnicodeDecodeError, which takes five arguments
                break
    return CandidateError(f"{name}: {message}")


def _update(args: tuple[Any, ...], after: Any) -> None:
    """Do to the arguments here what the candidate did to its copies."""
    if not isinstance(after, list) or len(after) != len(args):
        return
    for before, now in zip(args, after, strict=True):
        if type(before) is not type(now):
            continue
        if isinstance(before, (list, bytearray)):
            before[:] = now
        elif isinstance(before, (dict, set)):
            before.clear()
            before.update(now)


class _ShowSides(ast.NodeTransformer):
    """Makes `assert f(1) == 2` say what f(1) was."""

    def visit_Assert(self, node: ast.Assert) -> ast.Assert:
        if node.msg is None and isinstance(node.test, ast.Compare) and len(node.test.ops) == 1:
            left = ast.NamedExpr(ast.Name(_LEFT, ast.Store()), node.test.left)
            right = ast.NamedExpr(ast.Name(_RIGHT, ast.Store()), node.test.comparators[0])
            node.test = ast.Compare(left, node.test.ops, [right])
            sides = [ast.Name(name, ast.Load()) for name in (_LEFT, _RIGHT)]
            node.msg = ast.Call(ast.Name(_DESCRIBE, ast.Load()), [ast.Constant(_symbol(node.test.ops[0])), *sides], [])
        return node


def _symbol(operator: ast.cmpop) -> str:
    return ast.unparse(ast.Compare(ast.Constant(0), [operator], [ast.Constant(0)]))[2:-2]


def _describe(symbol: str, left: Any, right: Any) -> str:
    return f"{_short(left)} {symbol} {_short(right)} is false"


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 150 else f"{text[:147]}..."


def judge(task: dict[str, Any]) -> dict[str, Any]:
    """Run the tests of a task and say how each went.

    Returns:
        "outcomes": for each test None, or what went wrong as [kind, detail]; or "stopped": the same for a candidate
        that could not be loaded or a task that could not be set up.
    """
    candidate = Candidate()
    try:
        missing = candidate.ask("load", source=task["source"], names=task["names"]).get("missing")
    except BaseException as error:
        kind = "gone" if candidate.gone else "syntax" if isinstance(error, SyntaxError) else "error"
        return {"stopped": [kind, _reason(error)]}
    if missing:
        return {"stopped": ["missing", f"it defines no {' and no '.join(map(str, missing))}"]}
    namespace: dict[str, Any] = {"__name__": "tests", _DESCRIBE: _describe}
    stand_ins = {name: RemoteFunction(candidate, name) for name in task["names"]}
    try:
        exec(compile(task["preamble"], "<preamble>", "exec"), namespace)
        namespace |= stand_ins
        exec(compile(task["setup"], "<setup>", "exec"), namespace)
        namespace |= stand_ins
        tests = [compile(_prepared(test), "<test>", "exec") for test in task["tests"]]
    except BaseException as error:
        return {"stopped": ["gone" if candidate.gone else "tests", _reason(error)]}
    return {"outcomes": [_run(test, namespace, candidate) for test in tests]}


def _prepared(test: str) -> ast.Module:
    return ast.fix_missing_locations(_ShowSides().visit(ast.parse(test)))


def _run(test: Any, namespace: dict[str, Any], candidate: Candidate) -> list[str] | None:
    if candidate.gone:
        return ["gone", candidate.gone]
    try:
        exec(test, namespace)
    except BaseException as error:
        kind = "gone" if candidate.gone else "wrong" if isinstance(error, AssertionError) else "error"
        return [kind, _reason(error)]
    # A test may have caught what it should not have.
    return ["gone", candidate.gone] if candidate.gone else None


def _reason(error: BaseException) -> str:
    text = str(error)
    if isinstance(error, AssertionError):
        return text[:_LONGEST_DETAIL] or "an assertion is false"
    name = "" if isinstance(error, (CandidateError, CandidateGone)) else f"{type(error).__name__}: "
    return f"{name}{text}"[:_LONGEST_DETAIL].rstrip(": ")


if __name__ == "__main__":
    from text_generation.coding.task import TASK  # pyright: ignore[reportMissingImports]  # made for the occasion

    sys.setrecursionlimit(3000)
    send(_VERDICT, judge(TASK))
    os._exit(0)  # taking an interpreter down in good order takes as long as starting one
