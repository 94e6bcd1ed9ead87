"""Which accepted answers count where they stand in a sentence."""

import pytest

from rag_qa.corpus.questions import Gold
from rag_qa.evaluation.evaluation_set import EvaluationQuestion
from rag_qa.studies.answers import telling_answers

QUOTE = "No built-in type implements it; at most 254 tokens remain, and the call returns None."


def question(text: str, *answers: str, gold: bool = True) -> EvaluationQuestion:
    passages = (Gold(source="a.txt", start=0, end=len(QUOTE), quote=QUOTE),) if gold else ()
    return EvaluationQuestion(id="1", text=text, answers=answers, gold=passages)


@pytest.mark.parametrize(
    ("text", "answers", "telling"),
    [
        ("How many tokens remain?", ("254 tokens", "254"), ("254 tokens", "254")),
        (
            "Is there one?",
            ("No built-in type", "no"),
            ("No built-in type",),
        ),  # a verdict, though the quote has the word
        ("Is it so?", ("at most 254 tokens", "a limit"), ("at most 254 tokens",)),  # not in the passage
        ("Does the call return 254 or None?", ("the call returns None", "254"), ("the call returns None",)),
        ("Is it None?", ("no", "None"), ("no", "None")),  # nothing else is accepted
    ],
)
def test_what_counts(text: str, answers: tuple[str, ...], telling: tuple[str, ...]) -> None:
    assert telling_answers(question(text, *answers)) == telling


def test_without_gold_passages_every_accepted_answer_counts() -> None:
    assert telling_answers(question("How many?", "254", gold=False)) == ("254",)
