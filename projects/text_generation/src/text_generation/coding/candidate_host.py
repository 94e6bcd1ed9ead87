"""Runs in the sandbox beside the candidate: calls its functions with the values that the judge sends, sends back what
they return. It holds no test and no expected value, and what it says is believed by nobody: the candidate may do to it
as it likes. Requests come over descriptor 3, answers go over 4."""

import builtins
import os
import types
from typing import Any

from text_generation.coding.wire import WireError, decode, encode, receive, send

_REQUESTS, _ANSWERS = 3, 4


class Host:
    """The candidate's module, and the objects that it has returned and that cannot travel."""

    def __init__(self) -> None:
        self._module = types.ModuleType("candidate")
        self._kept: list[Any] = []

    def serve(self) -> None:
        """Answer requests until the judge has gone."""
        while (request := receive(_REQUESTS)) is not None:
            send(_ANSWERS, {"id": request["id"], **self._answer(request)})

    def _answer(self, request: dict[str, Any]) -> dict[str, Any]:
        try:
            return getattr(self, f"_do_{request['do']}")(request)
        except BaseException as error:  # SystemExit and KeyboardInterrupt end nothing but this call
            return {"error": type(error).__name__, "kinds": _kinds(error), "message": _text(error)}

    def _do_load(self, request: dict[str, Any]) -> dict[str, Any]:
        exec(compile(request["source"], "<candidate>", "exec"), self._module.__dict__)
        return {"missing": [name for name in request["names"] if not callable(getattr(self._module, name, None))]}

    def _do_call(self, request: dict[str, Any]) -> dict[str, Any]:
        target = request["target"]
        function = getattr(self._module, target) if isinstance(target, str) else self._kept[target]
        args = [decode(item, self._find) for item in request["args"]]
        kwargs = {name: decode(item, self._find) for name, item in request["kwargs"].items()}
        value = self._encode(function(*args, **kwargs))
        # A function may change its argument in place, and a test may look at that.
        after = [self._encode(item) for item in args]
        return {"value": value, "args": after if after != request["args"] else None}

    def _do_get(self, request: dict[str, Any]) -> dict[str, Any]:
        return {"value": self._encode(getattr(self._kept[request["target"]], request["name"]))}

    def _do_set(self, request: dict[str, Any]) -> dict[str, Any]:
        setattr(self._kept[request["target"]], request["name"], decode(request["value"], self._find))
        return {"value": None}

    def _do_iterate(self, request: dict[str, Any]) -> dict[str, Any]:
        return {"value": self._encode(_Steps(iter(self._kept[request["target"]])))}

    def _do_next(self, request: dict[str, Any]) -> dict[str, Any]:
        for value in self._kept[request["target"]].steps:
            return {"value": self._encode(value)}
        return {"ended": True}

    def _do_length(self, request: dict[str, Any]) -> dict[str, Any]:
        return {"value": len(self._kept[request["target"]])}

    def _encode(self, value: Any) -> Any:
        return encode(value, self._keep)

    def _keep(self, value: Any) -> int:
        for number, kept in enumerate(self._kept):
            if kept is value:
                return number
        self._kept.append(value)
        return len(self._kept) - 1

    def _find(self, number: int) -> Any:
        return self._kept[number]


class _Steps:
    """An iterator under way."""

    def __init__(self, steps: Any) -> None:
        self.steps = steps


def _kinds(error: BaseException) -> list[str]:
    """The built-in classes that an exception is one of, nearest first."""
    return [kind.__name__ for kind in type(error).__mro__ if getattr(builtins, kind.__name__, None) is kind]


def _text(error: BaseException) -> str:
    try:
        return str(error)[:500]
    except BaseException:
        return ""


if __name__ == "__main__":
    try:
        Host().serve()
    except (OSError, WireError):
        os._exit(3)
    os._exit(0)  # nobody waits for its output, nor for its threads
