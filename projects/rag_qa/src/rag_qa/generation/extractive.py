"""Answers made of the documents' own sentences: nothing is written that does not stand there."""

from collections.abc import Generator, Sequence

from rag_qa.config.generation import GenerationConfig
from rag_qa.generation import shipped
from rag_qa.generation.citation_handler import citation_of
from rag_qa.generation.composition import compose
from rag_qa.generation.evidence import Evidence, EvidenceReader
from rag_qa.generation.refusal import Calibrator
from rag_qa.generation.refusing import checked_question, nothing_found, refusal
from rag_qa.generation.span_choice import ChosenSpan, choose_span
from rag_qa.generation.term_statistics import TermStatistics
from rag_qa.protocols import Encoder, Turn
from rag_qa.types import Answer, Retrieved, Statement

N_SPAN_SENTENCES = 3


class ExtractiveGenerator:
    """Implements `AnswerGenerator` with sentences and a span of the retrieved passages.

    It reads no instructions, neither the user's nor a document's: an injected sentence can at most be quoted.
    """

    name = "extractive"

    def __init__(
        self,
        config: GenerationConfig,
        encoder: Encoder,
        statistics: TermStatistics | None = None,
        calibrator: Calibrator | None = None,
    ) -> None:
        """Args:
        config: settings.
        encoder: of sentences and question.
        statistics: rarity of terms in the corpus; None takes that of the retrieved passages.
        calibrator: of refusal; None takes the shipped one.
        """
        self.config = config
        self.reader = EvidenceReader(encoder, shipped.sentence_ranker(), statistics)
        self.calibrator = calibrator or shipped.default_calibrator()

    def answer(self, question: str, retrieved: Sequence[Retrieved], history: Sequence[Turn] = ()) -> Answer:
        """The best sentences, the shortest span in them if a fact is asked for, and the probability that the passages
        hold the answer.

        `history` is not read: a question that needs it is rewritten before the search.

        Raises:
            UserError: the question is empty.
        """
        question = checked_question(question)
        evidence = self.reader.read(question, retrieved)
        if not evidence.sentences:
            return nothing_found(question, retrieved, self.name)
        confidence = self.calibrator.probability(evidence)
        if confidence < self.config.refuse_below:
            return refusal(question, retrieved, confidence, self.name)
        span = chosen_span(evidence)
        statements = self._statements(evidence, span)
        return Answer(
            question=question,
            text=_joined([statement.text for statement in statements]),
            statements=statements,
            span=span.text if span and evidence.question.type.asks_for_fact else None,
            confidence=confidence,
            refused=False,
            retrieved=tuple(retrieved),
            generator=self.name,
        )

    def stream(
        self, question: str, retrieved: Sequence[Retrieved], history: Sequence[Turn] = ()
    ) -> Generator[str, None, Answer]:
        """The answer sentence by sentence; returns the `Answer`."""
        answer = self.answer(question, retrieved, history)
        if answer.refused:
            yield answer.text
            return answer
        for i, statement in enumerate(answer.statements):
            yield statement.text if i == 0 else _joined(["", statement.text], answer.statements[i - 1].text)
        return answer

    def _statements(self, evidence: Evidence, span: ChosenSpan | None) -> tuple[Statement, ...]:
        """The sentence of the span, and further ones that score nearly as well as the best."""
        statements = []
        for passage, start, end in compose(evidence, span.sentence if span else 0, self.config.max_sentences):
            citation = citation_of(evidence.retrieved[passage], start, end)
            statements.append(Statement(text=citation.quote, citations=(citation,), supported=True))
        return tuple(statements)


def chosen_span(evidence: Evidence) -> ChosenSpan | None:
    """The shortest words that answer, of the best sentences."""
    best = evidence.sentences[:N_SPAN_SENTENCES]
    ranker = shipped.span_ranker("zh" if evidence.question.type.chinese else "en")
    scores = evidence.scores[:N_SPAN_SENTENCES]
    return choose_span(evidence.question, [s.text for s in best], scores, evidence.statistics, ranker)


def _joined(texts: Sequence[str], before: str = "") -> str:
    """Sentences in a row; Chinese ones without a blank between them."""
    joined = texts[0]
    for text in texts[1:]:
        last = (joined or before)[-1:]
        joined += ("" if last in "。！？；…”" else " ") + text
    return joined
