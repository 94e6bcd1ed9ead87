"""Extractive answers and refusal on SQuAD-format sets: python projects/rag_qa/benchmarks/answer_quality.py

Every question of XQuAD-en is scored by constants that were fitted on the articles of the other half
(`fit_extractive.py` leaves both directions in its cache folder). The odd half alone, scored by the shipped constants,
is listed as well. Retrieval is that of `answer_data.py`, the top 5 paragraphs.
"""

import argparse
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from answer_data import Asked, MiniLM, QuestionFile, squad_f1

from rag_qa.generation import shipped
from rag_qa.generation.evidence import Evidence
from rag_qa.generation.linear_ranking import LinearRanker
from rag_qa.generation.refusal import Calibrator
from rag_qa.generation.risk_coverage import risk_coverage
from rag_qa.generation.span_choice import choose_span
from rag_qa.generation.synthetic_questions import calibrate_on_corpus
from rag_qa.types import Retrieved
from roadmap_shared.errors import UserError
from roadmap_shared.metrics import bootstrap_interval, roc_auc


@dataclass(frozen=True)
class Constants:
    """What scores a question."""

    sentences: LinearRanker
    spans: LinearRanker
    refusal: Calibrator


@dataclass(frozen=True)
class Scored:
    """One question's figures."""

    top_1: float
    top_3: float
    final: float
    """Whether the sentence of the chosen span, the first of the answer, holds the gold answer."""

    f1: float
    exact: float
    confidence: float
    confidence_without: float
    """With its paragraph removed from the index."""

    bm25: tuple[float, float]
    cosine: tuple[float, float]


def score(file: QuestionFile, asked: Asked, constants: Constants) -> Scored:
    """Answer one question, with and without its paragraph."""
    reader = file.reader(constants.sentences)
    evidence = file.evidence(reader, asked)
    held = [float(any(a in s.text for a in asked.answers)) for s in evidence.sentences[:3]] or [0.0]
    texts = [sentence.text for sentence in evidence.sentences[:3]]
    span = choose_span(evidence.question, texts, evidence.scores[:3], file.statistics, constants.spans)
    f1 = squad_f1(span.text, asked.answers, chinese=file.chinese) if span else 0.0
    without: Evidence = file.evidence(reader, asked, gold=False)
    bm25, cosine = file.scores(asked.text)
    others = np.arange(len(file.chunks)) != asked.passage
    return Scored(
        top_1=held[0],
        top_3=max(held),
        final=held[span.sentence] if span else held[0],
        f1=f1,
        exact=float(f1 == 1.0),
        confidence=constants.refusal.probability(evidence),
        confidence_without=constants.refusal.probability(without),
        bm25=(float(bm25.max()), float(bm25[others].max())),
        cosine=(float(cosine.max()), float(cosine[others].max())),
    )


def line(name: str, values: Sequence[float]) -> str:
    """Name, mean and 95 % interval of the bootstrap."""
    interval = bootstrap_interval(values)
    return f"  {name:<44} {interval.estimate:.3f}  [{interval.low:.3f}, {interval.high:.3f}]"


def auroc_line(name: str, with_gold: Sequence[float], without: Sequence[float]) -> str:
    """AUROC where the paragraph is removed for every second question; bootstrap over the questions."""
    removed = np.arange(len(with_gold)) % 2 == 1
    scores = np.where(removed, without, with_gold)
    generator = np.random.default_rng(0)
    draws = [generator.integers(len(scores), size=len(scores)) for _ in range(500)]
    low, high = np.quantile([roc_auc(scores[draw], ~removed[draw]) for draw in draws], [0.025, 0.975])
    return f"  {name:<44} {roc_auc(scores, ~removed):.3f}  [{low:.3f}, {high:.3f}]"


def report(title: str, rows: Sequence[Scored]) -> None:
    """Print one block of the table."""
    print(f"{title}, {len(rows)} questions")
    print(line("top sentence holds the answer", [row.top_1 for row in rows]))
    print(line("sentence of the span holds the answer", [row.final for row in rows]))
    print(line("one of the top 3 sentences holds it", [row.top_3 for row in rows]))
    print(line("span F1", [row.f1 for row in rows]))
    print(line("span exact", [row.exact for row in rows]))
    print(auroc_line("refusal AUROC: BM25 top score", *zip(*(row.bm25 for row in rows), strict=True)))
    print(auroc_line("refusal AUROC: top cosine", *zip(*(row.cosine for row in rows), strict=True)))
    confidences = [row.confidence for row in rows], [row.confidence_without for row in rows]
    print(auroc_line("refusal AUROC: calibrated", *confidences))
    removed = [i % 2 == 1 for i in range(len(rows))]
    shown = [b if gone else a for a, b, gone in zip(*confidences, removed, strict=True)]
    correct = [not gone and row.final == 1.0 for row, gone in zip(rows, removed, strict=True)]
    curve = risk_coverage(shown, correct)
    at_half = next((risk for covered, risk in zip(curve.coverage, curve.risk, strict=True) if covered >= 0.4), 1.0)
    print(f"  {'risk at coverage 0.4; area under the curve':<44} {at_half:.3f}  {curve.area:.3f}", flush=True)


def main(arguments: Sequence[str]) -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--cache", type=Path, default=Path(tempfile.gettempdir()) / "rag_qa_vectors")
    parser.add_argument("--sets", nargs="+", default=["xquad-en"], choices=["xquad-en", "xquad-zh", "cmrc-dev"])
    parser.add_argument("--limit", type=int, default=1_000_000, help="questions of each set")
    options = parser.parse_args(arguments)
    encoder = MiniLM(options.cache)
    ours = {
        language: Constants(shipped.sentence_ranker(), shipped.span_ranker(language), shipped.default_calibrator())
        for language in ("en", "zh")
    }
    for name in options.sets:
        file = QuestionFile(name, encoder)
        questions = file.questions[: options.limit]
        if name == "xquad-en":
            english(file, questions, ours["en"], options.cache / "half1")
        else:
            report(f"{name}, shipped constants", [score(file, asked, ours["zh"]) for asked in questions])


def english(file: QuestionFile, questions: Sequence[Asked], ours: Constants, other_folder: Path) -> None:
    """Both halves, each by the constants of the other."""
    if not other_folder.is_dir():
        raise UserError(f"{other_folder} is not there: run fit_extractive.py with the same --cache first")
    other = Constants(
        LinearRanker.load(other_folder / "sentence_ranker.json"),
        LinearRanker.load(other_folder / "span_ranker_en.json"),
        Calibrator.load(other_folder / "refusal.json"),
    )
    rows = [score(file, asked, ours if asked.article % 2 else other) for asked in questions]
    report("xquad-en, every article held out", rows)
    odd = [row for row, asked in zip(rows, questions, strict=True) if asked.article % 2]
    report("xquad-en, odd articles, shipped constants", odd)
    own_corpus(file, questions, ours)


def own_corpus(file: QuestionFile, questions: Sequence[Asked], ours: Constants) -> None:
    """Refusal calibrated on questions that are made from the same paragraphs, scored on the real questions of the odd
    articles: what a user gets who has documents and no questions."""
    reader = file.reader(ours.sentences)

    def search(question: str, left_out: frozenset[int]) -> list[Retrieved]:
        return file.search(question, without=next(iter(left_out), None))

    calibrator = calibrate_on_corpus(file.chunks, search, reader)
    odd = [asked for asked in questions if asked.article % 2]
    pairs = [
        [calibrator.probability(file.evidence(reader, asked, gold=gold)) for asked in odd] for gold in (True, False)
    ]
    print(auroc_line("refusal AUROC: made questions, odd articles", *pairs))
    print(f"  {'AUROC on the made questions themselves':<44} {calibrator.auroc:.3f}")


if __name__ == "__main__":
    main(sys.argv[1:])
