"""Fit the constants of `rag_qa/generation/constants`: python projects/rag_qa/benchmarks/fit_extractive.py [--write]

Data: XQuAD-en, its articles in two halves by their number in the file, and the trial part of CMRC 2018. Constants that
are shipped are fitted on the even half and the trial part, Chinese spans on the even half of XQuAD-zh; the odd halves
are held out. Without --write, nothing is
written. The other direction of the halves is fitted as well, so that `answer_quality.py` can score every question of
XQuAD-en by constants that never saw its article.
"""

import argparse
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from answer_data import Asked, MiniLM, QuestionFile, squad_f1

from rag_qa.generation.evidence import Evidence
from rag_qa.generation.linear_ranking import LinearRanker, fit
from rag_qa.generation.refusal import CalibrationExample, Calibrator
from rag_qa.generation.shipped import FOLDER
from rag_qa.generation.span_choice import span_alternatives

COMMAND = "benchmarks/fit_extractive.py --write"
FEWEST_GAIN = 0.6
"""F1 from which a span counts as an answer at all: what overlaps less teaches the wrong ends."""

FREE = frozenset({"sentence"})
ZERO = LinearRanker({})


def fit_sentences(parts: Sequence[tuple[QuestionFile, Sequence[Asked]]], data: str) -> LinearRanker:
    """Weights of the sentence features."""
    groups = []
    for file, questions in parts:
        reader = file.reader(ZERO)
        for asked in questions:
            evidence = file.evidence(reader, asked)
            gains = [float(any(a in sentence.text for a in asked.answers)) for sentence in evidence.sentences]
            groups.append((evidence.features, gains))
    return LinearRanker(fit(groups, l2=1.0), {"data": data, "command": COMMAND})


def fit_spans(file: QuestionFile, questions: Sequence[Asked], ranker: LinearRanker, data: str) -> LinearRanker:
    """Weights of the span features."""
    reader = file.reader(ranker)
    groups = []
    for asked in questions:
        evidence = file.evidence(reader, asked)
        best = [sentence.text for sentence in evidence.sentences[:3]]
        places, rows = span_alternatives(evidence.question, best, evidence.scores[:3], file.statistics)
        gains = [squad_f1(best[i][start:end], asked.answers, chinese=file.chinese) for i, start, end in places]
        groups.append((rows, [gain if gain >= FEWEST_GAIN else 0.0 for gain in gains]))
    weights = fit(groups, l2=100.0, n_steps=150, min_questions=5, unpenalised=FREE)
    return LinearRanker(weights, {"data": data, "command": COMMAND})


def refusal_examples(file: QuestionFile, questions: Sequence[Asked], ranker: LinearRanker) -> list[CalibrationExample]:
    """Each question with its own paragraph in the index, and without."""
    reader = file.reader(ranker)
    examples = []
    for asked in questions:
        for gold in (True, False):
            evidence: Evidence = file.evidence(reader, asked, gold=gold)
            examples.append(CalibrationExample(evidence, gold, group=f"{file.name}/{asked.id}"))
    return examples


def half(file: QuestionFile, number: int) -> list[Asked]:
    """The questions of the articles with an even (0) or odd (1) number."""
    return [asked for asked in file.questions if asked.article % 2 == number]


def constants_of(english: QuestionFile, chinese: QuestionFile, number: int, n_chinese: int = 500) -> dict[str, object]:
    """Sentence ranker, span ranker and calibrator without the other half."""
    data = f"XQuAD-en (CC BY-SA 4.0), articles with {'odd' if number else 'even'} numbers"
    mixed = f"{data}; CMRC 2018 trial (CC BY-SA 4.0), first {n_chinese} questions"
    some = chinese.questions[:n_chinese]
    sentences = fit_sentences([(english, half(english, number)), (chinese, some)], mixed)
    spans = fit_spans(english, half(english, number), sentences, data)
    examples = refusal_examples(english, half(english, number), sentences)
    examples += refusal_examples(chinese, some, sentences)
    calibrator = Calibrator.fit(examples, l2=3.0, origin=f"{mixed}; {COMMAND}")
    return {"sentence_ranker": sentences, "span_ranker_en": spans, "refusal": calibrator}


def main(arguments: Sequence[str]) -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--write", action="store_true", help="write the constants into the package")
    parser.add_argument("--cache", type=Path, default=Path(tempfile.gettempdir()) / "rag_qa_vectors")
    options = parser.parse_args(arguments)
    encoder = MiniLM(options.cache)
    english, chinese = QuestionFile("xquad-en", encoder), QuestionFile("cmrc-trial", encoder)
    for number in (0, 1):
        made = constants_of(english, chinese, number)
        folder = FOLDER if number == 0 and options.write else options.cache / f"half{number}"
        folder.mkdir(parents=True, exist_ok=True)
        if number == 0:
            ranker = made["sentence_ranker"]
            assert isinstance(ranker, LinearRanker)
            # CMRC's answers are clauses of ten characters and more: a model of them answers with clauses.
            translated = QuestionFile("xquad-zh", encoder)
            data = "XQuAD-zh (CC BY-SA 4.0), articles with even numbers"
            made["span_ranker_zh"] = fit_spans(translated, half(translated, 0), ranker, data)
        for name, value in made.items():
            if isinstance(value, Calibrator):
                value.save(folder / f"{name}.json")
                print(f"half {number}: {name} AUROC {value.auroc:.3f} on held-out folds")
            elif isinstance(value, LinearRanker):
                (folder / f"{name}.json").write_text(value.dump(), encoding="utf-8")
                norm = np.linalg.norm(list(value.weights.values()))
                print(f"half {number}: {name} {len(value.weights)} weights, norm {norm:.1f}")


if __name__ == "__main__":
    main(sys.argv[1:])
