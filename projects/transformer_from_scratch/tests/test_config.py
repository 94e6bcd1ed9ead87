"""The checks between settings: each wrong value is refused in one line that names the flag and the value."""

import dataclasses
import subprocess
import sys
from pathlib import Path

import pytest

from transformer_from_scratch.config import (
    CorpusConfig,
    LanguageModelConfig,
    MaskedLMConfig,
    MaskingConfig,
    ModelConfig,
    TrainerConfig,
)

NAN = float("nan")


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        *(
            ({name: 0}, f"--model.{name} 0 must be at least 1")
            for name in ("n_layers", "d_model", "n_heads", "d_hidden", "context", "n_experts")
        ),
        (
            {"d_model": 100, "n_heads": 8},
            "--model.d_model 100 is not a multiple of --model.n_heads 8; with 8 heads use 96",
        ),
        (
            {"d_model": 102, "n_heads": 8},
            "--model.d_model 102 is not a multiple of --model.n_heads 8; with 8 heads use 104",
        ),
        (
            {"d_model": 3, "n_heads": 8},
            "--model.d_model 3 is not a multiple of --model.n_heads 8; with 8 heads use 8",
        ),
        ({"n_kv_heads": 3}, "--model.n_kv_heads 3 does not divide --model.n_heads 4"),
        ({"n_kv_heads": 0}, "--model.n_kv_heads 0 does not divide --model.n_heads 4"),
        ({"n_kv_heads": 8}, "--model.n_kv_heads 8 does not divide --model.n_heads 4"),
        ({"n_kv_heads": -2}, "--model.n_kv_heads -2 does not divide --model.n_heads 4"),
        ({"rotary_base": 0.0}, "--model.rotary_base 0.0 must be above 0"),
        ({"dropout": 1.0}, "--model.dropout 1.0 must be at least 0 and below 1"),
        ({"dropout": -0.1}, "--model.dropout -0.1 must be at least 0 and below 1"),
        ({"dropout": NAN}, "--model.dropout nan must be at least 0 and below 1"),
        (
            {"n_experts": 4, "n_chosen_experts": 5},
            "--model.n_chosen_experts 5 must lie between 1 and --model.n_experts 4",
        ),
        (
            {"n_experts": 4, "n_chosen_experts": 0},
            "--model.n_chosen_experts 0 must lie between 1 and --model.n_experts 4",
        ),
        ({"ngram_width": 0}, "--model.ngram_width 0 must be at least 1"),
        ({"ngram_orders": (2, 2)}, "--model.ngram_orders (2, 2) must be different numbers from 2 to 8"),
        ({"ngram_orders": (1,)}, "--model.ngram_orders (1,) must be different numbers from 2 to 8"),
    ],
    ids=str,
)
def test_model_settings_that_do_not_fit(settings, message):
    with pytest.raises(ValueError) as error:
        ModelConfig(**settings)
    assert str(error.value) == message


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        *(
            ({name: 0}, f"--trainer.{name} 0 must be at least 1")
            for name in (
                "steps",
                "batch_size",
                "accumulation_steps",
                "evaluate_every",
                "checkpoint_every",
                "keep_checkpoints",
                "threads",
            )
        ),
        (
            {"batch_size": 16, "accumulation_steps": 3},
            "--trainer.batch_size 16 is not a multiple of --trainer.accumulation_steps 3",
        ),
        ({"learning_rate": 0.0}, "--trainer.learning_rate 0.0 must be above 0"),
        ({"learning_rate": NAN}, "--trainer.learning_rate nan must be above 0"),
        ({"muon_learning_rate": -1.0}, "--trainer.muon_learning_rate -1.0 must be above 0"),
        ({"beta1": 1.0}, "--trainer.beta1 1.0 must be at least 0 and below 1"),
        ({"beta2": -0.1}, "--trainer.beta2 -0.1 must be at least 0 and below 1"),
        ({"warmup_steps": -1}, "--trainer.warmup_steps -1 must be at least 0"),
        ({"clip_norm": -1.0}, "--trainer.clip_norm -1.0 must be at least 0"),
        ({"weight_decay": NAN}, "--trainer.weight_decay nan must be at least 0"),
        ({"decay_share": 0.0}, "--trainer.decay_share 0.0 must be above 0 and at most 1"),
        ({"decay_share": 1.5}, "--trainer.decay_share 1.5 must be above 0 and at most 1"),
        ({"final_lr_share": -0.5}, "--trainer.final_lr_share -0.5 must be between 0 and 1"),
        ({"label_smoothing": 1.0}, "--trainer.label_smoothing 1.0 must be at least 0 and below 1"),
    ],
    ids=str,
)
def test_trainer_settings_that_do_not_fit(settings, message):
    with pytest.raises(ValueError) as error:
        TrainerConfig(**settings)
    assert str(error.value) == message


@pytest.mark.parametrize(
    ("config_class", "settings", "message"),
    [
        (
            CorpusConfig,
            {"path": Path("a.txt"), "name": "b/c"},
            "--data.path and --data.name exclude each other: give one of them",
        ),
        (CorpusConfig, {"validation_share": 0.0}, "--data.validation_share 0.0 must be between 0 and 1"),
        (CorpusConfig, {"validation_share": 1.0}, "--data.validation_share 1.0 must be between 0 and 1"),
        (MaskingConfig, {"share": 0.0}, "--masking.share 0.0 must be between 0 and 1"),
        (
            MaskingConfig,
            {"masked": 0.8, "replaced": 0.3},
            "--masking.masked and --masking.replaced are shares that sum to at most 1",
        ),
        (
            MaskingConfig,
            {"masked": -0.1},
            "--masking.masked and --masking.replaced are shares that sum to at most 1",
        ),
    ],
    ids=str,
)
def test_data_settings_that_do_not_fit(config_class, settings, message):
    with pytest.raises(ValueError) as error:
        config_class(**settings)
    assert str(error.value) == message


def test_values_at_the_border_are_accepted():
    ModelConfig(n_layers=1, d_model=1, n_heads=1, d_hidden=1, context=1, n_kv_heads=1, dropout=0.99)
    ModelConfig(n_experts=4, n_chosen_experts=4)
    ModelConfig(n_experts=1, n_chosen_experts=2)  # of one expert nothing is chosen
    TrainerConfig(
        steps=1,
        batch_size=1,
        warmup_steps=0,
        clip_norm=0.0,
        beta1=0.0,
        weight_decay=0.0,
        decay_share=1.0,
        final_lr_share=1.0,
        threads=1,
    )
    MaskingConfig(masked=0.5, replaced=0.5)


@pytest.mark.parametrize("config_class", [LanguageModelConfig, MaskedLMConfig])
def test_defaults_are_valid_and_nothing_can_be_changed_later(config_class):
    config = config_class()
    for section in dataclasses.fields(config):
        with pytest.raises(dataclasses.FrozenInstanceError):
            setattr(config, section.name, None)
        nested = getattr(config, section.name)
        with pytest.raises(dataclasses.FrozenInstanceError):
            setattr(nested, dataclasses.fields(nested)[0].name, None)


def test_importing_the_config_does_not_import_torch():
    code = "import sys, transformer_from_scratch.config; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
