"""What is printed fits the terminal: wide characters, escape sequences, tables."""

import os
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rag_qa.commands.terminal import aligned, columns, fitted, remarked, width, wrapped
from rag_qa.wording import counted

QUOTE = "\x1b[1;33m"
PLAIN = "\x1b[0m"


@pytest.mark.parametrize(
    ("text", "expected"),
    [("abc", 3), ("广茂铁路", 8), ("a。", 3), (f"{QUOTE}ab{PLAIN}", 2), ("e\u0301", 1), ("a\u200bb", 2), ("", 0)],
)
def test_columns_of_a_text(text: str, expected: int) -> None:
    assert width(text) == expected


def test_lines_end_at_words_and_go_on_indented() -> None:
    assert wrapped("one two  three\nfour", "    ", "[1] ", 12) == "[1] one two\n    three\n    four"
    assert wrapped("one two\nthree", "  ") == "  one two three"
    assert wrapped("", "  ", limit=10) == ""


def test_chinese_is_broken_anywhere_but_before_a_stop() -> None:
    assert wrapped("广茂铁路全长，共有。", limit=8) == "广茂铁路\n全长，共\n有。"
    assert wrapped("广茂铁路。", limit=8) == "广茂铁\n路。"


def test_escape_sequences_take_no_room() -> None:
    assert wrapped(f"ab {QUOTE}cd ef{PLAIN} gh", limit=5) == f"ab {QUOTE}cd\nef{PLAIN} gh"


@given(st.text(alphabet="ab 。广，-…", max_size=60), st.integers(4, 30))
def test_nothing_is_lost_and_no_line_is_too_long(text: str, limit: int) -> None:
    lines = wrapped(text, limit=limit).split("\n")
    assert "".join("".join(lines).split()) == "".join(text.split())
    for line in lines:
        assert width(line) <= limit or " " not in line.strip()


def test_tables_count_wide_characters_twice_and_set_numbers_right() -> None:
    rows = [["n", "name", "x"], ["10", "铁路", "y"], ["2", "a", "z"]]
    assert aligned(rows, numbers=(0,)) == [" n  name  x", "10  铁路  y", " 2  a     z"]


def test_where_no_terminal_reads_lines_are_left_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    assert columns() is None
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True, raising=False)
    for size, expected in ((80, 80), (300, 100)):
        monkeypatch.setattr("shutil.get_terminal_size", lambda size=size: os.terminal_size((size, 24)))
        assert columns() == expected


def test_numbers_with_their_nouns() -> None:
    assert [counted(n, "chunk") for n in (0, 1, 1200)] == ["0 chunks", "1 chunk", "1,200 chunks"]


def test_a_wide_table_is_cut_into_several() -> None:
    rows = [["search", "ndcg", "recall", "mrr"], ["words", "0.123", "0.456", "0.7"]]
    whole = ["search  ndcg   recall  mrr", "words   0.123  0.456   0.7"]
    assert fitted(rows, None) == fitted(rows, 26) == whole
    assert fitted(rows, 22) == [
        "search  ndcg   recall", "words   0.123  0.456", "", "search  mrr", "words   0.7",
    ]  # fmt: skip
    assert fitted(rows, 5)[:2] == ["search  ndcg", "words   0.123"]


def test_a_remark_goes_on_below_itself() -> None:
    rows = [["score", "x", ""], ["f1", "0.5", "one two three"]]
    assert remarked(rows, 18) == ["score  x", "f1     0.5  one\n            two\n            three"]
    assert remarked(rows, None) == ["score  x", "f1     0.5  one two three"]
