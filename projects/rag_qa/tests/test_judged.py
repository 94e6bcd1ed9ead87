"""Judged metrics with scripted judges: scores by hand, and failures that are counted and never averaged in."""

from collections.abc import Sequence

import numpy as np
import pytest

from rag_qa.evaluation.judged import JudgedReport, Judgement, judge_faithfulness, judge_relevance
from rag_qa.protocols import FloatArray

THREE = '{"statements": [{"statement": "a", "supported": true}, {"statement": "b", "supported": false}, ' + (
    '{"statement": "c", "supported": true}]}'
)


def test_faithfulness() -> None:
    prompts: list[str] = []

    def judge(prompt: str) -> str:
        prompts.append(prompt)
        return f"Here you are:\n```json\n{THREE}\n```"

    judgement = judge_faithfulness(judge, "Why {x}?", "Because.", ["one", "two"])
    assert judgement == Judgement(score=2 / 3, details=(("a", True), ("b", False), ("c", True)))
    assert "[1] one\n[2] two" in prompts[0]
    assert "Question: Why {x}?\n\nAnswer: Because." in prompts[0]
    assert '{"statements": [{"statement": "…", "supported": true}]}' in prompts[0]


@pytest.mark.parametrize(
    ("reply", "failure"),
    [
        ("I cannot", "no JSON: 'I cannot'"),
        ("[1]", "no JSON object: '[1]'"),
        ("{}", "no list 'statements', or an empty one"),
        ('{"statements": []}', "no list 'statements', or an empty one"),
        ('{"statements": ["a"]}', "an entry without 'statement'"),
        ('{"statements": [{"statement": "a", "supported": "yes"}]}', "'supported' is neither true nor false"),
    ],
)
def test_a_judge_that_fails(reply: str, failure: str) -> None:
    assert judge_faithfulness(lambda _: reply, "q", "a", ["p"]) == Judgement(score=None, failure=failure)


def test_a_judge_that_raises() -> None:
    def judge(prompt: str) -> str:
        raise ConnectionError("refused\nby the server")

    failure = "the judge raised ConnectionError: refused by the server"
    assert judge_faithfulness(judge, "q", "a", ["p"]) == Judgement(score=None, failure=failure)


def encode(texts: Sequence[str]) -> FloatArray:
    vectors = {"q": (1.0, 0.0), "same": (1.0, 0.0), "half": (0.5, 0.75**0.5)}
    return np.array([vectors[text] for text in texts], dtype=np.float32)


def test_relevance() -> None:
    judgement = judge_relevance(lambda _: '{"questions": ["same", "half"]}', encode, "q", "a")
    assert judgement.score == pytest.approx(0.75)
    assert judge_relevance(lambda _: '{"questions": ["same", 1]}', encode, "q", "a") == Judgement(
        score=None, failure="'questions' holds something that is no text"
    )


def test_failures_are_never_averaged_in() -> None:
    judgements = (Judgement(score=1.0), Judgement(score=None, failure="x"), Judgement(score=0.5))
    report = JudgedReport(metric="faithfulness", judgements=judgements)
    assert (report.scores, report.n_failed) == ([1.0, 0.5], 1)
    assert report.line() == "faithfulness: 0.750 (0.500 to 1.000) over 2 answers; the judge failed on 1 more"
    nothing = JudgedReport(metric="relevance", judgements=judgements[1:2])
    assert nothing.interval() is None
    zero = JudgedReport(metric="faithfulness", judgements=(Judgement(score=0.0), Judgement(score=1.0)))
    assert (zero.scores, zero.n_failed) == ([0.0, 1.0], 0)
    assert nothing.line() == "relevance: not measured over 0 answers; the judge failed on 1 more"
