"""How good the answers are, and whether the system knows when it has none."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from rag_qa.config import GenerationConfig
from rag_qa.document_processor.index import Index
from rag_qa.document_processor.truncation import TruncationReport
from rag_qa.evaluation.answer_quality import (
    answer_in_context,
    citation_scores,
    exact_match,
    mean_interval,
    refusal_auroc_interval,
    token_f1,
)
from rag_qa.evaluation.evaluation_set import EvaluationQuestion
from rag_qa.evaluation.miss_tracing import MissReport, TracedQuestion, trace_misses
from rag_qa.generation.answer_generator import build_generator
from rag_qa.generation.refusal import Calibrator
from rag_qa.generation.risk_coverage import RiskCoverage, risk_coverage
from rag_qa.generation.term_statistics import TermStatistics
from rag_qa.protocols import AnswerGenerator
from rag_qa.studies.searching import Searched, ids_of
from rag_qa.types import Answer, Document
from roadmap_shared.metrics import Interval
from roadmap_shared.progress import progress

VERDICTS = {
    "yes",
    "no",
    "none",
    "true",
    "false",
    "is",
    "是",
    "不是",
    "会",
    "不会",
    "能",
    "不能",
    "可以",
    "不可以",
    "不适合",
}
"""Answers that are right for a person, and stand in any text."""

REFUSAL_QUESTIONS = {
    "unanswerable": "questions that the documents do not answer",
    "removed": "the same questions, their passages taken out",
}
"""What the confidence is to tell answerable questions from, by the names in `AnswerStudy.refusal`."""

SCORES = {
    "answer_in_context": "an accepted answer stands in the retrieved passages: the most that could be right",
    "answer_in_sentences": "it stands in the sentences of the answer",
    "answer_in_first_sentence": "it stands in the first of them",
    "answer_f1": "F1 of the shortest words that answer",
    "exact_match": "these words are an accepted answer",
    "citation_precision": "citations that point at a gold passage",
    "citation_recall": "statements with such a citation",
    "verbatim": "citations whose words stand in the document where they say",
}
"""Scores of answers to answerable questions, and what each is the share of."""


@dataclass(frozen=True, kw_only=True)
class Answered:
    """One question and the answer that was given before anything was refused."""

    question: EvaluationQuestion
    answer: Answer
    correct: bool
    """Whether one of the accepted answers stands in it; of a question without an answer never."""

    scores: Mapping[str, float]
    """Of `SCORES`, those that the question has: none where it is unanswerable, none of citations where it has no gold
    passage."""

    confidence_without: float | None = None
    """Confidence when the gold passages are taken out of the index; None where the question has none."""


@dataclass(frozen=True, kw_only=True)
class AnswerStudy:
    """Answers to all questions of a set."""

    answered: tuple[Answered, ...]
    threshold: float
    """Confidence below which an answer is refused."""

    scores: Mapping[str, Interval]
    """Means of `SCORES` over the answerable questions, nothing refused."""

    refusal: Mapping[str, Interval]
    """AUROC of the confidence: `unanswerable` against answerable questions, and `removed`, the same questions with and
    without their passages in the index."""

    curve: RiskCoverage
    """Over all questions, unanswerable ones included."""

    def outcomes(self) -> dict[str, tuple[int, int, int]]:
        """(right, wrong, refused) at the threshold, of answerable and of unanswerable questions."""
        counts = {"answerable": [0, 0, 0], "unanswerable": [0, 0, 0]}
        for one in self.answered:
            row = counts["answerable" if one.question.answerable else "unanswerable"]
            row[2 if one.answer.confidence < self.threshold else 0 if one.correct else 1] += 1
        return {name: (row[0], row[1], row[2]) for name, row in counts.items()}


def open_generator(
    index: Index, config: GenerationConfig, statistics: TermStatistics, calibrator: Calibrator | None
) -> AnswerGenerator:
    """The configured generator, which refuses nothing: what it would refuse is decided from its confidence."""
    return build_generator(replace(config, refuse_below=0.0), index.encoder, statistics, calibrator)


def study_answers(
    searched: Mapping[str, Searched],
    generator: AnswerGenerator,
    questions: Sequence[EvaluationQuestion],
    documents: Mapping[str, Document],
    *,
    k: int,
    threshold: float,
) -> AnswerStudy:
    """Answer every question with everything in the index, and once more without its passages.

    Args:
        searched: what was found, by question id.
        generator: refuses nothing, as `open_generator` gives it.
        questions: with accepted answers, or unanswerable; at least one.
        documents: by source, for the check of citations.
        k: passages to read.
        threshold: confidence below which an answer counts as refused.
    """
    answered = []
    for question in progress(questions, "answering", "question"):
        found = searched[question.id]
        answer = generator.answer(question.text, found.read(k))
        without = None
        if question.gold:
            without = generator.answer(question.text, found.without(question.gold, k)).confidence
        scores = scores_of(question, answer, documents) if question.answerable else {}
        right = bool(scores.get("answer_in_sentences", 0.0))
        answered.append(
            Answered(question=question, answer=answer, correct=right, scores=scores, confidence_without=without)
        )
    confidences = [one.answer.confidence for one in answered]
    return AnswerStudy(
        answered=tuple(answered),
        threshold=threshold,
        scores=mean_scores(answered),
        refusal=score_refusal(answered),
        curve=risk_coverage(confidences, [one.correct for one in answered]),
    )


def scores_of(question: EvaluationQuestion, answer: Answer, documents: Mapping[str, Document]) -> dict[str, float]:
    """`SCORES` of one answerable question; those of citations where it has a gold passage and an answer."""
    first = answer.statements[0].text if answer.statements else ""
    shortest, telling = answer.span or first, telling_answers(question)
    scores = {
        "answer_in_context": answer_in_context(telling, [item.chunk.text for item in answer.retrieved]),
        "answer_in_sentences": answer_in_context(telling, [answer.text]) if not answer.refused else 0.0,
        "answer_in_first_sentence": answer_in_context(telling, [first]),
        "answer_f1": token_f1(shortest, question.answers),
        "exact_match": exact_match(shortest, question.answers),
    }
    if question.gold and not answer.refused:
        cited = citation_scores(answer, question.gold, documents)
        scores |= {
            "citation_precision": cited.precision,
            "citation_recall": cited.recall,
            "verbatim": cited.verbatim,
        }
    return scores


def telling_answers(question: EvaluationQuestion) -> tuple[str, ...]:
    """The accepted answers that say something where they stand in a text: "no" stands in many a wrong sentence.

    Of a question with gold passages those that stand in one of them, the first always; without the bare verdicts, and
    without those that the question holds itself.
    """
    held = [
        answer
        for answer in question.answers
        if answer_in_context([answer], [gold.quote for gold in question.gold])
        and not answer_in_context([answer], [question.text])
        and answer.casefold() not in VERDICTS
    ]
    return tuple(held) or question.answers


def mean_scores(answered: Sequence[Answered]) -> dict[str, Interval]:
    """The mean of each score over the questions that have it."""
    values = {name: [one.scores[name] for one in answered if name in one.scores] for name in SCORES}
    return {name: mean_interval(row) for name, row in values.items() if row}


def score_refusal(answered: Sequence[Answered]) -> dict[str, Interval]:
    """AUROC of the confidence in both comparisons, where there are questions of both kinds."""
    yes = [one.answer.confidence for one in answered if one.question.answerable]
    no = {
        "unanswerable": [one.answer.confidence for one in answered if not one.question.answerable],
        "removed": [one.confidence_without for one in answered if one.confidence_without is not None],
    }
    return {
        name: refusal_auroc_interval([*yes, *rest], [True] * len(yes) + [False] * len(rest))
        for name, rest in no.items()
        if rest and yes
    }


def trace(
    study: AnswerStudy, searched: Mapping[str, Searched], index: Index, truncation: TruncationReport
) -> MissReport:
    """Where each wrong answer was lost, and each refused one to an answerable question.

    A refusal is the right answer to an unanswerable question.
    """
    traced = []
    for one in study.answered:
        stages, refused = searched[one.question.id].stages, one.answer.confidence < study.threshold
        traced.append(
            TracedQuestion(
                id=one.question.id,
                text=one.question.text,
                gold=one.question.gold,
                candidates={name: ids_of(ranking) for name, ranking in stages.searches.items()},
                fused=ids_of(stages.fused),
                final=[item.chunk.id for item in one.answer.retrieved],
                correct=one.correct and not refused if one.question.answerable else refused,
                refused=refused,
                answerable=one.question.answerable,
            )
        )
    documents = [index.document(info.source) for info in index.documents()]
    return trace_misses(traced, documents, index.all_chunks(), truncation.unseen_from)
