"""Encodings found out, and mixed ones repaired."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rag_qa.document_processor.encodings import decode, looks_binary

CHINESE = "检索增强生成把检索到的段落交给模型，让答案有据可查。\n第二行，仍是中文。"
FRENCH = "Les élèves étaient très fatigués à l\u2019école, où ça va mieux.\nDéjà vu."


@pytest.mark.parametrize(
    ("text", "encoding", "found"),
    [
        (CHINESE, "utf-8", "utf-8"),
        (CHINESE, "utf-8-sig", "utf-8"),
        (CHINESE, "gb18030", "gb18030"),
        (CHINESE, "gbk", "gb18030"),
        (CHINESE, "utf-16", "utf-16-le"),
        (CHINESE, "utf-16-le", "utf-16-le"),
        (CHINESE, "utf-16-be", "utf-16-be"),
        (CHINESE, "utf-32", "utf-32-le"),
        (FRENCH, "utf-16-le", "utf-16-le"),
        (FRENCH, "cp1252", "cp1252"),
        ("Größe und Straße für Müller", "latin-1", "cp1252"),
        ("Привет, как дела? Это пример текста на русском языке.", "cp1251", "cp1251"),
        ("plain", "ascii", "utf-8"),
        ("plain text of a few words\n", "utf-16-le", "utf-16-le"),
        ("plain text of a few words\n", "utf-16-be", "utf-16-be"),
    ],
)
def test_encoding_is_found_out(text: str, encoding: str, found: str) -> None:
    decoded = decode(text.encode(encoding))
    assert (decoded.text, decoded.encoding, decoded.notes) == (text, found, ())


def test_mixed_lines_are_each_what_they_are() -> None:
    lines = [
        ("第一行是中文", "utf-8"),
        ("第二行也是中文", "gb18030"),
        ("plain", "ascii"),
        ("第四行仍是中文", "gb18030"),
    ]
    decoded = decode(b"\n".join(text.encode(encoding) for text, encoding in lines))
    assert decoded.text.split("\n") == [text for text, _ in lines]
    assert decoded.notes == ("mixed encodings: utf-8, and gb18030 in 2 of 4 lines (2, 4)",)


def test_stated_encoding_that_does_not_fit() -> None:
    decoded = decode(CHINESE.encode("gb18030"), "utf-8")
    assert decoded.text == CHINESE
    assert decoded.notes == ("is not in the stated encoding utf-8; found out by its bytes",)
    assert decode("é".encode("latin-1"), "iso-8859-5").text == "щ"


def test_line_ends_are_those_of_open() -> None:
    assert decode(b"a\r\nb\rc\nd").text == "a\nb\nc\nd"


@given(st.binary(max_size=200))
def test_any_bytes_give_text(data: bytes) -> None:
    decode(data).text.encode("utf-8")
    looks_binary(data)


@given(st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=100))
def test_utf8_is_itself(text: str) -> None:
    text = text.replace("\r", "").lstrip("\ufeff")
    assert decode(text.encode()).text == text


def test_binary_is_told_from_text() -> None:
    assert looks_binary(bytes(range(256)) * 10)
    assert not looks_binary(CHINESE.encode("utf-16"))
    assert not looks_binary(CHINESE.encode("gb18030"))
    assert not looks_binary(b"form\x0cfeed\tand tab \x1b[1mbold")
