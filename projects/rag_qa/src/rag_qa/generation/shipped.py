"""The constants that come with the package: weights of the sentence ranker, of the span ranker and of refusal.

Each file says what it was fitted on. `benchmarks/fit_extractive.py` makes them.
"""

from functools import cache
from pathlib import Path
from typing import Literal

from rag_qa.generation.linear_ranking import LinearRanker
from rag_qa.generation.refusal import Calibrator

FOLDER = Path(__file__).parent / "constants"
Language = Literal["en", "zh"]


@cache
def sentence_ranker() -> LinearRanker:
    """Weights of `sentence_features`, for both languages."""
    return LinearRanker.load(FOLDER / "sentence_ranker.json")


@cache
def span_ranker(language: Language) -> LinearRanker:
    """Weights of `span_features`."""
    return LinearRanker.load(FOLDER / f"span_ranker_{language}.json")


@cache
def default_calibrator() -> Calibrator:
    """Refusal as it is before a calibration on the user's own corpus."""
    return Calibrator.load(FOLDER / "refusal.json")
