"""Splitters: every character is in a chunk, no chunk is too long, no word is cut, and chunks know their place."""

import re
from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rag_qa.config.chunking import ChunkingConfig, SplitterName
from rag_qa.document_processor.text_splitter import split_document
from rag_qa.document_processor.token_ruler import TokenRuler
from rag_qa.protocols import FloatArray
from rag_qa.types import Chunk, Document, Heading, Page

SPLITTERS: tuple[SplitterName, ...] = ("recursive", "sentence", "heading", "semantic")


def words(text: str) -> list[tuple[int, int]]:
    """A tokenizer that tests can count by: words and single marks."""
    return [match.span() for match in re.finditer(r"[A-Za-z0-9_]+|[^\sA-Za-z0-9_]", text)]


def letters(texts: Sequence[str]) -> FloatArray:
    """Unit vectors of letter counts: texts on the same letters are alike."""
    counts = np.array([[1 + text.lower().count(letter) for letter in "abcdefgh"] for text in texts], dtype=np.float32)
    return counts / np.linalg.norm(counts, axis=1, keepdims=True)


def document(text: str, headings: tuple[Heading, ...] = (), pages: tuple[Page, ...] | None = None) -> Document:
    whole = (Page(number=1, start=0, end=len(text)),)
    return Document(source="a.md", title="A", text=text, pages=pages or whole, content_hash="0", headings=headings)


def split(text: str, splitter: SplitterName, headings: tuple[Heading, ...] = (), **sizes: int) -> list[Chunk]:
    return split_document(document(text, headings), words, ChunkingConfig(splitter=splitter, **sizes), letters)


def markdown(text: str) -> tuple[Heading, ...]:
    """Headings of lines that begin with #, their places without the markup, as readers give them."""
    found = re.finditer(r"^(#+) (.+)$", text, re.MULTILINE)
    return tuple(Heading(level=len(match[1]), title=match[2], start=match.start(2), end=match.end()) for match in found)


def texts(chunks: list[Chunk]) -> list[str]:
    return [chunk.text for chunk in chunks]


PARTS = st.sampled_from(
    [
        "one ",
        "two three, ",
        "four. ",
        "Five six! ",
        "\n",
        "\n\n",
        "\n# Head\n",
        "\n## Sub\n",
        "\n- item ",
        "你好",
        "世界。",
        *("（他说）", "3.14 ", "don’t ", "\t", "e.g. ", "\x00", "word_long_", "“", "Mr. ", "…"),
    ]
)
TEXTS = st.lists(PARTS, max_size=80).map("".join) | st.text(max_size=120)
SIZES = st.tuples(st.integers(8, 30), st.integers(0, 4), st.integers(0, 2))


@pytest.mark.parametrize("splitter", SPLITTERS)
@settings(derandomize=True, deadline=None, max_examples=150)
@given(TEXTS, SIZES)
def test_what_holds_for_every_text(splitter: SplitterName, text: str, sizes: tuple[int, int, int]) -> None:
    size, overlap, minimum = sizes
    headings = markdown(text)
    chunks = split(text, splitter, headings, size=size, overlap=overlap, minimum=minimum)
    assert chunks == split(text, splitter, headings, size=size, overlap=overlap, minimum=minimum)
    covered = np.zeros(len(text), dtype=bool)
    for chunk in chunks:
        covered[chunk.start : chunk.end] = True
        assert chunk.text == text[chunk.start : chunk.end] == chunk.text.strip() != ""
        assert len(words(chunk.text)) <= size
        assert chunk.id == -1
        assert not re.search(r"\w\Z", text[: chunk.start], re.ASCII) or not re.match(r"\w", chunk.text, re.ASCII)
        assert not re.search(r"\w\Z", chunk.text, re.ASCII) or not re.match(r"\w", text[chunk.end :], re.ASCII)
    assert not [char for char, seen in zip(text, covered, strict=True) if not seen and not char.isspace()]
    for before, after in pairwise(chunks):
        assert before.start < after.start
        assert before.end < after.end
        assert len(words(text[after.start : max(after.start, before.end)])) <= overlap


@settings(derandomize=True, deadline=None, max_examples=100)
@given(st.lists(st.sampled_from(["a", "bb", "ccc."]), min_size=1, max_size=200).map(" ".join), st.integers(0, 5))
def test_the_overlap_is_as_long_as_asked(text: str, overlap: int) -> None:
    chunks = split(text, "recursive", size=12, overlap=overlap, minimum=0)
    for before, after in pairwise(chunks):
        repeated = len(words(text[after.start : max(after.start, before.end)]))
        # A word here has at most two tokens.
        assert overlap - 1 <= repeated <= overlap


def test_the_chunks_are_full() -> None:
    text = " ".join(f"w{i}" for i in range(100))
    chunks = split(text, "recursive", size=20, overlap=5, minimum=0)
    assert [len(words(chunk.text)) for chunk in chunks] == [15, *[20] * 5, 15]


def test_paragraphs_before_lines_before_sentences() -> None:
    text = (
        "One two three four. Five six.\n\n"
        "Seven eight nine ten eleven. Twelve thirteen.\n- item one\n- item two\n\nEnd of it."
    )
    assert texts(split(text, "recursive", size=12, overlap=0, minimum=0)) == [
        "One two three four. Five six.",
        "Seven eight nine ten eleven. Twelve thirteen.\n- item one",
        "- item two\n\nEnd of it.",
    ]
    assert texts(split(text, "recursive", size=8, overlap=0, minimum=0)) == [
        "One two three four. Five six.",
        "Seven eight nine ten eleven.",
        "Twelve thirteen.\n- item one",
        "- item two\n\nEnd of it.",
    ]


def test_whole_sentences_are_packed_and_repeated() -> None:
    text = "Aa bb cc. Dd ee. Ff gg hh ii. Jj. Kk ll mm nn oo pp."
    assert texts(split(text, "sentence", size=12, overlap=3, minimum=0)) == [
        "Aa bb cc. Dd ee.",
        "Dd ee. Ff gg hh ii. Jj.",
        "Jj. Kk ll mm nn oo pp.",
    ]


def test_a_sentence_too_long_is_cut_at_words() -> None:
    chunks = split("Short one. " + "Word " * 25, "sentence", size=10, overlap=0, minimum=0)
    assert [len(words(chunk.text)) for chunk in chunks] == [3, 10, 10, 5]


def test_small_pieces_are_joined_or_shared() -> None:
    text = "a " * 10 + "\n\n" + "b " * 2
    assert [len(words(chunk.text)) for chunk in split(text, "recursive", size=12, overlap=0, minimum=4)] == [12]
    assert [len(words(chunk.text)) for chunk in split(text, "recursive", size=10, overlap=0, minimum=0)] == [10, 2]
    assert [len(words(chunk.text)) for chunk in split(text, "recursive", size=10, overlap=0, minimum=4)] == [6, 6]


def test_sections() -> None:
    body = "word " * 6
    text = f"Preface of some words\n# A\n## B\n{body}\n## C\ntiny\n## D\n{body}\n# E\n{body}"
    chunks = split(text, "heading", markdown(text), size=16, overlap=0, minimum=5)
    assert [(chunk.text.split("\n")[0], chunk.text.count("word"), chunk.headings) for chunk in chunks] == [
        ("Preface of some words", 7, ()),
        ("## C", 6, ("A",)),
        ("# E", 6, ("E",)),
    ]


def test_headings_of_every_splitter_hold_the_whole_chunk() -> None:
    text = "# A\n" + "word " * 10 + "\n## B\n" + "term " * 10
    for splitter in SPLITTERS:
        for chunk in split(text, splitter, markdown(text), size=12, overlap=0, minimum=0):
            assert chunk.headings == (("A", "B") if chunk.start >= text.index("## B") else ("A",))


def test_a_heading_is_not_left_alone_at_the_end() -> None:
    text = "one two three four\n\n# Title\n\n" + "Five six seven. " * 4
    chunks = split(text, "recursive", markdown(text), size=8, overlap=0, minimum=0)
    assert texts(chunks)[:2] == ["one two three four", "# Title\n\nFive six seven."]
    text = text.replace("# Title", "Title\n====")
    title = Heading(level=1, title="Title", start=text.index("Title"), end=text.index("Title") + 5)
    chunks = split(text, "recursive", (title,), size=9, overlap=0, minimum=0)
    assert texts(chunks)[:2] == ["one two three four", "Title\n====\n\nFive six seven."]


def test_the_topic_decides() -> None:
    text = "Aaa aab aba. Aab aaa baa. Baa aba aab. Hhh ghh hgh. Hhg hhh ghg. Ghg hhh hhg."
    chunks = split(text, "semantic", size=20, overlap=0, minimum=3, semantic_percentile=0, semantic_window=2)
    assert texts(chunks) == ["Aaa aab aba. Aab aaa baa. Baa aba aab.", "Hhh ghh hgh. Hhg hhh ghg. Ghg hhh hhg."]
    assert len(split(text, "semantic", size=40, overlap=0, minimum=3, semantic_percentile=0)) == 1
    assert len(split(text, "semantic", size=40, overlap=0, minimum=3, semantic_percentile=1)) == 2


def test_semantic_needs_an_encoder() -> None:
    with pytest.raises(ValueError, match=r"^--chunking\.splitter semantic needs an encoder, but none was given$"):
        split_document(document("a"), words, ChunkingConfig(splitter="semantic"))


def test_pages_by_the_start() -> None:
    pages = (Page(number=3, start=0, end=9), Page(number=4, start=10, end=30))
    chunks = split_document(
        document("a b c d e\nf g h i j k l m n", pages=pages), words, ChunkingConfig(size=8, overlap=0, minimum=0)
    )
    assert [(chunk.text, chunk.page) for chunk in chunks] == [("a b c d e", 3), ("f g h i j k l m", 4), ("n", 4)]


@pytest.mark.parametrize("text", ["", " \n\t "])
def test_no_text_no_chunk(text: str) -> None:
    assert split(text, "heading") == []


@pytest.mark.parametrize("splitter", SPLITTERS)
@pytest.mark.parametrize("unit", ["x", "word ", "你", "\x00", "（", "a. "])
def test_one_long_line(splitter: SplitterName, unit: str) -> None:
    # Quadratic time would take hours for these.
    text = unit * (300_000 // len(unit))
    if splitter == "semantic" and unit == "a. ":
        text = text[:30_000]  # the test's encoder is slow
    chunks = split(text, splitter, size=64, overlap=8, minimum=8)
    assert max(len(chunk.text) for chunk in chunks) <= 64 * 100
    assert sum(len(chunk.text) for chunk in chunks) >= len(text.replace(" ", ""))


def test_a_word_longer_than_a_chunk_is_cut_at_tokens() -> None:
    chunks = split("ab " + "-" * 25 + " cd", "recursive", size=10, overlap=0, minimum=0)
    assert texts(chunks) == ["ab", "-" * 10, "-" * 10, "-" * 5 + " cd"]


def test_tokens_that_share_a_character_are_not_torn() -> None:
    def bytes_of(text: str) -> list[tuple[int, int]]:
        return [(i, i + 1) for i, char in enumerate(text) for _ in char.encode()]

    chunks = split_document(document("é" * 20), bytes_of, ChunkingConfig(size=9, overlap=0, minimum=0))
    assert texts(chunks) == ["é" * 4] * 5
    emoji = split_document(
        document("🙂" * 5), lambda text: bytes_of(text) * 3, ChunkingConfig(size=8, overlap=0, minimum=0)
    )
    assert texts(emoji) == ["🙂"] * 5


def test_the_ruler_reads_long_texts_in_blocks() -> None:
    text = "word, and\nmore " * 20_000
    calls: list[int] = []

    def counting(part: str) -> list[tuple[int, int]]:
        calls.append(len(part))
        return words(part)

    ruler = TokenRuler(text, counting)
    assert ruler.starts.tolist() == [start for start, _ in words(text)]
    assert ruler.count(0, len(text)) == 80_000
    assert len(calls) > 2
    assert max(calls) <= 100_000


@pytest.mark.parametrize(
    ("settings_", "message"),
    [
        ({"size": 7}, "--chunking.size 7 must be at least 8 tokens"),
        ({"overlap": 97}, "--chunking.overlap 97 must lie between 0 and 96, half of --chunking.size"),
        (
            {"minimum": 81},
            "--chunking.minimum 81 must lie between 0 and 80, half of what --chunking.size 192 leaves beside "
            "--chunking.overlap 32",
        ),
        ({"semantic_window": 0}, "--chunking.semantic_window 0 must be at least 1 sentence"),
        ({"semantic_percentile": 101}, "--chunking.semantic_percentile 101 must lie between 0 and 100"),
    ],
)
def test_sizes_that_do_not_fit(settings_: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError) as caught:
        ChunkingConfig(**settings_)
    assert str(caught.value) == message
