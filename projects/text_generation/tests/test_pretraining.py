"""Training from random weights: windows, optimisers, schedule, and a resumed run that equals the uninterrupted one."""

import math
import signal
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st

from roadmap_shared.config import RunConfig
from roadmap_shared.errors import UserError
from roadmap_shared.runs import Run, start_run
from text_generation.config.commands import GenerationConfig
from text_generation.config.data import TokenizerConfig
from text_generation.config.training import ModelConfig, TrainerConfig
from text_generation.tokenizer import train_tokenizer
from text_generation.training import pretraining
from text_generation.training.model import build_model
from text_generation.training.optimization import build_optimizers, learning_rate_factor
from text_generation.training.packing import Windows, pack
from text_generation.training.pretraining import packed_corpus, pretrain, validation_loss

TEXTS = [f"{hero} went to the {place} and found a {thing}." for hero in ("Mira", "Otto", "Ines", "Tom")
         for place in ("sea", "wood", "hill") for thing in ("shell", "key", "song")]  # fmt: skip
SHAPE = ModelConfig(n_layers=2, width=32, n_heads=2, context=16)
TRAINER = TrainerConfig(
    steps=12, batch_size=4, learning_rate=1e-2, warmup_steps=2, evaluate_every=6, checkpoint_every=5, threads=1
)


def tiny_tokenizer() -> Any:
    return train_tokenizer(TEXTS, TokenizerConfig(vocabulary=320), context=SHAPE.context)


def trained(root: Path, trainer: TrainerConfig = TRAINER, resume: str | None = None) -> tuple[Any, Run]:
    tokenizer = tiny_tokenizer()
    model = build_model(SHAPE, tokenizer, seed=3)
    config = GenerationConfig(run=RunConfig(root=root, seed=3, resume=resume), model=SHAPE, trainer=trainer)
    with start_run(config, project="text_generation", command="run") as run:
        pretrain(model, packed_corpus(TEXTS[:30], TEXTS[30:], tokenizer), trainer, run)
        return model, run


def test_documents_are_joined_with_an_end_after_each():
    assert pack([[5, 6], [], [7]], end=0).tolist() == [5, 6, 0, 0, 7, 0]
    assert pack([], end=0).tolist() == []


@given(n=st.integers(40, 300), context=st.integers(4, 16), seed=st.integers(0, 99))
def test_an_epoch_visits_every_window_once(n: int, context: int, seed: int):
    windows = Windows(np.arange(n), context, seed)
    starts = windows.starts_of_epoch(0)
    assert len(set(starts.tolist())) == len(starts) == windows.per_epoch
    assert len({start % context for start in starts.tolist()}) == 1
    assert starts.min() >= 0
    assert starts.max() + context < n


def test_a_batch_is_a_function_of_seed_and_step():
    windows = Windows(np.arange(100), 8, seed=1)
    inputs, targets = windows.batch(3, 4)
    assert inputs.shape == targets.shape == (4, 8)
    assert torch.equal(inputs + 1, targets)
    windows.batch(9, 4)
    assert torch.equal(windows.batch(3, 4)[0], inputs)
    assert not torch.equal(Windows(np.arange(100), 8, seed=2).batch(3, 4)[0], inputs)


def test_a_stream_without_a_window_is_refused(tmp_path: Path):
    with pytest.raises(ValueError, match="32 tokens are too few for windows of 16"):
        Windows(np.arange(32), 16, seed=1)
    tokenizer = tiny_tokenizer()
    corpus = packed_corpus(["Mira"], ["Otto"], tokenizer)
    with pytest.raises(UserError) as raised:
        pretraining.training_windows(corpus, 64, seed=1)
    assert str(raised.value) == (
        f"the training texts: {len(corpus.train)} tokens are too few for windows of 64. Give more text, or a smaller "
        "--model.context"
    )


def test_the_rate_rises_stays_and_falls():
    config = TrainerConfig(steps=100, warmup_steps=9, decay_share=0.5)
    factors = [learning_rate_factor(step, config) for step in range(100)]
    assert factors[:3] == pytest.approx([0.1, 0.2, 0.3])
    assert factors[9:51] == [1.0] * 42
    assert factors[51:54] == pytest.approx([0.98, 0.96, 0.94])
    assert factors[-1] == pytest.approx(0.02)
    # A warm-up that reaches into the fall makes no jump.
    short = TrainerConfig(steps=10, warmup_steps=8, decay_share=1.0)
    steps = [learning_rate_factor(step, short) for step in range(10)]
    assert max(abs(a - b) for a, b in pairwise(steps)) < 0.12


def test_muon_gets_the_matrices_of_the_blocks_and_adamw_the_rest():
    model = build_model(SHAPE, tiny_tokenizer(), seed=1)
    names = {id(parameter): name for name, parameter in model.named_parameters()}
    adamw, muon = build_optimizers(model, TRAINER)
    by_muon = {names[id(p)] for group in muon.param_groups for p in group["params"]}
    assert by_muon == {
        name for name in names.values() if ".h." in name and name.endswith("weight") and "ln_" not in name
    }
    by_adamw = {names[id(p)] for group in adamw.param_groups for p in group["params"]}
    assert by_adamw == set(names.values()) - by_muon
    undecayed = {names[id(p)] for group in adamw.param_groups if not group["weight_decay"] for p in group["params"]}
    assert undecayed == {name for name in by_adamw if name.endswith("bias") or "ln_" in name}
    (alone,) = build_optimizers(model, replace(TRAINER, optimizer="adamw"))
    assert sum(len(group["params"]) for group in alone.param_groups) == len(names)


def test_the_validation_loss_is_that_of_each_window(tmp_path: Path):
    tokenizer = tiny_tokenizer()
    model = build_model(SHAPE, tokenizer, seed=1).eval()
    tokens = packed_corpus(TEXTS[:1], TEXTS[30:], tokenizer).validation
    total = 0.0
    for start in range(0, len(tokens) - 1, SHAPE.context):
        row = torch.from_numpy(tokens[start : start + SHAPE.context + 1])
        with torch.no_grad():
            logits = model(row[None, :-1]).logits[0]
        total += F.cross_entropy(logits, row[1:], reduction="sum").item()
    assert validation_loss(model, tokens, batch_size=3) == pytest.approx(total / (len(tokens) - 1), rel=1e-6)


def test_training_learns_and_is_repeatable(tmp_path: Path):
    longer = replace(TRAINER, steps=40, evaluate_every=40)
    model, run = trained(tmp_path / "a", longer)
    again, _ = trained(tmp_path / "b", longer)
    losses = [line["loss"] for line in run.history()]
    assert losses[0] == pytest.approx(math.log(320), abs=0.5)
    assert losses[-1] < losses[0] - 1.5
    assert all(torch.equal(a, b) for a, b in zip(model.parameters(), again.parameters(), strict=True))


def test_parts_of_a_batch_add_up_to_the_whole():
    model = build_model(SHAPE, tiny_tokenizer(), seed=3)
    loss_of = pretraining.NextTokenLoss(model, "fp32")
    inputs, targets = Windows(np.arange(300) % 300, SHAPE.context, seed=1).batch(0, 8)
    gradients = []
    for n_parts in (1, 4):
        model.zero_grad()
        loss = pretraining.accumulate_gradients(loss_of, inputs, targets, n_parts)
        gradients.append([parameter.grad.clone() for parameter in model.parameters() if parameter.grad is not None])
        assert loss == pytest.approx(math.log(320), abs=0.5)
    assert len(gradients[0]) == len(list(model.parameters()))
    for whole, summed in zip(*gradients, strict=True):
        torch.testing.assert_close(summed, whole, rtol=1e-4, atol=1e-7)


def test_an_interrupted_run_resumes_to_the_same_weights(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    whole, run = trained(tmp_path / "whole")
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    real = pretraining.accumulate_gradients

    def interrupted_at_the_eighth(*args: Any) -> float:
        calls.append(1)
        if len(calls) == 8:
            signal.raise_signal(signal.SIGINT)
        return real(*args)

    calls: list[int] = []
    monkeypatch.setattr(pretraining, "accumulate_gradients", interrupted_at_the_eighth)
    try:
        with pytest.raises(KeyboardInterrupt):
            trained(tmp_path / "cut")
    finally:
        signal.signal(signal.SIGINT, before)
    monkeypatch.setattr(pretraining, "accumulate_gradients", real)
    resumed, second = trained(tmp_path / "cut", resume="latest")
    assert len(calls) == 8
    assert all(torch.equal(a, b) for a, b in zip(whole.parameters(), resumed.parameters(), strict=True))
    drop = "tokens_per_second"
    assert [{k: v for k, v in line.items() if k != drop} for line in second.history()] == [
        {k: v for k, v in line.items() if k != drop} for line in run.history()
    ]


def test_a_loss_that_is_no_number_ends_the_training(tmp_path: Path):
    with pytest.raises(UserError) as raised:
        trained(tmp_path, replace(TRAINER, learning_rate=1e30, clip_norm=0))
    assert "training diverged. Lower --trainer.learning_rate" in str(raised.value)
