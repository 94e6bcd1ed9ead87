"""Answers that say that there is none."""

from collections.abc import Sequence

from rag_qa.generation import prompts
from rag_qa.generation.words import is_chinese
from rag_qa.types import Answer, Retrieved
from roadmap_shared.errors import UserError


def checked_question(question: str) -> str:
    """The question without blanks around it.

    Raises:
        UserError: nothing is left.
    """
    question = question.strip()
    if not question:
        raise UserError('the question is empty: ask something, such as "What does the with statement do?"')
    return question


def refusal(question: str, retrieved: Sequence[Retrieved], confidence: float, generator: str) -> Answer:
    """The passages do not seem to hold the answer."""
    text = prompts.REFUSAL_ZH if is_chinese(question) else prompts.REFUSAL_EN
    return _without_answer(question, text, retrieved, confidence, generator)


def nothing_found(question: str, retrieved: Sequence[Retrieved], generator: str) -> Answer:
    """There are no passages, or none with a sentence in it."""
    text = prompts.NOTHING_FOUND_ZH if is_chinese(question) else prompts.NOTHING_FOUND_EN
    return _without_answer(question, text, retrieved, 0.0, generator)


def _without_answer(
    question: str, text: str, retrieved: Sequence[Retrieved], confidence: float, generator: str
) -> Answer:
    return Answer(
        question=question,
        text=text,
        statements=(),
        span=None,
        confidence=confidence,
        refused=True,
        retrieved=tuple(retrieved),
        generator=generator,
    )
