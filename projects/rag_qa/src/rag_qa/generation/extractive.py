"""Answers made of the documents' own sentences: nothing is written that does not stand there."""

from collections.abc import Iterator, Sequence

from rag_qa.config.generation import GenerationConfig
from rag_qa.generation import shipped
from rag_qa.generation.citation_handler import citation_of
from rag_qa.generation.evidence import Evidence, EvidenceReader
from rag_qa.generation.refusal import Calibrator
from rag_qa.generation.refusing import checked_question, nothing_found, refusal
from rag_qa.generation.span_choice import ChosenSpan, choose_span
from rag_qa.generation.term_statistics import TermStatistics
from rag_qa.protocols import Encoder, Turn
from rag_qa.types import Answer, Retrieved, Statement

N_SPAN_SENTENCES = 3
_NEAR_BEST = 0.35
"""A further sentence is added where its odds against the best one are at least this."""


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
        """The best sentences, the shortest span in them, and the probability that the passages hold the answer.

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
            span=span.text if span else None,
            confidence=confidence,
            refused=False,
            retrieved=tuple(retrieved),
            generator=self.name,
        )

    def stream(self, question: str, retrieved: Sequence[Retrieved], history: Sequence[Turn] = ()) -> Iterator[str]:
        """The answer sentence by sentence."""
        answer = self.answer(question, retrieved, history)
        if answer.refused:
            yield answer.text
            return
        for i, statement in enumerate(answer.statements):
            yield statement.text if i == 0 else _joined(["", statement.text], answer.statements[i - 1].text)

    def _statements(self, evidence: Evidence, span: ChosenSpan | None) -> tuple[Statement, ...]:
        """The sentence of the span, and further ones that score nearly as well as the best."""
        order = list(range(len(evidence.sentences)))
        first = span.sentence if span else 0
        near = [i for i in order if i != first and _odds(evidence, i) >= _NEAR_BEST]
        statements = []
        texts: set[str] = set()
        for i in [first, *near]:
            sentence = evidence.sentences[i]
            if sentence.text in texts:  # overlapping chunks hold the same sentence
                continue
            texts.add(sentence.text)
            citation = citation_of(evidence.retrieved[sentence.passage], sentence.start, sentence.end)
            statements.append(Statement(text=sentence.text, citations=(citation,), supported=True))
        return tuple(statements[: self.config.max_sentences])


def chosen_span(evidence: Evidence) -> ChosenSpan | None:
    """The shortest words that answer, of the best sentences."""
    best = evidence.sentences[:N_SPAN_SENTENCES]
    ranker = shipped.span_ranker("zh" if evidence.question.type.chinese else "en")
    scores = evidence.scores[:N_SPAN_SENTENCES]
    return choose_span(evidence.question, [s.text for s in best], scores, evidence.statistics, ranker)


def _odds(evidence: Evidence, i: int) -> float:
    return 2.718281828 ** min(0.0, evidence.scores[i] - evidence.scores[0])


def _joined(texts: Sequence[str], before: str = "") -> str:
    """Sentences in a row; Chinese ones without a blank between them."""
    joined = texts[0]
    for text in texts[1:]:
        last = (joined or before)[-1:]
        joined += ("" if last in "。！？；…”" else " ") + text
    return joined
