"""Answer scores against values worked out from the official scripts' definitions, and against brute force."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rag_qa.corpus.questions import Gold
from rag_qa.evaluation.answer_quality import (
    CitationScores,
    answer_in_context,
    citation_scores,
    exact_match,
    mean_interval,
    refusal_auroc,
    refusal_auroc_interval,
    token_f1,
)
from rag_qa.evaluation.evaluation_set import plain_document
from rag_qa.evaluation.normalisation import cmrc_tokens
from rag_qa.types import Answer, Citation, Statement


@pytest.mark.parametrize(
    ("prediction", "answers", "match", "f1"),
    [
        ("The Eiffel Tower!", ["eiffel tower"], 1, 1),
        ("the Denver Broncos", ["Carolina", "Denver broncos."], 1, 1),
        ("in the city of Paris, France", ["Paris"], 0, 2 * (1 / 5) * 1 / (1 / 5 + 1)),
        ("b b c", ["b c c d"], 0, 2 * (2 / 3) * (2 / 4) / (2 / 3 + 2 / 4)),
        ("well-known", ["well known"], 0, 0),  # the hyphen goes, the words grow together
        ("the", ["a"], 1, 1),  # nothing is left of either
        ("the", ["word"], 0, 0),
        ("", [], 1, 1),
        ("something", [], 0, 0),
        ("The.", [], 1, 1),  # nothing is left of it either
        ("没有", [], 0, 0),
        ("光荣和ω-force", ["光荣和ω-Force。"], 1, 1),
        ("《光荣》", ["光荣"], 1, 1),
        ("他在北京大学学习", ["北京大学"], 0, 2 * (4 / 8) * 1 / (4 / 8 + 1)),
        ("北京大学", ["大学北京"], 0, 0.5),  # the longest run, not the bag: SQuAD's F1 would be 1
        ("1998年", ["1998 年"], 0, 1),  # exact match counts the space, tokens do not
        ("Python语言", ["python 语言"], 0, 1),
        ("中文", ["english"], 0, 0),
    ],
)
def test_exact_match_and_f1(prediction: str, answers: list[str], match: float, f1: float) -> None:
    assert exact_match(prediction, answers) == match
    assert token_f1(prediction, answers) == pytest.approx(f1, abs=1e-12)


@settings(derandomize=True, deadline=None, max_examples=200)
@given(st.text("中文字ab 。,", max_size=10), st.text("中文字ab 。,", max_size=10))
def test_chinese_f1_by_brute_force(prediction: str, answer: str) -> None:
    answer += "中"  # so that the rules for Chinese hold
    ours, theirs = cmrc_tokens(prediction), cmrc_tokens(answer)
    runs = [theirs[i:j] for i in range(len(theirs)) for j in range(i + 1, len(theirs) + 1)]
    common = max([len(run) for run in runs if any(ours[k : k + len(run)] == run for k in range(len(ours)))], default=0)
    expected = 0.0
    if common:
        precision, recall = common / len(ours), common / len(theirs)
        expected = 2 * precision * recall / (precision + recall)
    assert token_f1(prediction, [answer]) == pytest.approx(expected, abs=1e-12)


def test_the_marks_that_cmrc_leaves_out() -> None:
    assert cmrc_tokens("“Ab-1”，…好(3.5)") == ["ab1", "…", "好", "(", "3", ".", "5", ")"]


@pytest.mark.parametrize(
    ("answers", "contexts", "expected"),
    [
        (["cat"], ["concatenate"], 0),
        (["the cat"], ["x", "A cat, it was."], 1),
        (["dog", "cat it"], ["A cat, it was."], 1),
        (["北京大学"], ["他在“北京\n大学”读书"], 1),
        (["北京大学"], ["北京的大学"], 0),
        ([], ["x"], 0),
        (["the"], ["the"], 0),
    ],
)
def test_answer_in_context(answers: list[str], contexts: list[str], expected: float) -> None:
    assert answer_in_context(answers, contexts) == expected


TEXT = "Uploads are limited to 20 MB. Larger files are refused. The sky is blue."
DOCUMENTS = {"a.md": plain_document("a.md", TEXT)}
GOLD = (
    Gold(source="a.md", start=0, end=29, quote=TEXT[:29]),
    Gold(source="a.md", start=30, end=55, quote=TEXT[30:55]),
)


def cite(start: int, end: int, quote: str | None = None, source: str = "a.md") -> Citation:
    return Citation(source=source, page=1, start=start, end=end, quote=quote or TEXT[start:end], chunk_id=0)


def answer(*statements: tuple[Citation, ...], refused: bool = False) -> Answer:
    return Answer(
        question="?",
        text="",
        statements=tuple(Statement(text="s", citations=citations, supported=True) for citations in statements),
        span=None,
        confidence=1,
        refused=refused,
        retrieved=(),
        generator="test",
    )


@pytest.mark.parametrize(
    ("statements", "expected"),
    [
        (((cite(0, 29),), (cite(30, 55),)), (1, 1, 1, 1)),
        (((cite(0, 29), cite(56, 72)), ()), (1 / 2, 1 / 2, 1 / 2, 1)),
        (((cite(23, 28),),), (1, 1, 1 / 2, 1)),  # a part of the gold passage
        (((cite(0, 55),),), (1, 1, 1, 1)),  # all of both
        (((cite(25, 45),),), (1, 1, 1 / 2, 1)),  # 15 of 20 characters in the second, 4 in the first
        (((cite(24, 34),),), (1, 1, 1 / 2, 1)),  # 5 of 10 characters in the first, 4 in the second
        (((cite(25, 35),),), (1, 1, 1 / 2, 1)),  # 5 of 10 characters in the second, 4 in the first
        (((cite(20, 20),),), (0, 0, 0, 0)),  # nothing is quoted
        (((cite(0, 29, "Uploads are limited to 99 MB."),),), (0, 0, 0, 0)),
        (((cite(0, 29, source="b.md"),),), (0, 0, 0, 0)),
        (((),), (0, 0, 0, 1)),
        ((), (0, 0, 0, 1)),
    ],
)
def test_citations(statements: tuple[tuple[Citation, ...], ...], expected: tuple[float, ...]) -> None:
    precision, recall, gold_cited, verbatim = expected
    assert citation_scores(answer(*statements), GOLD, DOCUMENTS) == CitationScores(
        precision=precision, recall=recall, gold_cited=gold_cited, verbatim=verbatim
    )


def test_a_refusal_has_no_citations_to_score() -> None:
    message = "citations are scored for given answers to questions with a gold passage"
    for given_answer, gold in ((answer(refused=True), GOLD), (answer(), ())):
        with pytest.raises(ValueError) as caught:
            citation_scores(given_answer, gold, DOCUMENTS)
        assert str(caught.value) == message


def test_refusal() -> None:
    confidence, answerable = [0.9, 0.5, 0.5, 0.1], [True, True, False, False]
    assert refusal_auroc(confidence, answerable) == 3.5 / 4
    interval = refusal_auroc_interval(confidence * 20, answerable * 20)
    assert interval.estimate == 3.5 / 4
    # Twenty of each score: the standard error of the share above, by binomial sampling of both sides, is about 0.03.
    assert 0.79 < interval.low < 0.85
    assert 0.91 < interval.high < 0.96
    assert refusal_auroc_interval([1, 0], [True, False]).low == 1


def test_means_have_the_interval_that_fits() -> None:
    assert mean_interval([0.0] * 20).high == pytest.approx(3.8415 / 23.8415, abs=1e-4)  # Wilson: z² / (n + z²)
    values = np.linspace(0, 1, 50)
    interval = mean_interval(values.tolist())
    assert interval.high - interval.low == pytest.approx(2 * 1.96 * values.std() / 50**0.5, rel=0.1)
