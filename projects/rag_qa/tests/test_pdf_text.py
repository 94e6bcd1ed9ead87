"""Running text of PDF characters: what it looks like, and that every part of it leads back to its characters."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rag_qa.document_processor.pdf_text import running_text


@pytest.mark.parametrize(
    ("raw", "text"),
    [
        ("one\r\ntwo", "one\ntwo"),
        ("one  \r\n\r\n \r\n\r\ntwo", "one\n\ntwo"),
        ("exam\ufffeple", "example"),
        ("exam\ufffe\r\nple", "example"),
        ("Anglo\ufffeAmerican 1990\ufffe2000", "Anglo-American 1990-2000"),
        ("exam-\r\nple, but 3-\r\nfold", "example, but 3-\nfold"),
        ("co\u00adop\u200bera\ufefftion", "cooperation"),
        ("e\ufb03cient \ufb01nd", "efficient find"),
        ("a\x01\x1fb\u202ec", "abc"),
        ("\u2f00\u2f08\u2f63 \uf900", "一人生 豈"),
        ("10\u00a0kg\u2009x", "10 kg x"),
        ("  edge \r\n", "edge"),
        ("\u0645\u06cc\u200c\u062e\u0648\u0627\u0647\u0645", "\u0645\u06cc\u200c\u062e\u0648\u0627\u0647\u0645"),
        ("words keep spaces", "words keep spaces"),
        ("", ""),
    ],
)
def test_running_text(raw: str, text: str) -> None:
    assert running_text(raw).text == text


def test_full_lines_of_chinese_go_on() -> None:
    raw = "机器学习是人工智能的一个分支，它研究怎样从数\r\n据中学习规律。\r\n第二段\r\n从这里开始"
    assert running_text(raw).text == "机器学习是人工智能的一个分支，它研究怎样从数据中学习规律。\n第二段\n从这里开始"


def test_spans_lead_back_to_their_characters() -> None:
    raw = "  The e\ufb03cient exam\ufffeple\r\nends\u200b here"
    edited = running_text(raw)
    for word, characters in [
        ("efficient", "e\ufb03cient"),
        ("example", "exam\ufffeple"),
        ("ends", "ends"),
        ("here", "here"),
        ("The", "The"),
    ]:
        start = edited.text.index(word)
        first, last = edited.raw_span(start, start + len(word))
        assert raw[first:last] == characters


def test_empty_span_is_refused() -> None:
    with pytest.raises(ValueError, match=r"^span 2 to 2 is not within the 3 characters of the page$"):
        running_text("abc").raw_span(2, 2)


@given(st.text(alphabet="aBé-\r\n \t\u00ad\u200b\ufb01\ufffe一，。\x02", max_size=60))
def test_every_kept_character_is_its_own(raw: str) -> None:
    """A character that was not replaced leads back to an equal one, in order, and `position` is the way there."""
    edited = running_text(raw)
    last = -1
    for index, char in enumerate(edited.text):
        first, end = edited.raw_span(index, index + 1)
        assert last <= first < end <= len(raw)
        last = first
        if raw[first] == char and not any(edit.start <= first < edit.end for edit in edited.edits):
            assert edited.position(first) == index
        elif char not in "fi\n-":
            raise AssertionError((raw, index, char))


@given(st.text(alphabet="ab-\r\n \u00ad\ufb01\ufffe一。", max_size=60))
def test_edits_are_in_order_and_make_the_text(raw: str) -> None:
    edited = running_text(raw)
    parts, at = "", 0
    for edit in edited.edits:
        assert at <= edit.start <= edit.end
        parts += raw[at : edit.start] + edit.new
        at = edit.end
    assert parts + raw[at:] == edited.text
