"""Fit the constants of `rag_qa/generation/constants`: python projects/rag_qa/benchmarks/fit_extractive.py [--write]

Data: XQuAD-en, its articles in two halves by their number in the file; the trial part of CMRC 2018; and the technical
questions of `technical_questions.yaml`. Constants that are shipped are fitted on the even half, the trial part and the
technical questions, Chinese spans on the even half of XQuAD-zh; the odd halves are held out. Without --write, nothing
is written into the package.

Two more fits are left in the cache folder, so that `answer_quality.py` can score every question by constants that never
saw its article or document: the other direction of the halves, and the technical questions in five folds by document.
"""

import argparse
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from _answer_data import Asked, MiniLM, QuestionFile, squad_f1
from _technical_data import FOLDS, TechnicalSet

from rag_qa.generation.evidence import Evidence
from rag_qa.generation.linear_ranking import LinearRanker, fit
from rag_qa.generation.refusal import CalibrationExample, Calibrator
from rag_qa.generation.shipped import FOLDER
from rag_qa.generation.span_choice import span_alternatives

COMMAND = "benchmarks/fit_extractive.py --write"
FEWEST_GAIN = 0.6
"""F1 from which a span counts as an answer at all: what overlaps less teaches the wrong ends."""

WEIGHT = 2
"""How often a technical question counts: there are a third as many of them as of the others."""

N_CHINESE = 500
"""Questions of CMRC's trial part."""

FREE = frozenset({"sentence"})
ZERO = LinearRanker({})
Part = tuple[QuestionFile | TechnicalSet, Sequence[Asked]]
"""A set of questions, and those of them that are fitted on."""


_READ: dict[tuple[str, str, bool], Evidence] = {}
"""Evidence by set, question and whether its passage is there: only the order of the sentences differs between fits."""


def evidence_of(
    file: QuestionFile | TechnicalSet, asked: Asked, ranker: LinearRanker, *, gold: bool = True
) -> Evidence:
    """The evidence for a question, ranked by these weights."""
    key = (file.name, asked.id, gold)
    if key not in _READ:
        _READ[key] = file.evidence(file.reader(ZERO), asked, gold=gold)
    return _READ[key].ranked_by(ranker)


def fit_sentences(parts: Sequence[Part], data: str) -> LinearRanker:
    """Weights of the sentence features."""
    groups = []
    for file, questions in parts:
        for asked in questions:
            if asked.answers:
                evidence = evidence_of(file, asked, ZERO)
                groups += [(evidence.features, file.gains(evidence, asked))] * weight(file)
    return LinearRanker(fit(groups, l2=4.0), {"data": data, "command": COMMAND})


def weight(file: QuestionFile | TechnicalSet) -> int:
    """How often each question of a set counts."""
    return WEIGHT if isinstance(file, TechnicalSet) else 1


def fit_spans(file: QuestionFile, questions: Sequence[Asked], ranker: LinearRanker, data: str) -> LinearRanker:
    """Weights of the span features."""
    groups = []
    for asked in questions:
        evidence = evidence_of(file, asked, ranker)
        best = [sentence.text for sentence in evidence.sentences[:3]]
        places, rows = span_alternatives(evidence.question, best, evidence.scores[:3], file.statistics)
        gains = [squad_f1(best[i][start:end], asked.answers, chinese=file.chinese) for i, start, end in places]
        groups.append((rows, [gain if gain >= FEWEST_GAIN else 0.0 for gain in gains]))
    weights = fit(groups, l2=100.0, n_steps=150, min_questions=5, unpenalised=FREE)
    return LinearRanker(weights, {"data": data, "command": COMMAND})


def refusal_examples(part: Part, ranker: LinearRanker) -> list[CalibrationExample]:
    """Each question with its own passage in the index, and without; those without an answer as they are."""
    file, questions = part
    examples = []
    for asked in questions:
        for gold in (True, False) if asked.answers else (True,):
            evidence = evidence_of(file, asked, ranker, gold=gold)
            held = gold and bool(asked.answers) and file.held(asked)
            examples += [CalibrationExample(evidence, held, group=f"{file.name}/{asked.id}")] * weight(file)
    return examples


def half(file: QuestionFile, number: int) -> list[Asked]:
    """The questions of the articles with an even (0) or odd (1) number."""
    return [asked for asked in file.questions if asked.article % 2 == number]


def constants_of(parts: Sequence[Part], data: str) -> tuple[LinearRanker, Calibrator]:
    """Sentence ranker and calibrator of refusal, whose probabilities are those of the last part, the technical one: of
    the encyclopedic parts it is sure, so that a little more or less changes few answers."""
    sentences = fit_sentences(parts, data)
    examples = [refusal_examples(part, sentences) for part in parts]
    everything = [example for part in examples for example in part]
    calibrator = Calibrator.fit(everything, l2=3.0, origin=f"{data}; {COMMAND}")
    return sentences, calibrator.recalibrated(examples[-1])


def save(folder: Path, rankers: dict[str, LinearRanker], calibrator: Calibrator) -> None:
    """Write the constants of one fit and say what they are."""
    folder.mkdir(parents=True, exist_ok=True)
    calibrator.save(folder / "refusal.json")
    print(f"{folder.name}: refusal AUROC {calibrator.auroc:.3f} on held-out folds")
    for name, ranker in rankers.items():
        (folder / f"{name}.json").write_text(ranker.dump(), encoding="utf-8")
        norm = np.linalg.norm(list(ranker.weights.values()))
        print(f"{folder.name}: {name} {len(ranker.weights)} weights, norm {norm:.1f}", flush=True)


def described(number: int, technical: str) -> str:
    """What a fit has seen."""
    return (
        f"XQuAD-en (CC BY-SA 4.0), articles with {'odd' if number else 'even'} numbers; "
        f"CMRC 2018 trial (CC BY-SA 4.0), first {N_CHINESE} questions; technical_questions.yaml{technical}"
    )


def main(arguments: Sequence[str]) -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--write", action="store_true", help="write the constants into the package")
    parser.add_argument("--cache", type=Path, default=Path(tempfile.gettempdir()) / "rag_qa_vectors")
    options = parser.parse_args(arguments)
    encoder = MiniLM(options.cache)
    english, translated = QuestionFile("xquad-en", encoder), QuestionFile("xquad-zh", encoder)
    cmrc, technical = QuestionFile("cmrc-trial", encoder), TechnicalSet(options.cache)
    chinese: Part = (cmrc, cmrc.questions[:N_CHINESE])
    for number in (0, 1):
        folder = FOLDER if number == 0 and options.write else options.cache / f"half{number}"
        own = half(english, number)
        sentences, calibrator = constants_of(
            [(english, own), chinese, (technical, technical.questions)], described(number, "")
        )
        data = f"XQuAD-en (CC BY-SA 4.0), articles with {'odd' if number else 'even'} numbers"
        rankers = {"sentence_ranker": sentences, "span_ranker_en": fit_spans(english, own, sentences, data)}
        if number == 0:
            # CMRC's answers are clauses of ten characters and more: a model of them answers with clauses.
            data = "XQuAD-zh (CC BY-SA 4.0), articles with even numbers"
            rankers["span_ranker_zh"] = fit_spans(translated, half(translated, 0), sentences, data)
        save(folder, rankers, calibrator)
    for number in range(FOLDS):
        others = technical.fold(number, inside=False)
        text = described(0, f" without fold {number} of {FOLDS}")
        sentences, calibrator = constants_of([(english, half(english, 0)), chinese, (technical, others)], text)
        save(options.cache / f"technical{number}", {"sentence_ranker": sentences}, calibrator)


if __name__ == "__main__":
    main(sys.argv[1:])
