"""What is ranked for a question: the sentences of the retrieved passages.

The features stand in `sentence_features.py`. The model is a conditional logit over all sentences of one question
(McFadden 1974), `linear_ranking.fit`.
"""

from dataclasses import dataclass

from rag_qa.generation.question_type import QuestionType, question_type
from rag_qa.generation.words import terms


@dataclass(frozen=True)
class Sentence:
    """One sentence of a retrieved passage."""

    text: str
    passage: int
    """Index into the retrieved list."""

    start: int
    """Offset within the passage's text."""

    end: int
    heading: str = ""
    """Title of the section that it stands in; empty where there is none."""


@dataclass(frozen=True)
class Question:
    """A question and what is derived from it once."""

    text: str
    terms: tuple[str, ...]
    """In order, with repetitions."""

    type: QuestionType

    @classmethod
    def of(cls, text: str) -> "Question":
        """Analyse a question."""
        return cls(text, tuple(terms(text)), question_type(text))
