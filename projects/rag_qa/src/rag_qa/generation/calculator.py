"""Arithmetic for the agent, by walking the syntax tree: nothing of an expression is ever executed as code."""

import ast
import math
import operator
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from roadmap_shared.errors import UserError

MAX_CHARACTERS = 300
MAX_EXPONENT = 1_000
MAX_DIGITS = 400
"""Of an intermediate whole number: exponents in a row would otherwise fill the memory."""

Number = int | float
_BINARY: dict[type[ast.operator], Callable[[Number, Number], Number]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
    ast.FloorDiv: operator.floordiv,
    ast.Mod: operator.mod,
}
_FUNCTIONS: dict[str, Callable[..., Any]] = {
    "abs": abs, "round": round, "min": min, "max": max, "sqrt": math.sqrt, "log": math.log, "exp": math.exp,
    "floor": math.floor, "ceil": math.ceil,
}  # fmt: skip
_ALLOWED = "numbers, + - * / // % **, brackets and " + ", ".join(_FUNCTIONS)


@dataclass(frozen=True)
class Calculation:
    """An expression's value, and the numbers that stand in it."""

    value: Number
    operands: tuple[Number, ...]

    @property
    def text(self) -> str:
        """The value as it is written in an answer: up to 10 significant digits, without an exponent where possible."""
        if isinstance(self.value, int) or (self.value.is_integer() and abs(self.value) < 1e15):
            return str(int(self.value))
        return f"{self.value:.10g}"


def calculate(expression: str) -> Calculation:
    """Evaluate an arithmetic expression such as `(1990 - 1946) * 2`.

    Raises:
        UserError: it is too long, not arithmetic, or has no finite value; says what is allowed.
    """
    if len(expression) > MAX_CHARACTERS:
        raise UserError(f"the expression has more than {MAX_CHARACTERS} characters")
    written = expression.replace("×", "*").replace("÷", "/").replace("−", "-").replace("^", "**").strip()
    try:
        tree = ast.parse(written, mode="eval")
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        raise UserError(f"{expression!r} is no arithmetic expression: there are {_ALLOWED}") from None
    operands: list[Number] = []
    try:
        value = _value(tree.body, operands)
    except ZeroDivisionError:
        raise UserError(f"{expression!r} divides by zero") from None
    except (OverflowError, ValueError, TypeError):
        raise UserError(f"{expression!r} has no finite real value") from None
    if isinstance(value, float) and not math.isfinite(value):
        raise UserError(f"{expression!r} has no finite real value")
    return Calculation(value, tuple(operands))


def _value(node: ast.expr, operands: list[Number]) -> Number:
    match node:
        case ast.Constant(value=int() | float() as number) if not isinstance(number, bool):
            operands.append(number)
            return _bounded(number)
        case ast.UnaryOp(op=ast.UAdd() | ast.USub() as sign, operand=inner):
            value = _value(inner, operands)
            return value if isinstance(sign, ast.UAdd) else -value
        case ast.BinOp(left=left, op=ast.Pow(), right=right):
            return _power(_value(left, operands), _value(right, operands))
        case ast.BinOp(left=left, op=op, right=right) if type(op) in _BINARY:
            return _bounded(_BINARY[type(op)](_value(left, operands), _value(right, operands)))
        case ast.Call(func=ast.Name(id=name), args=arguments, keywords=[]) if name in _FUNCTIONS:
            return _bounded(_FUNCTIONS[name](*(_value(argument, operands) for argument in arguments)))
    raise UserError(f"{ast.unparse(node)[:60]!r} is not allowed: there are {_ALLOWED}")


def _power(base: Number, exponent: Number) -> Number:
    if abs(exponent) > MAX_EXPONENT:
        raise UserError(f"the exponent {exponent} is above {MAX_EXPONENT}")
    if isinstance(base, int) and isinstance(exponent, int) and base.bit_length() * abs(exponent) > 4 * MAX_DIGITS:
        raise UserError(f"{base} ** {exponent} has more than {MAX_DIGITS} digits")
    result = base**exponent
    if isinstance(result, complex):
        raise ValueError
    return _bounded(result)


def _bounded(value: Number) -> Number:
    if isinstance(value, int) and value.bit_length() > 4 * MAX_DIGITS:
        raise UserError(f"a number has more than {MAX_DIGITS} digits")
    return value
