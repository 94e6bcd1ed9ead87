"""BLEU and its interval, against sacrebleu itself."""

import sys

import numpy as np
import pytest
import sacrebleu
from hypothesis import given, settings
from hypothesis import strategies as st

from roadmap_shared.errors import UserError
from transformer_from_scratch.bleu import corpus_bleu, require_sacrebleu, score_translations, sentence_statistics

SENTENCES = st.lists(st.sampled_from(["a", "b", "c", "dog", "runs", "."]), max_size=9).map(" ".join)
REFERENCES = ["the cat sat on the mat .", "a dog runs over the green field .", "two men are here ."]
TRANSLATIONS = ["the cat sat on a mat .", "a dog runs on the field .", "two men stand here ."]


@settings(deadline=None)
@given(st.lists(st.tuples(SENTENCES, SENTENCES.filter(bool)), min_size=1, max_size=6))
def test_corpus_bleu_from_statistics_is_sacrebleus(pairs: list[tuple[str, str]]) -> None:
    # Short texts of few words: orders without a match, or without any n-gram, are common among them.
    translations, references = (list(side) for side in zip(*pairs, strict=True))
    expected = sacrebleu.corpus_bleu(translations, [references]).score
    statistics = sentence_statistics(translations, references)
    assert corpus_bleu(statistics[None]) == pytest.approx([expected], abs=1e-9)


def test_scores_are_sacrebleus_and_the_interval_is_the_bootstraps() -> None:
    scores = score_translations(TRANSLATIONS * 20, REFERENCES * 20, n_resamples=400)
    assert scores.bleu.estimate == sacrebleu.corpus_bleu(TRANSLATIONS * 20, [REFERENCES * 20]).score
    assert scores.chrf == sacrebleu.corpus_chrf(TRANSLATIONS * 20, [REFERENCES * 20]).score
    generator = np.random.default_rng(1)
    resampled = []
    for _ in range(400):
        chosen = generator.integers(60, size=60)
        resampled.append(
            sacrebleu.corpus_bleu(
                [TRANSLATIONS[index % 3] for index in chosen], [[REFERENCES[index % 3] for index in chosen]]
            ).score
        )
    expected = np.quantile(resampled, [0.025, 0.975])
    assert [scores.bleu.low, scores.bleu.high] == pytest.approx(expected, abs=1.0)
    assert scores.bleu.low < scores.bleu.estimate < scores.bleu.high
    assert f"version:{sacrebleu.__version__}" in scores.signature


def test_a_perfect_translation_scores_100() -> None:
    scores = score_translations(REFERENCES, REFERENCES, n_resamples=50)
    assert scores.bleu.estimate == pytest.approx(100)
    assert [scores.bleu.low, scores.bleu.high] == pytest.approx([100, 100])
    assert scores.chrf == pytest.approx(100)


def test_a_missing_sacrebleu_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "sacrebleu", None)
    with pytest.raises(UserError, match=r"pip install 'roadmap-transformer-from-scratch\[translation\]'$"):
        require_sacrebleu()
