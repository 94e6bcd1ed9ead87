"""The agent's arithmetic: values by Python itself and by hand, and nothing but arithmetic."""

import math
import operator
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rag_qa.generation.calculator import calculate
from roadmap_shared.errors import UserError

OPERATORS = {"+": operator.add, "-": operator.sub, "*": operator.mul}
NUMBERS = st.integers(-1000, 1000)


@given(NUMBERS, NUMBERS, NUMBERS, st.sampled_from(sorted(OPERATORS)), st.sampled_from(sorted(OPERATORS)))
def test_it_agrees_with_the_operators(a: int, b: int, c: int, first: str, second: str) -> None:
    expected = OPERATORS[second](OPERATORS[first](a, b), c)
    assert calculate(f"(({a}) {first} ({b})) {second} ({c})").value == expected


@pytest.mark.parametrize(
    ("expression", "text"),
    [
        ("(1990 - 1946) * 2", "88"), ("7 / 2", "3.5"), ("1/3", "0.3333333333"), ("2 ** 10", "1024"), ("2^10", "1024"),
        ("6 ÷ 3 × 2", "4"), ("-7 // 2", "-4"), ("17 % 5", "2"), ("round(2.567, 1)", "2.6"), ("sqrt(16)", "4"),
        ("max(3, 9, 4)", "9"), ("0.1 + 0.2", "0.3"), ("1e3", "1000"),
    ],
)  # fmt: skip
def test_values_by_hand(expression: str, text: str) -> None:
    assert calculate(expression).text == text


def test_the_operands_are_the_numbers_that_stand_in_it() -> None:
    assert calculate("(12 + 3.5) * 12").operands == (12, 3.5, 12)


ALLOWED = "numbers, + - * / // % **, brackets and abs, round, min, max, sqrt, log, exp, floor, ceil"


@pytest.mark.parametrize(
    ("expression", "message"),
    [
        ("__import__('os').system('true')", f"\"__import__('os').system('true')\" is not allowed: there are {ALLOWED}"),
        ("(1).__class__", f"'1 .__class__' is not allowed: there are {ALLOWED}"),
        ("[1 for _ in (1,)]", f"'[1 for _ in (1,)]' is not allowed: there are {ALLOWED}"),
        ("lambda: 1", f"'lambda: 1' is not allowed: there are {ALLOWED}"),
        ("True + 1", f"'True' is not allowed: there are {ALLOWED}"),
        ("'a' * 3", f"\"'a'\" is not allowed: there are {ALLOWED}"),
        ("x + 1", f"'x' is not allowed: there are {ALLOWED}"),
        ("2 +", f"'2 +' is no arithmetic expression: there are {ALLOWED}"),
        ("", f"'' is no arithmetic expression: there are {ALLOWED}"),
        ("1 / 0", "'1 / 0' divides by zero"),
        ("sqrt(-1)", "'sqrt(-1)' has no finite real value"),
        ("(-8) ** 0.5", "'(-8) ** 0.5' has no finite real value"),
        ("1e308 * 10", "'1e308 * 10' has no finite real value"),
        ("round(1, 2, 3)", "'round(1, 2, 3)' has no finite real value"),
        ("2 ** 5000", "the exponent 5000 is above 1000"),
        ("9 ** 999", "9 ** 999 has more than 400 digits"),
        ("10 ** 300 * 10 ** 300", "a number has more than 400 digits"),
        ("1 + " * 100 + "1", "the expression has more than 300 characters"),
    ],
)  # fmt: skip
def test_what_is_no_arithmetic_is_refused(expression: str, message: str) -> None:
    with pytest.raises(UserError) as raised:
        calculate(expression)
    assert str(raised.value) == message


@given(st.text(max_size=60))
def test_any_text_gives_a_number_or_one_line(text: str) -> None:
    with suppress(UserError):
        assert math.isfinite(calculate(text).value)
