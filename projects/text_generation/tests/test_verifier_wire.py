"""Values on their way between processes: what arrives, and what garbage does."""

import datetime
import json
import math
import os
from decimal import Decimal
from fractions import Fraction
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from text_generation.coding.wire import WireError, decode, encode, receive, send

UNTIMED = settings(max_examples=50, deadline=None, suppress_health_check=[HealthCheck.too_slow])

scalars = (
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text() | st.binary()
    | st.complex_numbers(allow_nan=False) | st.decimals(allow_nan=False) | st.fractions() | st.dates() | st.datetimes()
    | st.times() | st.timedeltas()
)  # fmt: skip
values = st.recursive(
    scalars,
    lambda inner: (
        st.lists(inner) | st.tuples(inner, inner) | st.dictionaries(scalars, inner) | st.frozensets(scalars)
        | st.sets(scalars)
    ),
    max_leaves=12,
)  # fmt: skip
json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(
                "int float complex bytes bytearray tuple set frozenset dict range decimal fraction date "
                "datetime time timedelta type object nonsense".split()
            ),
            inner,
            max_size=2,
        )
    ),
    max_leaves=8,
)
BUILT_IN = (
    type(None), bool, int, float, complex, str, bytes, bytearray, list, tuple, dict, set, frozenset, range, Decimal,
    Fraction, datetime.date, datetime.datetime, datetime.time, datetime.timedelta, type,
)  # fmt: skip


def refuse(_: Any) -> int:
    raise WireError("no objects here")


def over(value: Any) -> Any:
    return decode(json.loads(json.dumps(encode(value, refuse))), refuse)


def types_of(value: Any) -> Any:
    if isinstance(value, dict):
        return [dict, [(types_of(k), types_of(v)) for k, v in value.items()]]
    if isinstance(value, (list, tuple)):
        return [type(value), [types_of(item) for item in value]]
    return type(value)


@UNTIMED
@given(values)
def test_a_value_arrives_as_it_was(value: Any) -> None:
    assert over(value) == value
    assert types_of(over(value)) == types_of(value)


def test_not_a_number_arrives() -> None:
    assert math.isnan(over(math.nan))
    assert math.copysign(1, over(-0.0)) == -1


class Evil(list):  # pyright: ignore[reportMissingTypeArgument]
    def __eq__(self, other: object) -> bool:
        return True

    def __iter__(self) -> Any:
        return iter([99])


def test_a_subclass_arrives_as_the_built_in_type_with_what_it_really_holds() -> None:
    arrived = over(Evil([1]))
    assert type(arrived) is list
    assert arrived == [1]
    assert arrived != [2]


@UNTIMED
@given(json_values)
def test_garbage_is_an_error_or_built_in_values(data: Any) -> None:
    try:
        value = decode(data, refuse)
    except WireError:
        return
    stack = [value]
    while stack:
        item = stack.pop()
        assert type(item) in BUILT_IN
        stack += [*item.items()] if type(item) is dict else item if type(item) in (list, tuple, set, frozenset) else []


def test_objects_become_numbers() -> None:
    thing = object()
    assert encode([thing], lambda value: 7) == [{"object": 7}]
    assert decode([{"object": 7}], lambda number: ("kept", number)) == [("kept", 7)]


def test_messages_over_a_pipe() -> None:
    reader, writer = os.pipe()
    try:
        send(writer, {"a": "é" * 1000})
        assert receive(reader) == {"a": "é" * 1000}
        os.write(writer, (3).to_bytes(8, "big") + b"nul")
        with pytest.raises(WireError, match=r"^a message that is no JSON: JSONDecodeError$"):
            receive(reader)
        os.write(writer, (4).to_bytes(8, "big") + b"null")
        with pytest.raises(WireError, match=r"^a message of unknown form$"):
            receive(reader)
        os.write(writer, b"\xff" * 8)
        with pytest.raises(WireError, match=r"^a message that is too long$"):
            receive(reader)
        os.write(writer, b"\x00" * 4)
    finally:
        os.close(writer)
    assert receive(reader) is None
    os.close(reader)
