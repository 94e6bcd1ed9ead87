"""Extractive answers and refusal on held-out questions: python projects/rag_qa/benchmarks/answer_quality.py

Every question of XQuAD-en is scored by constants that were fitted on the articles of the other half
(`fit_extractive.py` leaves both directions in its cache folder). The odd half alone, scored by the shipped constants,
is listed as well. Retrieval is that of `_answer_data.py`, the top 5 paragraphs. The technical questions are scored in
folds by document, each by constants that never saw its documents, with the search of `rag-qa`.
"""

import argparse
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from _answer_data import Asked, MiniLM, QuestionFile, squad_f1
from _data import not_measured
from _technical_data import FOLDS, TechnicalSet

from rag_qa.config import GenerationConfig
from rag_qa.evaluation.answer_quality import refusal_auroc_interval
from rag_qa.generation import shipped
from rag_qa.generation.composition import compose
from rag_qa.generation.evidence import Evidence
from rag_qa.generation.linear_ranking import LinearRanker
from rag_qa.generation.refusal import Calibrator
from rag_qa.generation.risk_coverage import risk_coverage
from rag_qa.generation.span_choice import choose_span
from roadmap_shared.metrics import bootstrap_interval, roc_auc

SETS = ("technical", "xquad-en", "xquad-zh", "cmrc-dev")
TECHNICAL = (
    "top sentence answers",
    "one of the top 3 sentences answers",
    "one of the sentences that are given answers",
    "one of all sentences that are read answers",
)


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
    parser.add_argument("--sets", nargs="+", default=SETS[:2], choices=SETS)
    parser.add_argument("--limit", type=int, default=1_000_000, help="questions of each set")
    options = parser.parse_args(arguments)
    encoder = MiniLM(options.cache)
    ours = {
        language: Constants(shipped.sentence_ranker(), shipped.span_ranker(language), shipped.default_calibrator())
        for language in ("en", "zh")
    }
    for name in options.sets:
        if name == "technical":
            technical(TechnicalSet(options.cache), options.cache)
            continue
        file = QuestionFile(name, encoder)
        questions = file.questions[: options.limit]
        if name == "xquad-en":
            english(file, questions, ours["en"], options.cache / "half1")
        else:
            report(f"{name}, shipped constants", [score(file, asked, ours["zh"]) for asked in questions])


def english(file: QuestionFile, questions: Sequence[Asked], ours: Constants, other_folder: Path) -> None:
    """Both halves, each by the constants of the other."""
    sentences, refusal = fitted(other_folder)
    other = Constants(sentences, LinearRanker.load(other_folder / "span_ranker_en.json"), refusal)
    rows = [score(file, asked, ours if asked.article % 2 else other) for asked in questions]
    report("xquad-en, every article held out", rows)
    odd = [row for row, asked in zip(rows, questions, strict=True) if asked.article % 2]
    report("xquad-en, odd articles, shipped constants", odd)


def technical(file: TechnicalSet, folder: Path) -> None:
    """Each question by the constants of the fold that left its document out."""
    scores: dict[str, list[float]] = {name: [] for name in TECHNICAL}
    confidences: dict[str, list[float]] = {"answerable": [], "removed": [], "unanswerable": []}
    for number in range(FOLDS):
        sentences, refusal = fitted(folder / f"technical{number}")
        reader = file.reader(sentences)
        for asked in file.fold(number, inside=True):
            evidence = file.evidence(reader, asked)
            kind = "answerable" if asked.answers else "unanswerable"
            confidences[kind].append(refusal.probability(evidence))
            if asked.answers:
                confidences["removed"].append(refusal.probability(file.evidence(reader, asked, gold=False)))
                for name, value in zip(TECHNICAL, sentence_scores(file, asked, evidence), strict=True):
                    scores[name].append(value)
    print(f"technical, every document held out, {len(file.questions)} questions")
    for name, values in scores.items():
        print(line(name, values))
    for name in ("unanswerable", "removed"):
        interval = refusal_auroc_interval(
            confidences["answerable"] + confidences[name],
            [True] * len(confidences["answerable"]) + [False] * len(confidences[name]),
        )
        print(f"  {'refusal AUROC: ' + name:<44} {interval.estimate:.3f}  [{interval.low:.3f}, {interval.high:.3f}]")
    for name, values in confidences.items():
        print(line(f"refused, {name}", [float(value < GenerationConfig().refuse_below) for value in values]))


def sentence_scores(file: TechnicalSet, asked: Asked, evidence: Evidence) -> tuple[float, float, float, float]:
    """Whether the best sentence answers, one of the best three, one that the answer would give, one of all."""
    held = file.gains(evidence, asked) or [0.0]
    given = [
        i
        for passage, start, end in compose(evidence, 0, GenerationConfig().max_sentences)
        for i, sentence in enumerate(evidence.sentences)
        if sentence.passage == passage and start <= sentence.start < end
    ]
    return held[0], max(held[:3]), max(held[i] for i in given) if given else 0.0, max(held)


def fitted(folder: Path) -> tuple[LinearRanker, Calibrator]:
    """Sentence ranker and calibrator of a fit that is kept in the cache folder."""
    if not folder.is_dir():
        not_measured(f"{folder} is not there: run fit_extractive.py with the same --cache first")
    return LinearRanker.load(folder / "sentence_ranker.json"), Calibrator.load(folder / "refusal.json")


if __name__ == "__main__":
    main(sys.argv[1:])
