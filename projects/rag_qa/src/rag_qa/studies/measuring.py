"""One configuration on one set of questions: what `rag-qa evaluate` measures, and compares with another."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from rag_qa.assistant import calibrator_of, model_of, statistics_of
from rag_qa.config import EvaluateConfig, EvaluationConfig
from rag_qa.document_processor.index import Index
from rag_qa.document_processor.truncation import measure_truncation
from rag_qa.evaluation.comparison import Comparison, compare
from rag_qa.evaluation.evaluation_set import EvaluationSet
from rag_qa.evaluation.miss_tracing import MissReport
from rag_qa.studies.answers import AnswerStudy, open_generator, study_answers, trace
from rag_qa.studies.judging import JudgedStudy, check_judge, judged_by
from rag_qa.studies.owner import OwnersRetriever
from rag_qa.studies.retrieval import RetrievalStudy, Unit, study_retrieval, with_known
from rag_qa.studies.searching import search_all

COMPARED = ("answer_in_sentences", "answer_f1")
"""Scores of answers by which two configurations are compared."""


@dataclass(frozen=True, kw_only=True)
class Measured:
    """One configuration on one set of questions."""

    retrieval: RetrievalStudy
    answers: AnswerStudy | None
    """None where answers were not asked for, or no question has one."""

    misses: MissReport | None
    judged: JudgedStudy | None = None
    """None where no language model was asked to judge."""

    def by_question(self) -> dict[str, dict[str, Any]]:
        """All figures of each question, by its id, for JSON."""
        records: dict[str, dict[str, Any]] = {}
        for search, scores in self.retrieval.scores.items():
            for metric in scores.values:
                for id, value in scores.of(metric).items():
                    records.setdefault(id, {}).setdefault("retrieval", {}).setdefault(search, {})[metric] = value
        for one in self.answers.answered if self.answers is not None else ():
            records.setdefault(one.question.id, {})["answer"] = {
                "text": one.answer.text,
                "span": one.answer.span,
                "confidence": one.answer.confidence,
                "confidence_without_gold": one.confidence_without,
                "correct": one.correct,
                **one.scores,
            }
        for id, judgements in (self.judged.by_question() if self.judged is not None else {}).items():
            records[id]["judged"] = judgements
        for miss in self.misses.misses if self.misses is not None else ():
            records.setdefault(miss.question_id, {})["lost_in"] = {"stage": str(miss.stage), "detail": miss.detail}
        return records


def measure(index: Index, data: EvaluationSet, config: EvaluateConfig, unit: Unit | None) -> Measured:
    """Search, answer and trace.

    Args:
        index: holds the documents of the data set.
        data: questions.
        config: how to search and to answer, and what to measure.
        unit: what rankings are made of; None: what the questions allow.

    Raises:
        UserError: no question has a known passage or document, or a model is missing, also one that is to judge.
    """
    check_judge(config.evaluation, config.generation)
    with_known(data.questions)  # before the search
    generator = None
    if config.answers or config.retrieval.multi_query:
        calibrator = calibrator_of(index, config.generation)
        generator = open_generator(index, config.generation, statistics_of(index), calibrator)
    retriever = OwnersRetriever.over(index, config.retrieval, model_of(generator))
    searched = search_all(retriever, data.questions, config.evaluation.depth)
    retrieval = study_retrieval(index, searched, data.questions, config.evaluation, unit)
    answered = [question for question in data.questions if question.answers or not question.answerable]
    if generator is None or not config.answers or not any(question.answers for question in answered):
        return Measured(retrieval=retrieval, answers=None, misses=None)
    documents = {document.source: document for document in data.documents}
    k, threshold = config.retrieval.k, config.generation.refuse_below
    answers = study_answers(searched, generator, answered, documents, k=k, threshold=threshold)
    truncation = measure_truncation(index.all_chunks(), index.encoder.token_spans, index.encoder.max_tokens)
    return Measured(
        retrieval=retrieval,
        answers=answers,
        misses=trace(answers, searched, index, truncation),
        judged=judged_by(generator, answers, index.encoder.encode, config.evaluation),
    )


def compare_measured(first: Measured, second: Measured, config: EvaluationConfig) -> list[Comparison]:
    """The second configuration against the first: nDCG of their last rankings, and their answers."""
    ndcg = f"ndcg@{config.cutoffs[-1]}"
    pairs = {ndcg: (first.retrieval.best.of(ndcg), second.retrieval.best.of(ndcg))}
    if first.answers is not None and second.answers is not None:
        pairs |= {name: (_scores(first.answers, name), _scores(second.answers, name)) for name in COMPARED}
    settings = {
        "n_changed": config.n_changed,
        "confidence": config.confidence,
        "n_resamples": config.n_resamples,
    }
    return [compare(metric, a, b, **settings) for metric, (a, b) in pairs.items()]


def _scores(answers: AnswerStudy, name: str) -> Mapping[str, float]:
    return {one.question.id: one.scores[name] for one in answers.answered if name in one.scores}
