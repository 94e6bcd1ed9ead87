from functools import cache

import pytest
from hypothesis import given
from hypothesis import strategies as st

from roadmap_shared.metrics import character_error_rate, edit_distance, exact_match

short_text = st.text(alphabet="abé漢", max_size=7)


def brute_force_distance(source: str, target: str) -> int:
    """The definition, as a recursion on the last symbol."""

    @cache
    def distance(i: int, j: int) -> int:
        if i == 0 or j == 0:
            return i + j
        substitution = distance(i - 1, j - 1) + (source[i - 1] != target[j - 1])
        return min(substitution, distance(i - 1, j) + 1, distance(i, j - 1) + 1)

    return distance(len(source), len(target))


@given(short_text, short_text)
def test_edit_distance_equals_the_recursion(source: str, target: str) -> None:
    assert edit_distance(source, target) == brute_force_distance(source, target)


@given(short_text, short_text, short_text)
def test_edit_distance_is_a_metric(a: str, b: str, c: str) -> None:
    assert (edit_distance(a, b) == 0) == (a == b)
    assert edit_distance(a, b) == edit_distance(b, a)
    assert edit_distance(a, c) <= edit_distance(a, b) + edit_distance(b, c)


def test_edit_distance_of_known_words_and_of_word_lists() -> None:
    assert edit_distance("kitten", "sitting") == 3
    assert edit_distance(["the", "cat", "sat"], ["the", "sat", "cat", "sat"]) == 1


def test_character_error_rate_weighs_items_by_their_length() -> None:
    # 1 error in 1 character and 1 in 9: 2 / 10, not the mean of 1 and 1/9.
    assert character_error_rate(["x", "123456780"], ["y", "123456789"]) == pytest.approx(0.2)


def test_character_error_rate_exceeds_one_when_the_output_runs_on() -> None:
    assert character_error_rate(["aaaa"], ["a"]) == 3.0


def test_exact_match_normalises_nothing() -> None:
    predictions = ["1999-12-31", "1999-12-31 ", "ABC", "e\u0301"]
    references = ["1999-12-31", "1999-12-31", "abc", "é"]
    assert exact_match(predictions, references).tolist() == [1.0, 0.0, 0.0, 0.0]


def test_errors_name_what_is_wrong() -> None:
    with pytest.raises(ValueError, match="one prediction per reference and at least one: got 1 and 2"):
        exact_match(["a"], ["a", "b"])
    with pytest.raises(ValueError, match="got 0 and 0"):
        character_error_rate([], [])
    with pytest.raises(ValueError, match="lists of strings, not one string"):
        exact_match("abc", "abc")
    with pytest.raises(ValueError, match="a reference with at least one character"):
        character_error_rate(["a"], [""])
