"""Sentences: what ends one, what does not, and that no text is lost."""

from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rag_qa.document_processor.sentences import sentence_spans, sentences, trimmed

PARTS = st.sampled_from(
    [
        "word ",
        "Dr. ",
        "3.14",
        "e.g. ",
        "。",
        "！”",
        "“",
        "……",
        "...",
        "\n",
        "\n\n",
        " \t",
        "1. ",
        "- ",
        "你好",
        "，",
        "?!",
        "A.",
        "'",
    ]
)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("One. Two! Three? Four", ["One.", "Two!", "Three?", "Four"]),
        ("Dr. Smith paid $3.14 at 5 p.m. The shop closed.", ["Dr. Smith paid $3.14 at 5 p.m.", "The shop closed."]),
        ("See Fig. 3, e.g. the left one. No. 5 is alive.", ["See Fig. 3, e.g. the left one.", "No. 5 is alive."]),
        ("Modern art. In 1999. Pears 6.", ["Modern art.", "In 1999.", "Pears 6."]),
        ("Gen. Grant won. The general gen. of it", ["Gen. Grant won.", "The general gen. of it"]),
        ("J. R. R. Tolkien wrote it. He did.", ["J. R. R. Tolkien wrote it.", "He did."]),
        ("The U.S. Army left the U.S. The end.", ["The U.S. Army left the U.S.", "The end."]),
        ("Smith et al. (2003) at Apple Inc. in May.", ["Smith et al. (2003) at Apple Inc. in May."]),
        ('"Really?" he asked. "No." She left.', ['"Really?" he asked.', '"No."', "She left."]),
        ("(It works.) [So.] Well", ["(It works.)", "[So.]", "Well"]),
        ("Wait... what? Wait... What!", ["Wait... what?", "Wait...", "What!"]),
        ("He said . . . nothing! ! Then . . . So", ["He said . . . nothing! !", "Then . . .", "So"]),
        ("Call foo.bar() at 3.5.1 or .5 now", ["Call foo.bar() at 3.5.1 or .5 now"]),
        ("他说：“你好。”然后走了！真的吗？", ["他说：“你好。”", "然后走了！", "真的吗？"]),
        ("甲；乙。丙", ["甲；", "乙。", "丙"]),
        ("“好！”，他说。他走了……后来呢", ["“好！”，他说。", "他走了……", "后来呢"]),
        ("共3.5米。使用Python 3.11版本!真快", ["共3.5米。", "使用Python 3.11版本!", "真快"]),
    ],
)
def test_marks_that_end_a_sentence(text: str, expected: list[str]) -> None:
    assert sentences(text) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Title\n\nBody of it", ["Title", "Body of it"]),
        (
            "Do this:\n1. Open it. Look\n2. Close it\n- a\n* b",
            ["Do this:", "1. Open it.", "Look", "2. Close it", "- a", "* b"],
        ),
        ("Name: X\nAge: 5", ["Name: X", "Age: 5"]),
        (
            "A paragraph which somebody has wrapped at some column, as\n"
            "mail programs do, is one sentence over its two lines.\nShort.",
            [
                "A paragraph which somebody has wrapped at some column, as\n"
                "mail programs do, is one sentence over its two lines.",
                "Short.",
            ],
        ),
        (
            "Overview\nThe text below its title is much longer than the title is, of course",
            ["Overview", "The text below its title is much longer than the title is, of course"],
        ),
        ("long line " * 20 + "\nAnother paragraph", [("long line " * 20).strip(), "Another paragraph"]),
        (
            "这是一个很长的被折行的中文段落它在这里继续\n下去直到结束为止。另外",
            ["这是一个很长的被折行的中文段落它在这里继续\n下去直到结束为止。", "另外"],
        ),
        ("# Heading of it\nand text\n>>> f(1.5)\n3", ["# Heading of it", "and text", ">>> f(1.5)", "3"]),
    ],
)
def test_lines(text: str, expected: list[str]) -> None:
    assert sentences(text) == expected


@settings(derandomize=True, deadline=None, max_examples=300)
@given(st.text(max_size=80) | st.lists(PARTS, max_size=40).map("".join))
def test_no_text_is_lost(text: str) -> None:
    spans = sentence_spans(text)
    assert all(start < end for start, end in spans)
    assert all(before[1] <= after[0] for before, after in pairwise(spans))
    bounds = [0, *(place for span in spans for place in span), len(text)]
    assert all(not text[start:end].strip() for start, end in zip(bounds[::2], bounds[1::2], strict=True))
    assert all(text[start:end] == text[start:end].strip() for start, end in spans)


@settings(derandomize=True, deadline=None, max_examples=200)
@given(st.lists(PARTS, max_size=40).map("".join))
def test_a_sentence_never_ends_within_a_latin_word_or_number(text: str) -> None:
    for _, end in sentence_spans(text):
        around = text[end - 1 : end + 1]
        assert not (len(around) == 2 and around.isascii() and around.isalnum())


@pytest.mark.parametrize("unit", ["!", "a. ", "“", "...", "。", "1. ", "x" * 99 + " ", "\n", "a\n", "U.S. ", '."'])
def test_hard_texts_take_linear_time(unit: str) -> None:
    # Quadratic time would take hours for these.
    text = unit * (500_000 // len(unit))
    spans = sentence_spans(text)
    assert sum(len(text[start:end].split()) for start, end in spans) == len(text.split()) or unit == "。"


def test_trimmed() -> None:
    assert trimmed("  ab  ", 0, 6) == (2, 4)
    assert trimmed("  ab  ", 4, 6) is None
