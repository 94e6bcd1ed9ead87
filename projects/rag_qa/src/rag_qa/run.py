"""`rag-qa run`: index a corpus, ask it questions with known answers, and say where each failure comes from.

`run` below is the whole story; each of its lines is one module.
"""

import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from rag_qa.assistant import statistics_of
from rag_qa.config import RagConfig
from rag_qa.document_processor.index import Index
from rag_qa.document_processor.ingestion import add_documents
from rag_qa.document_processor.truncation import measure_truncation
from rag_qa.evaluation.evaluation_set import EvaluationQuestion, from_questions
from rag_qa.evaluation.miss_tracing import MissReport
from rag_qa.generation.evidence import EvidenceReader
from rag_qa.generation.injection_range import false_alarms, run_range
from rag_qa.generation.refusal import Calibrator
from rag_qa.generation.shipped import sentence_ranker
from rag_qa.generation.term_statistics import TermStatistics
from rag_qa.passage_cache import kept_vectors
from rag_qa.report import Findings, rag_report
from rag_qa.retrieval.encoders import build_encoder
from rag_qa.run_layout import ANSWERS, INDEX, MISSES, PROJECT, REFUSAL
from rag_qa.studies.answers import AnswerStudy, open_generator, study_answers, trace
from rag_qa.studies.corpus import given_questions, load_corpus, made_questions
from rag_qa.studies.judging import JudgedStudy, check_judge, judged_by
from rag_qa.studies.owner import OwnersRetriever
from rag_qa.studies.refusal import calibrated
from rag_qa.studies.retrieval import RetrievalStudy, study_retrieval
from rag_qa.studies.searching import search_all
from roadmap_shared.files import atomic_write
from roadmap_shared.runs import start_run


def run(config: RagConfig) -> dict[str, Any]:
    """Index, search, calibrate, answer, trace, attack and report; returns the summary."""
    check_judge(config.evaluation, config.generation)
    with start_run(config, project=PROJECT, command="run") as run:
        corpus = load_corpus(config.data, config.reading, print)
        given = given_questions(config.data, corpus)
        encoder = build_encoder(config.encoder)
        with Index.create(run.folder / INDEX, encoder, config.chunking, config.store, config.sparse) as index:
            with kept_vectors(index, config.embedding_cache):
                add_documents(index, corpus.documents)
            truncation = measure_truncation(index.all_chunks(), encoder.token_spans, encoder.max_tokens)
            questions = given or made_questions(index, run.seed)
            parts = {
                name: from_questions(name, questions.part(name), corpus.documents).first(config.evaluation.limit)
                for name in ("calibration", "test")
            }
            retriever = OwnersRetriever.over(index, config.retrieval)
            searched = search_all(retriever, parts["test"].questions, config.evaluation.depth)
            retrieval = study_retrieval(index, searched, parts["test"].questions, config.evaluation)
            statistics = statistics_of(index)
            calibrator = calibrate(index, retriever, statistics, parts["calibration"].questions, corpus.origin)
            generator = open_generator(index, config.generation, statistics, calibrator)
            documents = {document.source: document for document in corpus.documents}
            k, threshold = config.retrieval.k, config.generation.refuse_below
            answers = study_answers(searched, generator, parts["test"].questions, documents, k=k, threshold=threshold)
            misses = trace(answers, searched, index, truncation)
            attacks, alarms = run_range(encoder, config.generation), false_alarms()
            judged = judged_by(generator, answers, encoder.encode, config.evaluation)
            write_results(run.folder, answers, misses)
            studies = (retrieval, calibrator, answers, misses, attacks, alarms)
            found = Findings(config, run, corpus, index, truncation, questions, *studies)
            return run.finish(summary_figures(retrieval, answers, index, judged), rag_report(found))


def calibrate(
    index: Index,
    retriever: OwnersRetriever,
    statistics: TermStatistics,
    questions: Sequence[EvaluationQuestion],
    origin: str,
) -> Calibrator | None:
    """Fit refusal and save it with the index; None where the questions are too few, which is said."""
    reader = EvidenceReader(index.encoder, sentence_ranker(), statistics)
    k = retriever.config.k
    calibrator = calibrated(retriever, reader, questions, k, f"{len(questions)} questions about {origin}")
    if calibrator is None:
        print(f"too few questions to calibrate refusal on: {len(questions)}; it is as shipped")
    elif index.folder is not None:
        calibrator.save(index.folder / REFUSAL)
    return calibrator


def summary_figures(
    retrieval: RetrievalStudy, answers: AnswerStudy, index: Index, judged: JudgedStudy | None = None
) -> dict[str, Any]:
    """Headline figures with their intervals, and the single searches as baselines."""
    cutoff = max(int(name.removeprefix("ndcg@")) for name in retrieval.best.values if name.startswith("ndcg@"))
    headline = f"ndcg@{cutoff}"
    metrics = [headline, *(name for name in ("recall@5", "mrr") if name in retrieval.best.values)]
    intervals = {name.replace("@", "_at_"): retrieval.best.interval(name) for name in metrics}
    intervals |= answers.scores
    intervals |= {f"refusal_auroc_{name}": interval for name, interval in answers.refusal.items()}
    means, failures = judged.figures() if judged is not None else ({}, {})
    intervals |= means
    figures: dict[str, Any] = {}
    for name, interval in intervals.items():
        figures |= {name: interval.estimate, f"{name}_low": interval.low, f"{name}_high": interval.high}
    for search, scores in retrieval.scores.items():
        if search != retrieval.last:
            figures[f"baseline_{headline.replace('@', '_at_')}_{search}"] = scores.mean(headline)
    for kind, (right, wrong, refused) in answers.outcomes().items():
        figures |= {f"{kind}_right": right, f"{kind}_wrong": wrong, f"{kind}_refused": refused}
    return figures | failures | {"documents": len(index.documents()), "chunks": len(index.store.ids())}


def write_results(folder: Path, answers: AnswerStudy, misses: MissReport) -> None:
    """One JSON line a question, and one a miss."""
    lines = [
        json.dumps(
            {
                "id": one.question.id,
                "question": one.question.text,
                "accepted": one.question.answers,
                "correct": one.correct,
                "refused": one.answer.confidence < answers.threshold,
                "confidence": round(one.answer.confidence, 4),
                "answer": one.answer.text,
                "span": one.answer.span,
                "citations": [asdict(c) for statement in one.answer.statements for c in statement.citations],
            },
            ensure_ascii=False,
        )
        for one in answers.answered
    ]
    atomic_write(folder / ANSWERS, "".join(f"{line}\n" for line in lines))
    records = [asdict(miss) | {"stage": str(miss.stage)} for miss in misses.misses]
    atomic_write(folder / MISSES, "".join(json.dumps(record, ensure_ascii=False) + "\n" for record in records))
