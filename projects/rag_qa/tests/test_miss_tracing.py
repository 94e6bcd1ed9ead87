"""Every way to miss, made by hand, is told apart."""

from collections.abc import Mapping, Sequence

import pytest

from rag_qa.corpus.questions import Gold
from rag_qa.evaluation.evaluation_set import plain_document
from rag_qa.evaluation.miss_tracing import Stage, TracedQuestion, trace_misses
from rag_qa.types import Chunk

TEXT = "Uploads are limited\nto 20 MB. Larger files are refused at once. The sky is blue."
DOCUMENTS = [plain_document("a.md", TEXT), plain_document("b.md", "Nothing of that sort.")]
LIMIT = Gold(source="a.md", start=0, end=29, quote=TEXT[:29])
REFUSED = Gold(source="a.md", start=30, end=63, quote=TEXT[30:63])


def chunk(number: int, start: int, end: int) -> Chunk:
    return Chunk(source="a.md", start=start, end=end, text=TEXT[start:end], page=1, id=number)


# 1 holds the limit, 2 cuts the second sentence, 3 to 9 are others.
CHUNKS = [chunk(1, 0, 29), chunk(2, 20, 50), *(chunk(n, 64, len(TEXT)) for n in range(3, 10))]


def traced(
    dense: Sequence[int] | None = None,
    sparse: Sequence[int] | None = None,
    final: Sequence[int] = (3, 4),
    gold: tuple[Gold, ...] = (LIMIT,),
    **others: object,
) -> TracedQuestion:
    lists: dict[str, Sequence[int] | None] = {"dense": dense, "sparse": sparse}
    candidates = {name: ids for name, ids in lists.items() if ids is not None}
    return TracedQuestion(id="q", text="How large?", gold=gold, candidates=candidates, final=final, **others)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("question", "unseen_from", "stage", "detail"),
    [
        (
            traced([1], [1], gold=(Gold(source="a.md", start=0, end=9, quote="Downloads are free"),)),
            {},
            Stage.PARSING,
            "'Downloads are free' is not in the text of a.md",
        ),
        (
            traced([1], [1], gold=(Gold(source="c.pdf", start=0, end=9, quote="Downloads are free"),)),
            {},
            Stage.PARSING,
            "'Downloads are free' is not in any document",
        ),
        (
            traced([1, 2], [2], gold=(REFUSED,)),
            {},
            Stage.CHUNKING,
            "'Larger files are refused at once.' lies across 1 chunk of a.md, whole in none",
        ),
        (
            traced([3, 4], [4, 3]),
            {1: 10},
            Stage.TRUNCATION,
            "the encoder does not see this part of the chunk; not among 2 dense candidates, not among 2 sparse "
            "candidates",
        ),
        (
            traced([3, 4], [4, 3, 1]),
            {1: 10},
            Stage.TRUNCATION,
            "the encoder does not see this part of the chunk; not among 2 dense candidates, sparse rank 3",
        ),
        (
            traced([3, 4], [4, 3]),
            {1: 14},  # half of the passage is seen, not more
            Stage.TRUNCATION,
            "the encoder does not see this part of the chunk; not among 2 dense candidates, not among 2 sparse "
            "candidates",
        ),
        (traced([3, 4], [4, 3]), {1: 15}, Stage.SEARCH, "not among 2 dense candidates, not among 2 sparse candidates"),
        (
            traced([3, 4], [3, 1], fused=[3, 4, 1]),  # at rank k of the one search
            {},
            Stage.FUSION,
            "not among 2 dense candidates, sparse rank 2, fused rank 3; not among the first 2",
        ),
        (
            traced([3, 4], [4, 3], fused=[3, 4, 5, 1]),  # another wording of the question has it
            {},
            Stage.FUSION,
            "not among 2 dense candidates, not among 2 sparse candidates, fused rank 4; not among the first 2",
        ),
        (traced([3, 4], [4, 3]), {1: 20}, Stage.SEARCH, "not among 2 dense candidates, not among 2 sparse candidates"),
        (traced([3, 4], [4, 3, 1]), {}, Stage.DENSE, "not among 2 dense candidates, sparse rank 3"),
        (traced([3, 4, 1], [4, 3]), {}, Stage.SPARSE, "dense rank 3, not among 2 sparse candidates"),
        (traced([3, 4]), {}, Stage.DENSE, "not among 2 dense candidates"),
        (traced([3, 4, 1]), {}, Stage.DENSE, "dense rank 3; not among the first 2"),
        (traced(None, [3, 4]), {1: 0}, Stage.SPARSE, "not among 2 sparse candidates"),
        (
            traced([3, 4], [1, 3], fused=[3, 4, 1]),
            {1: 0},
            Stage.FUSION,
            "not among 2 dense candidates, sparse rank 1, fused rank 3; not among the first 2",
        ),
        (
            traced([3, 4, 1], [3, 4, 5, 1], fused=[3, 4, 5, 1]),
            {},
            Stage.FUSION,
            "dense rank 3, sparse rank 4, fused rank 4; not among the first 2",
        ),
        (
            traced([1], [1], fused=[3, 1, 4]),
            {},
            Stage.RERANKING,
            "dense rank 1, sparse rank 1, fused rank 2; put behind rank 2 after that",
        ),
        (traced([1], [1], [3, 1], correct=False), {}, Stage.ANSWERING, "read at rank 2, and answered wrongly"),
        (traced([1], [1], [1, 3], correct=False, refused=True), {}, Stage.ANSWERING, "read at rank 1, and refused"),
        (
            traced([1], [1], gold=(), correct=False, answerable=False),
            {},
            Stage.ANSWERING,
            "answered although no document has the answer",
        ),
        (traced([1], [1], gold=(), correct=False), {}, Stage.ANSWERING, "no gold passage is known"),
    ],
)
def test_each_kind_of_miss(question: TracedQuestion, unseen_from: Mapping[int, int], stage: Stage, detail: str) -> None:
    (miss,) = trace_misses([question], DOCUMENTS, CHUNKS, unseen_from).misses
    assert (miss.stage, miss.detail) == (stage, detail)
    assert (miss.question_id, miss.question) == ("q", "How large?")


def test_what_is_no_failure() -> None:
    questions = [
        traced([3], [3], correct=True),
        traced([1], [1], [1]),
        traced([1], [1], gold=(), correct=None, answerable=False),
    ]
    report = trace_misses(questions, DOCUMENTS, CHUNKS)
    assert report.misses == ()
    assert report.line() == "0 of 3 questions failed"


def test_of_several_passages_the_one_lost_first_counts() -> None:
    question = traced([1], [1], [1], gold=(LIMIT, REFUSED), correct=False)
    report = trace_misses([question, traced([3], [3])], DOCUMENTS, CHUNKS)
    assert [(miss.stage, miss.gold) for miss in report.misses] == [(Stage.CHUNKING, REFUSED), (Stage.SEARCH, LIMIT)]
    assert report.line() == "2 of 2 questions failed: chunking 1, search 1"
    assert list(report.counts())[:3] == [Stage.PARSING, Stage.CHUNKING, Stage.TRUNCATION]


def test_a_quote_is_found_where_it_has_moved_to() -> None:
    moved = Gold(source="a.md", start=5, end=34, quote="Uploads are limited to 20 MB.")
    elsewhere = Gold(source="old.md", start=0, end=29, quote="Uploads are limited to 20 MB.")
    for gold in (moved, elsewhere):
        assert trace_misses([traced([1], [1], [1], gold=(gold,))], DOCUMENTS, CHUNKS).misses == ()


def test_one_chunk_that_holds_it_whole_is_enough() -> None:
    chunks = [chunk(1, 0, 20), chunk(2, 10, 40), chunk(3, 0, 35)]
    assert trace_misses([traced([3], [3], [3])], DOCUMENTS, chunks, {1: 0, 2: 0}).misses == ()
    (miss,) = trace_misses([traced([2], [2], [2])], DOCUMENTS, chunks).misses
    assert miss.stage == Stage.SEARCH
    twice = [chunk(1, 0, 29), chunk(2, 0, 40)]
    (miss,) = trace_misses([traced([3], [3], [3])], DOCUMENTS, twice, {1: 0}).misses
    assert miss.stage == Stage.SEARCH  # the encoder sees it in the second chunk
