"""Models of the comparison: what is fitted, on how many texts, with how many weights."""

from dataclasses import replace

import numpy as np
import pytest

from bert_sentiment.comparison import measuring
from bert_sentiment.comparison.command import run
from bert_sentiment.comparison.fitting import Fit, repeated
from bert_sentiment.comparison.results import ResultCache
from bert_sentiment.comparison.scratch import SPECIAL, build_scratch, train_wordpiece
from bert_sentiment.config import PreprocessingConfig, ScratchConfig
from bert_sentiment.config.compare import ModelSpec

from .helpers import QUICK_TRAINER, TINY_SCRATCH, TWO_LABELS, named, rule


def test_texts_are_repeated_until_there_are_enough_steps():
    train = rule(20, 0)
    trainer = replace(QUICK_TRAINER, epochs=5, batch_size=8)
    assert len(repeated(train, trainer, 15)) == 20  # 3 steps an epoch are 15 already
    for steps in (16, 100, 333):
        n_texts = len(repeated(train, trainer, steps))
        assert n_texts % 20 == 0
        assert 5 * -(-n_texts // 8) >= steps > 5 * -(-(n_texts - 20) // 8) - 5


def test_parameters_are_those_of_the_encoder_and_the_layer_on_top(compare_config, encoder_folder, tmp_path):
    data = named("one")
    config = compare_config()
    counts = {}
    for model in ("majority", "tfidf", f"frozen:{encoder_folder('bert')}", f"finetune:{encoder_folder('bert')}"):
        fit = Fit(ModelSpec.parse(model), data, 1.0, data.splits.train)
        results, _ = measuring.results_of(fit, [data], config, ResultCache(tmp_path / "cache"))
        counts[fit.model.kind] = (results["one"].parameters, results["one"].trained)
    assert counts["majority"] == (2, 2)
    # Logistic regression on two labels has one weight a feature and a bias; the encoder is 32 wide.
    assert counts["frozen"][1] == 33
    assert counts["tfidf"][0] == counts["tfidf"][1] > 60
    encoder, layer = counts["frozen"][0] - 33, 32 * 2 + 2
    assert counts["finetune"] == (encoder + layer, encoder + layer)


@pytest.mark.usefixtures("no_report")
def test_a_scratch_model_learns_the_rule(compare_config):
    scratch = ScratchConfig(layers=1, width=32, heads=2, vocabulary=120, epochs=8, learning_rate=5e-3)
    config = compare_config(models=("scratch",), datasets=compare_config().datasets[:1], scratch=scratch)
    assert run(config)["accuracy"] >= 0.9


def test_the_tokens_of_a_text_depend_on_the_texts_alone():
    texts = rule(60, 0).texts
    vocabularies = [train_wordpiece(texts, 130).get_vocab() for _ in range(4)]
    assert vocabularies[1:] == vocabularies[:-1]
    vocabulary = vocabularies[0]
    assert [token for token, index in sorted(vocabulary.items(), key=lambda item: item[1])][:5] == list(SPECIAL)
    assert sorted(vocabulary.values()) == list(range(len(vocabulary)))
    assert len(vocabulary) == 130
    assert "awful" in vocabulary
    # A letter within words is a token like any other: it is found within words, and not as the text "##a".
    encoded = train_wordpiece(texts, 130).encode("##a filmawful")
    assert encoded.tokens[:4] == ["[CLS]", "[UNK]", "[UNK]", "a"]


def test_a_scratch_model_depends_on_seed_and_texts():
    texts = rule(30, 0).texts
    first, same, other = (
        build_scratch(TINY_SCRATCH, PreprocessingConfig(max_length=16), texts, TWO_LABELS, seed).logits(texts[:4])
        for seed in (1, 1, 2)
    )
    assert np.array_equal(first, same)
    assert not np.allclose(first, other)
    model = build_scratch(TINY_SCRATCH, PreprocessingConfig(max_length=16), texts, TWO_LABELS, 1)
    assert model.labels == TWO_LABELS
    assert model.logits(["good " * 100]).shape == (1, 2)  # cut to what the position table holds
