"""Decoding with an encoder-decoder: batches with caches against one source at a time without."""

from itertools import product
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from roadmap_shared.errors import UserError
from transformer_from_scratch.config import ModelConfig
from transformer_from_scratch.models import EncoderDecoder
from transformer_from_scratch.translate import translate_beam, translate_greedy

BOS, EOS, PAD = 0, 1, 2
SOURCES = [[7, 3, 9, 4], [5], [8, 8, 4, 6, 3, 7], [3, 9], [10, 6, 4], [9, 9, 9, 9, 9]]
MODELS: dict[str, dict[str, Any]] = {
    "rotary": {},
    "the paper's": {"positions": "sinusoidal", "norm_position": "post", "activation": "relu", "bias": True},
    "alibi, grouped queries": {"positions": "alibi", "n_kv_heads": 1, "qk_norm": True},
}


def build(vocab_size: int = 11, **settings: Any) -> EncoderDecoder:
    shape: dict[str, Any] = {"n_layers": 2, "d_model": 24, "n_heads": 2, "d_hidden": 48, "context": 14}
    shape["tie_embeddings"] = False
    with torch.random.fork_rng():
        torch.manual_seed(4)
        model = EncoderDecoder(ModelConfig(**shape | settings), vocab_size).eval()
        with torch.no_grad():  # large weights, so that a target depends on its source
            for parameter in model.parameters():
                if parameter.dim() > 1:
                    parameter *= 2
    return model


def right_pad(sources: list[list[int]]) -> tuple[Tensor, Tensor]:
    width = max(map(len, sources))
    tokens = torch.tensor([source + [PAD] * (width - len(source)) for source in sources])
    return tokens, torch.tensor([[i < len(source) for i in range(width)] for source in sources])


@torch.no_grad()
def one_by_one(model: EncoderDecoder, source: list[int], max_length: int) -> list[int]:
    """Greedy decoding of one source: the whole model for every token."""
    target: list[int] = []
    while len(target) < max_length and EOS not in target:
        target.append(int(model(torch.tensor([source]), torch.tensor([[BOS, *target]]))[0, -1].argmax()))
    return [token for token in target if token != EOS]


@torch.no_grad()
def log_prob(model: EncoderDecoder, source: list[int], target: tuple[int, ...]) -> float:
    logits = model(torch.tensor([source]), torch.tensor([[BOS, *target[:-1]]]))[0]
    return float(logits.log_softmax(-1)[range(len(target)), list(target)].sum())


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("max_length", [1, 10])
def test_greedy_in_a_batch_is_greedy_alone(name: str, max_length: int) -> None:
    model = build(**MODELS[name])
    expected = [one_by_one(model, source, max_length) for source in SOURCES]
    assert len({tuple(target) for target in expected}) > 1
    assert translate_greedy(model, *right_pad(SOURCES), bos=BOS, eos=EOS, max_length=max_length) == expected


def test_targets_of_all_lengths_end_where_they_would_alone() -> None:
    model = build()
    # The tokens in turn stand for the end, so that rows end early, late and never.
    lengths = set()
    for eos in range(11):
        plain = translate_greedy(model, *right_pad(SOURCES), bos=BOS, eos=99, max_length=10)
        expected = [target[: target.index(eos)] if eos in target else target for target in plain]
        lengths |= {len(target) for target in expected}
        assert translate_greedy(model, *right_pad(SOURCES), bos=BOS, eos=eos, max_length=10) == expected
    assert {0, 10} < lengths


def test_greedy_drops_rows_that_have_ended_and_stops_with_the_last() -> None:
    model = build()
    candidates = torch.randint(3, 11, (60, 4), generator=torch.Generator().manual_seed(0))
    plain = translate_greedy(model, candidates, bos=BOS, eos=99, max_length=10)
    # The token that makes the most different lengths stands for the end.
    eos = max(range(11), key=lambda token: len({target.index(token) for target in plain if token in target}))
    chosen = [row for row, target in enumerate(plain) if eos in target]
    rows = lengths = [plain[row].index(eos) + 1 for row in chosen]
    assert len(set(lengths)) > 4
    n_rows: list[int] = []
    model.tokens.register_forward_hook(lambda _, inputs, __: n_rows.append(len(inputs[0])))
    translate_greedy(model, candidates[chosen], bos=BOS, eos=eos, max_length=10)
    expected = [len(chosen)]  # the encoder's pass, then one a step
    for step in range(max(lengths)):
        running = [length for length in rows if length > step]
        rows = running if len(running) <= len(rows) // 2 else rows
        expected.append(len(rows))
    assert n_rows == expected


@pytest.mark.parametrize("name", MODELS)
def test_one_beam_is_greedy(name: str) -> None:
    model = build(**MODELS[name])
    greedy = translate_greedy(model, *right_pad(SOURCES), bos=BOS, eos=EOS, max_length=10)
    found = translate_beam(model, *right_pad(SOURCES), bos=BOS, eos=EOS, max_length=10, n_beams=1)
    assert [hypothesis.tokens for hypothesis in found] == greedy


@pytest.mark.parametrize("alpha", [0.0, 0.6, 2.0])
def test_with_enough_beams_each_target_of_a_batch_is_the_best_there_is(alpha: float) -> None:
    model = build(vocab_size=4)
    sources = [[3, 0, 3, 2], [1], [2, 1], [0, 0, 3]]
    every = {tokens[: tokens.index(EOS) + 1] if EOS in tokens else tokens for tokens in product(range(4), repeat=3)}
    found = translate_beam(model, *right_pad(sources), bos=BOS, eos=EOS, max_length=3, n_beams=64, length_penalty=alpha)
    assert len({tuple(hypothesis.tokens) for hypothesis in found}) > 1
    for source, hypothesis in zip(sources, found, strict=True):
        scores = {target: log_prob(model, source, target) / ((5 + len(target)) / 6) ** alpha for target in every}
        best = max(scores, key=lambda target: scores[target])
        assert hypothesis.tokens == [token for token in best if token != EOS]
        assert hypothesis.score == pytest.approx(scores[best], abs=1e-5)


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("n_beams", [2, 4])
def test_beams_in_a_batch_are_beams_alone(name: str, n_beams: int) -> None:
    model = build(**MODELS[name])
    for eos in (EOS, 5):  # sources that are settled at different steps leave the batch
        together = translate_beam(model, *right_pad(SOURCES), bos=BOS, eos=eos, max_length=10, n_beams=n_beams)
        for source, found in zip(SOURCES, together, strict=True):
            (alone,) = translate_beam(model, torch.tensor([source]), bos=BOS, eos=eos, max_length=10, n_beams=n_beams)
            assert found.tokens == alone.tokens
            assert found.score == pytest.approx(alone.score, abs=1e-5)
            ended = (*found.tokens, eos) if len(found.tokens) < 10 else tuple(found.tokens)
            assert found.log_prob == pytest.approx(log_prob(model, source, ended), abs=1e-4)


def test_the_source_is_projected_once_a_layer() -> None:
    model = build()
    cross = model.decoder.blocks[0].cross_attention
    assert isinstance(cross, nn.Module)
    widths: list[int] = []
    assert isinstance(cross.key, nn.Linear)
    cross.key.register_forward_hook(lambda _, inputs, __: widths.append(inputs[0].shape[1]))
    translate_greedy(model, *right_pad(SOURCES), bos=BOS, eos=99, max_length=6)
    translate_beam(model, *right_pad(SOURCES), bos=BOS, eos=99, max_length=6, n_beams=3)
    assert widths == [6, 6]


def test_dropout_is_off_while_decoding_and_back_on_afterwards() -> None:
    model = build(dropout=0.5).train()
    expected = [one_by_one(build(), source, 6) for source in SOURCES]
    assert translate_greedy(model, *right_pad(SOURCES), bos=BOS, eos=EOS, max_length=6) == expected
    assert model.training


@pytest.mark.parametrize(("source_length", "max_length"), [(15, 5), (3, 15), (3, 0)])
def test_what_does_not_fit_the_context_is_refused(source_length: int, max_length: int) -> None:
    source = torch.full((2, source_length), 5)
    with pytest.raises(UserError) as error:
        translate_greedy(build(), source, bos=BOS, eos=EOS, max_length=max_length)
    assert str(error.value) == (
        f"a source of {source_length} tokens or a target of up to {max_length} is outside the model's context of "
        "1 to 14: shorten it, or train with a larger context"
    )
