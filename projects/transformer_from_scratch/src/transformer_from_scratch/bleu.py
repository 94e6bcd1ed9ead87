"""BLEU and chrF of translations, computed by sacrebleu, with a bootstrap interval for BLEU."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from roadmap_shared.errors import UserError
from roadmap_shared.metrics import Interval, bootstrap_interval

MAX_ORDER = 4
"""BLEU counts n-grams of 1 to 4 words."""


@dataclass(frozen=True)
class TranslationScores:
    """Corpus scores on sacrebleu's scale from 0 to 100."""

    bleu: Interval
    chrf: float
    signature: str
    """sacrebleu's settings and version, without which a BLEU score is not comparable (Post 2018)."""


@dataclass(frozen=True)
class System:
    """One way to translate the test sentences: its name, what it wrote, and what that is worth."""

    name: str
    translations: Sequence[str]
    scores: TranslationScores


def require_sacrebleu() -> None:
    """Raise UserError if sacrebleu is missing: to be called before the training, not after it."""
    try:
        import sacrebleu  # noqa: F401
    except ImportError:
        raise UserError(
            "translations are scored with the package sacrebleu: "
            "pip install 'roadmap-transformer-from-scratch[translation]'"
        ) from None


def score_translations(
    translations: Sequence[str], references: Sequence[str], *, n_resamples: int = 2000
) -> TranslationScores:
    """Corpus BLEU (Papineni et al. 2002) and chrF (Popović 2015) against one reference each.

    The interval is the 95 % percentile bootstrap over sentences (Koehn 2004).

    Raises:
        UserError: sacrebleu is not installed.
    """
    require_sacrebleu()
    from sacrebleu.metrics.bleu import BLEU
    from sacrebleu.metrics.chrf import CHRF

    bleu = BLEU()
    score = bleu.corpus_score(translations, [references]).score
    resampled = bootstrap_interval(sentence_statistics(translations, references), corpus_bleu, n_resamples=n_resamples)
    return TranslationScores(
        bleu=Interval(score, resampled.low, resampled.high),
        chrf=CHRF().corpus_score(translations, [references]).score,
        signature=str(bleu.get_signature()),
    )


def sentence_statistics(translations: Sequence[str], references: Sequence[str]) -> NDArray[np.float64]:
    """What corpus BLEU adds up over sentences, (n, 10).

    Columns: matching n-grams and n-grams of the translation, n = 1 to 4 each, then both lengths in words.
    """
    from sacrebleu.metrics.bleu import BLEU

    sentence_bleu = BLEU(effective_order=True)  # the order changes its score, not the counts that are taken here
    scores = [
        sentence_bleu.sentence_score(translation, [reference])
        for translation, reference in zip(translations, references, strict=True)
    ]
    return np.array([[*s.counts, *s.totals, s.sys_len, s.ref_len] for s in scores], dtype=np.float64)


def corpus_bleu(statistics: NDArray[np.float64]) -> NDArray[np.float64]:
    """BLEU of each resample from its sentences' statistics: (n_resamples, n, 10) -> (n_resamples,).

    BLEU = 100 · exp(min(0, 1 - reference length / length)) · (p₁ p₂ p₃ p₄)^¼, where pₙ is the share of n-grams that
    match. The first order without a match counts as half a match, the next one as a quarter, as in sacrebleu
    (Chen & Cherry 2014, method 3).
    """
    sums = statistics.sum(axis=1)
    matches, totals = sums[:, :MAX_ORDER], sums[:, MAX_ORDER : 2 * MAX_ORDER]
    n_without_match = np.cumsum(matches == 0, axis=1)
    smoothed = np.where(matches == 0, 0.5**n_without_match, matches)
    precisions = smoothed / np.maximum(totals, 1)
    length, reference_length = sums[:, -2], sums[:, -1]
    brevity = np.exp(np.minimum(0, 1 - reference_length / np.maximum(length, 1)))
    scores = 100 * brevity * np.exp(np.log(precisions).mean(axis=1))
    # Nothing matches, or the translations are too short for any 4-gram: 0, as in sacrebleu.
    return np.where((matches[:, 0] == 0) | (totals == 0).any(axis=1), 0.0, scores)
