"""The truncation meter against lengths known beforehand, and against the real encoder's limit."""

import pytest

from rag_qa.document_processor.truncation import measure_truncation
from rag_qa.types import Chunk


def words(text: str) -> list[tuple[int, int]]:
    spans: list[tuple[int, int]] = []
    for word in text.split():
        start = text.index(word, spans[-1][1] if spans else 0)
        spans.append((start, start + len(word)))
    return spans


def chunk(n_words: int, start: int = 0) -> Chunk:
    text = " ".join(["ab"] * n_words)
    return Chunk(source="a", start=start, end=start + len(text), text=text, page=1)


def test_shares_and_the_worst_chunks() -> None:
    chunks = [chunk(4), chunk(5, 100), chunk(10, 200), chunk(0)]
    report = measure_truncation(chunks, words, limit=5)
    assert report.tokens.tolist() == [4, 5, 10, 0]
    assert report.unseen.tolist() == [0, 0, 0.5, 0]
    assert (report.truncated, report.unseen_share) == (1, 5 / 19)
    assert [(item.chunk, item.tokens, item.unseen, item.first_unseen) for item in report.worst] == [
        (chunks[2], 10, 0.5, 215)
    ]
    assert chunks[2].text[215 - 200 :].split() == ["ab"] * 5
    assert report.quantiles() == {"minimum": 0, "median": 4.5, "95 %": pytest.approx(9.25), "maximum": 10}
    assert report.line() == (
        "1 of 4 chunks exceed the encoder's 5 tokens; 26.3% of all tokens are never seen "
        "(tokens a chunk: minimum 0, median 4, 95 % 9, maximum 10)"
    )


def test_at_most_ten_are_named_the_worst_first() -> None:
    report = measure_truncation([chunk(n) for n in range(1, 21)], words, limit=5)
    assert [item.tokens for item in report.worst] == list(range(20, 10, -1))


def test_without_chunks() -> None:
    report = measure_truncation([], words, limit=5)
    assert (report.truncated, report.unseen_share, report.quantiles(), report.line()) == (0, 0.0, {}, "no chunks")


def test_a_limit_below_one() -> None:
    with pytest.raises(ValueError, match=r"^an encoder sees at least 1 token, got 0$"):
        measure_truncation([], words, limit=0)
