"""Values between two processes that do not trust each other: JSON with tags, decoded to exact built-in types.

A decoded value is None, bool, int, float, complex, str, bytes, bytearray, list, tuple, dict, set, frozenset, range,
Decimal, Fraction, one of the types of `datetime`, or a built-in type itself such as int, whatever class the sender's
object had: a list whose `__eq__` is always true arrives as a list. Anything else becomes a number that stands for it,
which the receiver can only send back. No pickle. Standard library only: it runs in the sandbox.
"""

import json
import math
import os
from collections.abc import Callable
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from fractions import Fraction
from typing import Any

_MAX_BYTES = 64_000_000
_EXACT_IN_JSON = 2**53
_TEXT_FORMS: dict[str, tuple[type, Callable[[Any], str], Callable[[str], Any]]] = {
    "decimal": (Decimal, Decimal.__str__, Decimal),
    "fraction": (Fraction, Fraction.__str__, Fraction),
    "datetime": (datetime, datetime.isoformat, datetime.fromisoformat),  # before date, which it is a kind of
    "date": (date, date.isoformat, date.fromisoformat),
    "time": (time, time.isoformat, time.fromisoformat),
}
_TYPES = {kind.__name__: kind for kind in (bool, int, float, complex, str, bytes, list, tuple, dict, set, frozenset)}
_SEQUENCES: dict[str, tuple[type, ...]] = {"tuple": (tuple,), "set": (set,), "frozenset": (frozenset,)}


class WireError(Exception):
    """Bytes that are no message, or a value that cannot travel."""


def encode(value: Any, keep: Callable[[Any], int]) -> Any:
    """A value as JSON can hold it.

    Args:
        value: what to send.
        keep: gives an object that cannot travel a number, or raises WireError.
    """
    if value is None or isinstance(value, (bool, str)):
        return value if value is None or isinstance(value, bool) else str.__str__(value)
    if isinstance(value, int):
        number = int(value)
        return number if abs(number) <= _EXACT_IN_JSON else {"int": hex(number)}
    if isinstance(value, float):
        number = float(value)
        return number if math.isfinite(number) else {"float": repr(number)}
    if isinstance(value, complex):
        return {"complex": [encode(value.real, keep), encode(value.imag, keep)]}
    if isinstance(value, (bytes, bytearray)):
        return {"bytes" if isinstance(value, bytes) else "bytearray": bytes(value).hex()}
    if isinstance(value, list):
        return [encode(item, keep) for item in list.__iter__(value)]
    if isinstance(value, dict):
        return {"dict": [[encode(key, keep), encode(item, keep)] for key, item in dict.items(value)]}
    if isinstance(value, range):
        return {"range": [encode(part, keep) for part in (value.start, value.stop, value.step)]}
    if isinstance(value, timedelta):
        return {"timedelta": [value.days, value.seconds, value.microseconds]}
    if isinstance(value, type) and value in _TYPES.values():
        return {"type": value.__name__}
    for tag, kinds in _SEQUENCES.items():
        if isinstance(value, kinds):
            return {tag: [encode(item, keep) for item in kinds[0].__iter__(value)]}
    for tag, (kind, to_text, _) in _TEXT_FORMS.items():
        if isinstance(value, kind):
            return {tag: to_text(value)}
    return {"object": keep(value)}


def decode(data: Any, find: Callable[[int], Any]) -> Any:
    """The value that `encode` made, of exact built-in types.

    Args:
        data: parsed JSON, from anyone.
        find: what stands for a kept object.

    Raises:
        WireError: it is none of `encode`'s forms.
    """
    if data is None or isinstance(data, (bool, int, float, str)):
        return data
    if isinstance(data, list):
        return [decode(item, find) for item in data]
    if not isinstance(data, dict) or len(data) != 1:
        raise WireError("a value of unknown form")
    ((tag, content),) = data.items()
    try:
        return _decode_tagged(tag, content, find)
    except (ValueError, TypeError, KeyError, ArithmeticError) as error:
        raise WireError(f"no value of kind {str(tag)[:20]!r}: {str(error)[:100]}") from None


def _decode_tagged(tag: str, content: Any, find: Callable[[int], Any]) -> Any:
    match tag:
        case "int":
            return int(content, 16)
        case "float":
            return float(content)
        case "complex":
            return complex(*(decode(part, find) for part in content))
        case "bytes":
            return bytes.fromhex(content)
        case "bytearray":
            return bytearray.fromhex(content)
        case "tuple" | "set" | "frozenset":
            return _SEQUENCES[tag][0](decode(item, find) for item in content)
        case "dict":
            return {decode(key, find): decode(item, find) for key, item in content}
        case "range":
            return range(*(decode(part, find) for part in content))
        case "timedelta":
            return timedelta(*content)
        case "type":
            return _TYPES[content]
        case "object":
            return find(content)
        case _:
            return _TEXT_FORMS[tag][2](content)


def send(descriptor: int, message: dict[str, Any]) -> None:
    """Write one message.

    Raises:
        OSError: the other side has gone.
        WireError: it is too long.
    """
    data = json.dumps(message).encode()
    if len(data) > _MAX_BYTES:
        raise WireError(f"a value of more than {_MAX_BYTES // 1_000_000} MB")
    data = len(data).to_bytes(8, "big") + data
    while data:
        data = data[os.write(descriptor, data) :]


def receive(descriptor: int) -> dict[str, Any] | None:
    """Read one message; None when the other side has gone.

    Raises:
        WireError: the bytes are no message.
    """
    header = _read(descriptor, 8)
    if len(header) < 8:
        return None
    size = int.from_bytes(header, "big")
    if size > _MAX_BYTES:
        raise WireError("a message that is too long")
    data = _read(descriptor, size)
    if len(data) < size:
        return None
    try:
        message = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise WireError(f"a message that is no JSON: {type(error).__name__}") from None
    if not isinstance(message, dict):
        raise WireError("a message of unknown form")
    return message


def _read(descriptor: int, size: int) -> bytes:
    data = bytearray()
    while len(data) < size:
        piece = os.read(descriptor, min(size - len(data), 1 << 20))
        if not piece:
            break
        data += piece
    return bytes(data)
