"""Documents, questions about them, and what is known of the answers: the form that all evaluation data takes."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from hashlib import sha256

from rag_qa.corpus.questions import Gold, QuestionSet
from rag_qa.types import Chunk, Document, Heading, Page


@dataclass(frozen=True, kw_only=True)
class EvaluationQuestion:
    """A question and what is known of its answer, as far as the data tells."""

    id: str
    text: str
    relevant: Mapping[str, int] = field(default_factory=dict)
    """Grade of each judged document, by its source; above 0 is relevant."""

    answers: tuple[str, ...] = ()
    """Accepted answers."""

    gold: tuple[Gold, ...] = ()
    """Passages that hold the answer; all are needed."""

    kind: str = ""
    """What sort of question it is, where the data tells."""

    answerable: bool = True
    """False where the data says that the documents do not hold an answer."""


@dataclass(frozen=True, kw_only=True)
class EvaluationSet:
    """What one data set holds."""

    name: str
    documents: tuple[Document, ...]
    questions: tuple[EvaluationQuestion, ...]
    notes: tuple[str, ...] = ()
    """What was left out or mended in reading, one line each."""

    @property
    def qrels(self) -> dict[str, dict[str, int]]:
        """Grades of documents by question, without the questions that nobody judged."""
        return {question.id: dict(question.relevant) for question in self.questions if question.relevant}

    def first(self, limit: int | None) -> "EvaluationSet":
        """The set with its first questions only; None: with all."""
        return self if limit is None else replace(self, questions=self.questions[:limit])


def from_questions(name: str, questions: QuestionSet, documents: Sequence[Document]) -> EvaluationSet:
    """Questions with gold passages as an evaluation set: each document with a gold passage is relevant."""
    return EvaluationSet(
        name=name,
        documents=tuple(documents),
        questions=tuple(
            EvaluationQuestion(
                id=question.id,
                text=question.text,
                relevant={gold.source: 1 for gold in question.gold},
                answers=question.answers,
                gold=question.gold,
                kind=question.kind,
                answerable=question.answerable,
            )
            for question in questions
        ),
        notes=tuple(f"{dropped.id}: {dropped.reason}" for dropped in questions.dropped),
    )


def plain_document(source: str, text: str, title: str = "") -> Document:
    """A document of one page; a title becomes its first heading, so that it is searched as well."""
    whole = f"{title}\n\n{text}" if title else text
    headings = (Heading(level=1, title=title, start=0, end=len(title)),) if title else ()
    return Document(
        source=source,
        title=title or source,
        text=whole,
        pages=(Page(number=1, start=0, end=len(whole)),),
        content_hash=sha256(whole.encode("utf-8", "surrogatepass")).hexdigest(),
        headings=headings,
    )


def document_ranking(chunks: Iterable[Chunk]) -> list[str]:
    """Sources in the order of their best chunk (the MaxP of Dai & Callan 2019): chunks' ranks to documents' ranks."""
    return list(dict.fromkeys(chunk.source for chunk in chunks))


def gold_ranking(chunks: Iterable[Chunk], gold: Sequence[Gold], share: float = 1.0) -> list[str]:
    """A ranking of gold passages: `gold:0`, `gold:1` where they are first found, other names where nothing new is.

    With `gold_qrels`, it makes retrieval metrics of passages independent of how documents are chunked: a passage that
    overlapping chunks hold counts once, where it is first found, as in α-nDCG with α = 1 (Clarke et al. 2008). A chunk
    that is the first to hold two passages takes two ranks.

    Args:
        chunks: best first.
        gold: of one question.
        share: of a passage's characters that a chunk must hold.
    """
    found: set[int] = set()
    ranking: list[str] = []
    for rank, chunk in enumerate(chunks):
        fresh = [i for i, passage in enumerate(gold) if i not in found and holds(chunk, passage, share)]
        found.update(fresh)
        ranking += [f"gold:{i}" for i in fresh] or [f"other:{rank}"]
    return ranking


def gold_qrels(gold: Sequence[Gold]) -> dict[str, int]:
    """Every gold passage of a question is relevant."""
    return {f"gold:{i}": 1 for i in range(len(gold))}


def holds(chunk: Chunk, gold: Gold, share: float = 1.0) -> bool:
    """Whether a chunk holds at least this share of a gold passage's characters."""
    if chunk.source != gold.source:
        return False
    common = min(chunk.end, gold.end) - max(chunk.start, gold.start)
    return common > 0 and common >= share * (gold.end - gold.start)
