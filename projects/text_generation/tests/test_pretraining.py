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
from transformers import GPT2Config, GPT2LMHeadModel
from transformers.models.gpt2.modeling_gpt2 import GPT2Attention

from roadmap_shared.config import RunConfig
from roadmap_shared.errors import UserError
from roadmap_shared.runs import Run, start_run
from text_generation.config.commands import GenerationConfig
from text_generation.config.data import TokenizerConfig
from text_generation.config.training import ModelConfig, TrainerConfig
from text_generation.tokenizer import train_tokenizer
from text_generation.training import pretraining
from text_generation.training.model import build_model
from text_generation.training.optimization import build_optimizers, learning_rate_factor, set_learning_rate
from text_generation.training.packing import IGNORED, DocumentWindows, Packing, StreamWindows, best_fit, pack, pieces_of
from text_generation.training.pretraining import encoded_corpus, pretrain, validation_loss

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
        pretrain(model, encoded_corpus(TEXTS[:30], TEXTS[30:], tokenizer), trainer, run)
        return model, run


def test_documents_are_joined_with_an_end_after_each():
    assert pack([[5, 6], [], [7]], end=0).tolist() == [5, 6, 0, 0, 7, 0]
    assert pack([], end=0).tolist() == []


@given(n=st.integers(40, 300), context=st.integers(4, 16), seed=st.integers(0, 99))
def test_an_epoch_visits_every_window_once(n: int, context: int, seed: int):
    windows = StreamWindows(np.arange(n), context, seed)
    starts = windows.starts_of_epoch(0)
    assert len(set(starts.tolist())) == len(starts) == windows.per_epoch
    assert len({start % context for start in starts.tolist()}) == 1
    assert starts.min() >= 0
    assert starts.max() + context < n


def test_a_batch_is_a_function_of_seed_and_step():
    windows = StreamWindows(np.arange(100), 8, seed=1)
    inputs, targets, positions = windows.batch(3, 4)
    assert inputs.shape == targets.shape == positions.shape == (4, 8)
    assert torch.equal(inputs + 1, targets)
    assert positions.tolist() == [list(range(8))] * 4
    windows.batch(9, 4)
    assert torch.equal(windows.batch(3, 4).inputs, inputs)
    assert not torch.equal(StreamWindows(np.arange(100), 8, seed=2).batch(3, 4).inputs, inputs)


def test_a_stream_without_a_window_is_refused(tmp_path: Path):
    with pytest.raises(ValueError, match="32 tokens are too few for windows of 16"):
        StreamWindows(np.arange(32), 16, seed=1)
    tokenizer = tiny_tokenizer()
    corpus = encoded_corpus(["Mira"], ["Otto"], tokenizer)
    with pytest.raises(UserError) as raised:
        pretraining.training_windows(corpus, 64, "stream", seed=1)
    n_tokens = len(corpus.train[0]) + 1
    assert str(raised.value) == (
        f"the training texts: {n_tokens} tokens are too few for windows of 64. Give more text, or a smaller "
        "--model.context"
    )
    with pytest.raises(UserError) as raised:
        pretraining.training_windows(replace(corpus, train=[[]]), 64, "documents", seed=1)
    assert str(raised.value) == (
        "the training texts: there is no token to predict. Give more text, or a smaller --model.context"
    )


@given(st.lists(st.integers(1, 12), max_size=40))
def test_bins_hold_every_item_once_and_no_two_of_them_fit_into_one(lengths: list[int]):
    bins = best_fit(lengths, 12)
    assert sorted(item for members in bins for item in members) == list(range(len(lengths)))
    filled = sorted(sum(lengths[item] for item in members) for members in bins)
    assert all(total <= 12 for total in filled)
    # The promise of every any-fit rule: two bins that fit into one would not both have been opened.
    assert all(a + b > 12 for a, b in pairwise(filled))


def test_a_long_document_is_cut_so_that_every_token_is_predicted_once():
    assert pieces_of([1, 2, 3, 4, 5, 6, 7, 8], 4) == [[1, 2, 3, 4], [4, 5, 6, 7], [7, 8]]
    assert pieces_of([1, 2, 3, 4], 4) == [[1, 2, 3, 4]]
    assert pieces_of([1], 4) == []


@given(st.lists(st.lists(st.integers(1, 9), max_size=20), max_size=12).filter(any), st.integers(2, 8))
def test_document_windows_hold_each_document_once_and_count_its_positions_from_0(rows: list[list[int]], context: int):
    windows = DocumentWindows(rows, context, end=0, seed=5)
    found: list[tuple[int, ...]] = []
    for inputs, targets, positions in zip(*(tensor.tolist() for tensor in windows.all), strict=True):
        n = sum(target != IGNORED for target in targets)
        assert targets[n:] == [IGNORED] * (context - n)
        starts = [place for place in range(n) if positions[place] == 0]
        for start, stop in pairwise([*starts, n]):
            assert positions[start:stop] == list(range(stop - start))
            assert inputs[start + 1 : stop] == targets[start : stop - 1]
            found.append((*inputs[start:stop], targets[stop - 1]))
        assert positions[n:] == list(range(context - n))
    # Each with its end behind it, and every fourth with one before it: a start from nothing is learned as well.
    whole = [[*row, 0] if number % 4 < 3 else [0, *row, 0] for number, row in enumerate(rows)]
    assert sorted(found) == sorted(tuple(piece) for row in whole for piece in pieces_of(row, context + 1))
    order = windows.order_of_epoch(0)
    assert sorted(order.tolist()) == list(range(windows.per_epoch))


def test_a_document_that_fits_is_never_cut():
    rows = [[1] * 5, [2] * 3, [3] * 3, [4] * 8]
    windows = DocumentWindows(rows, context=9, end=0, seed=1)
    # The fourth has an end before it: 9 places. The others take 5, 3 and 3, of which 5 + 3 go into one window.
    assert windows.per_epoch == 3
    assert {frozenset(inputs) - {0} for inputs in windows.all.inputs.tolist()} in (
        {frozenset({4}), frozenset({1, 2}), frozenset({3})},
        {frozenset({4}), frozenset({1, 3}), frozenset({2})},
    )
    assert windows.filled == pytest.approx((9 + 5 + 3 + 3) / 27)


def test_documents_in_one_window_do_not_see_each_other():
    documents = [[5, 6, 7], [8, 9, 10, 11]]
    model = build_model(SHAPE, tiny_tokenizer(), seed=1).eval()
    (inputs,), _, (positions,) = DocumentWindows(documents, context=16, end=0, seed=1).all
    with torch.no_grad():
        together = model(input_ids=inputs[None], position_ids=positions[None], use_cache=False).logits[0]
        for document in documents:
            start = inputs.tolist().index(document[0])
            alone = model(torch.tensor([document])).logits[0]
            torch.testing.assert_close(together[start : start + len(document)], alone)


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
    # Embeddings are not decayed, and learn at a share of the rate.
    assert {group["weight_decay"] for group in adamw.param_groups} == {0.0}
    set_learning_rate([adamw, muon], 0.01)
    assert {group["lr"] for group in adamw.param_groups} == {0.01 * TRAINER.embedding_share}
    assert {group["lr"] for group in muon.param_groups} == {0.01}
    (alone,) = build_optimizers(model, replace(TRAINER, optimizer="adamw"))
    assert sum(len(group["params"]) for group in alone.param_groups) == len(names)
    decayed = {names[id(p)] for group in alone.param_groups if group["weight_decay"] for p in group["params"]}
    assert decayed == by_muon
    set_learning_rate([alone], 0.01)
    assert {group["lr"] for group in alone.param_groups} == {0.01}


@pytest.mark.parametrize("packing", ["stream", "documents"])
def test_the_validation_loss_is_the_mean_over_all_held_out_tokens(packing: Packing):
    tokenizer = tiny_tokenizer()
    model = build_model(SHAPE, tokenizer, seed=1).eval()
    corpus = encoded_corpus(TEXTS[:1], TEXTS[30:], tokenizer)
    held_out = pretraining.validation_windows(corpus, SHAPE.context, packing)
    if packing == "documents":
        documents = [
            [*[corpus.end] * (number % 4 == 3), *row, corpus.end] for number, row in enumerate(corpus.validation)
        ]
        cut = [piece for row in documents for piece in pieces_of(row, SHAPE.context + 1)]
    else:
        stream = [token for row in corpus.validation for token in [*row, corpus.end]]
        cut = [stream[start : start + SHAPE.context + 1] for start in range(0, len(stream) - 1, SHAPE.context)]
    total, n = 0.0, 0
    for row in cut:
        ids = torch.tensor(row)
        with torch.no_grad():
            logits = model(ids[None, :-1]).logits[0]
        total, n = total + F.cross_entropy(logits, ids[1:], reduction="sum").item(), n + len(ids) - 1
    assert validation_loss(model, held_out, batch_size=3) == pytest.approx(total / n, rel=1e-6)


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
    batch = StreamWindows(np.arange(300) % 300, SHAPE.context, seed=1).batch(0, 8)
    gradients, losses = [], []
    for n_parts in (1, 4):
        model.zero_grad()
        loss = pretraining.accumulate_gradients(loss_of, batch, n_parts)
        gradients.append([parameter.grad.clone() for parameter in model.parameters() if parameter.grad is not None])
        losses.append(loss)
    assert losses[0] == pytest.approx(losses[1], rel=1e-6)
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


def test_position_embeddings_begin_as_waves_of_the_size_of_the_token_embeddings():
    model = build_model(ModelConfig(n_layers=1, width=64, n_heads=2, context=128), tiny_tokenizer(), seed=1)
    places, tokens = model.transformer.wpe.weight, model.transformer.wte.weight
    assert places.pow(2).mean().sqrt().item() == pytest.approx(1 / 8, rel=1e-5)
    assert tokens.pow(2).mean().sqrt().item() == pytest.approx(1 / 8, rel=0.02)
    # "Seven tokens ago" is one linear map for all places: what takes the even ones back does so for the odd ones.
    before, after = places[:-7].double(), places[7:].double()
    shift = torch.linalg.lstsq(after[::2], before[::2], driver="gelsd").solution
    torch.testing.assert_close(after[1::2] @ shift, before[1::2], rtol=0, atol=1e-3)


def test_attention_begins_as_copying():
    model = build_model(replace(SHAPE, n_layers=2), tiny_tokenizer(), seed=1)
    width, head = SHAPE.width, SHAPE.width // SHAPE.n_heads
    layers = [module for module in model.modules() if isinstance(module, GPT2Attention)]
    for layer in layers:
        values, output = layer.c_attn.weight[:, 2 * width :], layer.c_proj.weight
        # All heads together hand on what they read, COPYING / sqrt(2 x 2) = 4 times; each of them its own part of it.
        torch.testing.assert_close(values @ output, 4 * torch.eye(width), rtol=0, atol=1e-5)
        for start in range(0, width, head):
            one = values[:, start : start + head] @ output[start : start + head]
            expected = torch.tensor([0.0] * (width - head) + [4.0] * head)
            torch.testing.assert_close(torch.linalg.eigvalsh(one), expected, rtol=0, atol=1e-5)
    assert not torch.allclose(layers[0].c_proj.weight, layers[1].c_proj.weight)


def test_the_fused_activation_is_the_one_of_gpt_2():
    model = build_model(SHAPE, tiny_tokenizer(), seed=1).eval()
    config = GPT2Config(**{**model.config.to_dict(), "activation_function": "gelu_new"})
    original = GPT2LMHeadModel(config).eval()
    original.load_state_dict(model.state_dict())
    ids = torch.arange(12)[None]
    with torch.no_grad():
        torch.testing.assert_close(model(ids).logits, original(ids).logits, rtol=1e-5, atol=1e-6)


def test_mixed_precision_and_compilation_give_the_same_loss():
    """What `pretrain_gpu` switches on, on a CPU: the same batch of packed documents."""
    model = build_model(SHAPE, tiny_tokenizer(), seed=1)
    batch = DocumentWindows([[5, 6, 7], [8, 9, 10, 11], [12, 13]], context=16, end=0, seed=1).all
    assert (batch.positions == 0).sum() > 2  # several documents in one window
    plain = pretraining.NextTokenLoss(model, "fp32")(*batch)
    torch.testing.assert_close(pretraining.NextTokenLoss(model, "bf16")(*batch), plain, rtol=0, atol=0.02)
    compiled = torch.compile(pretraining.NextTokenLoss(model, "fp32"), backend="aot_eager")
    loss = compiled(*batch)
    torch.testing.assert_close(loss, plain)
    loss.backward()
    assert all(parameter.grad is not None for parameter in model.parameters())
