"""Refusal, calibrated on the corpus itself: questions with their passages, and the same without them."""

from collections.abc import Sequence

import numpy as np

from rag_qa.evaluation.evaluation_set import EvaluationQuestion, holds
from rag_qa.generation.evidence import EvidenceReader
from rag_qa.generation.refusal import FEWEST, FOLDS, CalibrationExample, Calibrator, folds_of
from rag_qa.generation.refusal_features import refusal_features
from rag_qa.protocols import Retriever
from rag_qa.studies.searching import SPARE, without_gold
from roadmap_shared.progress import progress

L2 = 3.0
"""Ridge penalty of the fit: a few hundred examples and 17 features."""


def calibration_examples(
    retriever: Retriever, reader: EvidenceReader, questions: Sequence[EvaluationQuestion], k: int
) -> list[CalibrationExample]:
    """Each answerable question with and without its passages; each other one as it is."""
    examples = []
    for question in progress(questions, "calibrating refusal", "question"):
        longer = retriever.search(question.text, k + SPARE)
        found = longer[:k]
        held = question.answerable and any(holds(item.chunk, gold) for item in found for gold in question.gold)
        examples.append(CalibrationExample(reader.read(question.text, found), held, group=question.id))
        if question.gold:
            rest = without_gold(longer, question.gold, k)
            examples.append(CalibrationExample(reader.read(question.text, rest), False, group=question.id))
    return examples


def calibrated(
    retriever: Retriever, reader: EvidenceReader, questions: Sequence[EvaluationQuestion], k: int, origin: str
) -> Calibrator | None:
    """A calibrator for the corpus that these questions are about; None where they are too few for one."""
    examples = calibration_examples(retriever, reader, questions, k)
    answerable = sum(example.answerable for example in examples)
    if min(answerable, len(examples) - answerable) < FEWEST:
        return None
    return Calibrator.fit(examples, l2=L2, origin=origin)


def held_out_probabilities(examples: Sequence[CalibrationExample]) -> list[float]:
    """Probability of each example by a calibrator that was fitted without it and its question."""
    features = np.array([refusal_features(example.evidence) for example in examples])
    answerable = np.array([example.answerable for example in examples])
    groups = [example.group for example in examples]
    folds = folds_of(groups)
    probabilities = np.empty(len(examples))
    for number in range(FOLDS):
        inside = folds == number
        rest = [group for group, held in zip(groups, inside, strict=True) if not held]
        calibrator = Calibrator.fit_features(features[~inside], answerable[~inside], rest, L2)
        probabilities[inside] = calibrator.probabilities(features[inside])
    return probabilities.tolist()
