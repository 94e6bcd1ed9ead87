"""Muon against PyTorch's and against the singular value decomposition; schedules; exact resumption."""

import io
import itertools
import math
from typing import Any

import pytest
import torch
from torch import nn

from transformer_from_scratch.config import ModelConfig, TrainerConfig
from transformer_from_scratch.models import Classifier, DecoderLM, EncoderDecoder, MaskedLM
from transformer_from_scratch.optimizers import (
    NEWTON_SCHULZ,
    POLAR_EXPRESS,
    Muon,
    build_optimizers,
    is_hidden_matrix,
    learning_rate_factor,
    orthogonalize,
    set_learning_rate,
)

VOCAB = 11


@pytest.fixture(autouse=True)
def _seed():
    torch.manual_seed(0)


def config_of(**options) -> ModelConfig:
    return ModelConfig(n_layers=1, d_model=8, n_heads=2, d_hidden=12, context=8, **options)


# --- Newton-Schulz --------------------------------------------------------------------------------


@pytest.mark.parametrize("shape", [(6, 6), (4, 9), (9, 4), (1, 5), (3, 5, 7)], ids=str)
def test_orthogonalize_keeps_singular_vectors_and_sets_singular_values_near_one(shape):
    matrices = 30 * torch.randn(shape, dtype=torch.float64)
    result = orthogonalize(matrices)
    u, _, vh = torch.linalg.svd(matrices, full_matrices=False)
    in_the_same_basis = u.mT @ result @ vh.mT
    values = in_the_same_basis.diagonal(dim1=-2, dim2=-1)
    torch.testing.assert_close(in_the_same_basis, torch.diag_embed(values), rtol=0, atol=1e-10)
    assert values.min() > 0.68
    assert values.max() < 1.14


def test_orthogonalize_is_the_quintic_on_singular_values():
    u, _ = torch.linalg.qr(torch.randn(5, 5, dtype=torch.float64))
    v, _ = torch.linalg.qr(torch.randn(5, 5, dtype=torch.float64))
    values = torch.tensor([8.0, 4.0, 1.0, 0.5, 0.001], dtype=torch.float64)
    result = orthogonalize(u * values @ v.mT, NEWTON_SCHULZ[:3])
    s = values / values.norm()
    for _ in range(3):
        s = 3.4445 * s - 4.7750 * s**3 + 2.0315 * s**5
    torch.testing.assert_close(result, u * s @ v.mT, rtol=0, atol=1e-6)


def test_polar_express_lifts_small_singular_values_faster():
    u, _ = torch.linalg.qr(torch.randn(32, 32, dtype=torch.float64))
    values = torch.logspace(0, -3, 32, dtype=torch.float64)
    polar, newton = (
        torch.linalg.svdvals(orthogonalize(u * values, polynomials))
        for polynomials in (POLAR_EXPRESS, NEWTON_SCHULZ[:3])
    )
    assert polar.min() > 3 * newton.min()
    assert polar.max() < 1.9


def test_config_chooses_the_iteration():
    model = nn.Linear(4, 4)
    for name, polynomials in (("polar_express", POLAR_EXPRESS), ("newton_schulz", NEWTON_SCHULZ)):
        muon = build_optimizers(model, TrainerConfig(muon_iteration=name))[-1]
        assert isinstance(muon, Muon)
        assert muon.polynomials == polynomials


def test_orthogonalize_of_zero_is_zero():
    assert orthogonalize(torch.zeros(3, 4)).abs().max() == 0


# --- Muon -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("weight_decay", [0.0, 0.3])
@pytest.mark.parametrize("momentum", [0.95, 0.5])
def test_equals_torch_muon_step_for_step(monkeypatch, weight_decay, momentum):
    # PyTorch's iteration runs in bfloat16, which would hide all but gross differences: let it run in float32.
    monkeypatch.setattr(torch.Tensor, "bfloat16", torch.Tensor.clone)
    ours = [nn.Parameter(torch.randn(shape)) for shape in ((6, 4), (4, 6), (5, 5), (6, 4))]
    theirs = [nn.Parameter(parameter.detach().clone()) for parameter in ours]
    settings = {"lr": 0.05, "momentum": momentum, "weight_decay": weight_decay}
    optimizer = Muon(ours, **settings)
    peer = torch.optim.Muon(theirs, **settings, nesterov=True, adjust_lr_fn="original")
    for step in range(6):
        for index, (a, b) in enumerate(zip(ours, theirs, strict=True)):
            # One matrix has no gradient in some steps; its momentum must stay as it is.
            a.grad = None if index == 3 and step % 2 else torch.randn(a.shape)
            b.grad = None if a.grad is None else a.grad.clone()
        optimizer.step()
        peer.step()
        for a, b in zip(ours, theirs, strict=True):
            torch.testing.assert_close(a, b, rtol=0, atol=1e-5)


@pytest.mark.parametrize("shape", [(5,), (2, 3, 4)])
def test_muon_refuses_what_is_no_matrix(shape):
    with pytest.raises(ValueError) as error:
        Muon([nn.Parameter(torch.zeros(shape))])
    assert str(error.value) == f"Muon takes matrices, not a parameter of shape {shape}"


# --- which parameter goes where -------------------------------------------------------------------

ATTENTION = ["query", "key", "value", "output"]


def hidden_matrices(model: nn.Module) -> set[str]:
    return {name for name, parameter in model.named_parameters() if is_hidden_matrix(name, parameter)}


def block_matrices(prefix: str, feed_forward: list[str], attentions: tuple[str, ...] = ("attention",)) -> set[str]:
    names = [f"{attention}.{name}" for attention in attentions for name in ATTENTION]
    return {f"{prefix}.blocks.0.{name}.weight" for name in names + [f"feed_forward.{n}" for n in feed_forward]}


def test_muon_takes_the_hidden_matrices_of_a_decoder():
    config = config_of(
        positions="learned", activation="swiglu", bias=True, tie_embeddings=False, ngram_orders=(2,), ngram_width=4
    )
    expected = block_matrices("stack", ["up", "gate", "down"]) | {"ngrams.projection.weight"}
    assert hidden_matrices(DecoderLM(config, VOCAB)) == expected


def test_muon_takes_experts_but_not_their_router():
    expected = block_matrices("stack", [f"experts.{e}.{name}" for e in range(3) for name in ("up", "down")])
    assert hidden_matrices(DecoderLM(config_of(n_experts=3), VOCAB)) == expected


def test_muon_takes_the_hidden_matrices_of_the_other_models():
    config, encoder_block = config_of(bias=True), block_matrices("encoder.stack", ["up", "down"])
    assert hidden_matrices(MaskedLM(config, VOCAB)) == encoder_block | {"transform.weight"}
    assert hidden_matrices(Classifier(config, VOCAB, 2)) == encoder_block
    assert hidden_matrices(EncoderDecoder(config, VOCAB)) == block_matrices("encoder", ["up", "down"]) | block_matrices(
        "decoder", ["up", "down"], ("attention", "cross_attention")
    )


def groups_by_name(model: nn.Module, config: TrainerConfig) -> dict[str, tuple[str, float, float, float]]:
    """Parameter name -> its optimizer, learning rate, peak and weight decay. Fails if a parameter is in two groups."""
    names = {id(parameter): name for name, parameter in model.named_parameters()}
    found: dict[str, tuple[str, float, float, float]] = {}
    for optimizer in build_optimizers(model, config):
        for group in optimizer.param_groups:
            for parameter in group["params"]:
                name = names[id(parameter)]
                assert name not in found
                kind = type(optimizer).__name__
                found[name] = (kind, group["lr"], group["peak_lr"], group["weight_decay"])
    return found


SETTINGS: dict[str, Any] = {"learning_rate": 1e-3, "muon_learning_rate": 0.02, "weight_decay": 0.1}


@pytest.mark.parametrize("optimizer", ["muon", "adamw"])
def test_every_parameter_has_its_optimizer_and_matrices_decay(optimizer):
    model = DecoderLM(config_of(positions="learned", bias=True), VOCAB)
    found = groups_by_name(model, TrainerConfig(optimizer=optimizer, **SETTINGS))
    for name, parameter in model.named_parameters():
        if optimizer == "muon" and is_hidden_matrix(name, parameter):
            assert found[name] == ("Muon", 0.02, 0.02, 0.1)
        else:
            assert found[name] == ("AdamW", 1e-3, 1e-3, 0.1 if parameter.dim() == 2 else 0.0)
    assert len(found) == len(list(model.parameters()))


def test_frozen_parameters_are_left_out_and_betas_passed_on():
    model = DecoderLM(config_of(), VOCAB)
    model.tokens.requires_grad_(False)
    config = TrainerConfig(optimizer="adamw", beta1=0.8, beta2=0.95)
    assert "tokens.embedding.weight" not in groups_by_name(model, config)
    (optimizer,) = build_optimizers(model, config)
    assert all(group["betas"] == (0.8, 0.95) for group in optimizer.param_groups)


# --- schedules ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("schedule", "expected"),
    [
        # Steps 0, 3 (last of the warm-up), 4, 5, 12 (half-way), 16, 19, and 20, which no longer happens.
        ("cosine", [0.25, 1, 1, None, 0.55, None, None, 0.1]),
        ("wsd", [0.25, 1, 1, 1, 1, 0.55, 0.2125, 0.1]),
        ("constant", [0.25, 1, 1, 1, 1, 1, 1, 1]),
    ],
)
def test_schedules_at_their_borders(schedule, expected):
    config = TrainerConfig(steps=20, warmup_steps=4, schedule=schedule, decay_share=0.4, final_lr_share=0.1)
    for step, factor in zip((0, 3, 4, 5, 12, 16, 19, 20), expected, strict=True):
        if factor is not None:
            assert learning_rate_factor(step, config) == pytest.approx(factor), step


def test_cosine_is_the_formula():
    config = TrainerConfig(steps=20, warmup_steps=4, schedule="cosine", final_lr_share=0.1)
    for step in range(4, 20):
        expected = 0.1 + 0.9 * math.cos(math.pi * (step - 4) / 16 / 2) ** 2
        assert learning_rate_factor(step, config) == pytest.approx(expected)


@pytest.mark.parametrize("schedule", ["cosine", "wsd", "constant"])
@pytest.mark.parametrize("steps", [1, 2, 7])
@pytest.mark.parametrize("warmup_steps", [0, 1, 7, 100])
def test_every_step_of_every_length_learns(schedule, steps, warmup_steps):
    config = TrainerConfig(steps=steps, warmup_steps=warmup_steps, schedule=schedule, decay_share=1.0)
    factors = [learning_rate_factor(step, config) for step in range(steps)]
    assert all(0 < factor <= 1 for factor in factors)
    top = factors.index(max(factors))
    assert factors[: top + 1] == sorted(factors[: top + 1])
    assert factors[top:] == sorted(factors[top:], reverse=True)


def test_a_warm_up_that_reaches_into_the_decay_leaves_no_jump():
    config = TrainerConfig(steps=100, warmup_steps=80, schedule="wsd", decay_share=0.5)
    factors = [learning_rate_factor(step, config) for step in range(100)]
    assert max(factors) == pytest.approx(0.775)  # in step 61: 62 / 80, just below (100 - 61) / 50
    assert max(abs(a - b) for a, b in itertools.pairwise(factors)) <= 1 / 50 + 1e-12


def test_set_learning_rate_scales_each_groups_peak():
    optimizers = build_optimizers(DecoderLM(config_of(), VOCAB), TrainerConfig(**SETTINGS))
    for factor in (0.5, 0.25):  # of the peak each time, not of each other
        set_learning_rate(optimizers, factor)
        rates = {group["lr"] for optimizer in optimizers for group in optimizer.param_groups}
        assert rates == {1e-3 * factor, 0.02 * factor}


# --- resumption -----------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["muon", "adamw"])
def test_saved_and_loaded_optimizers_continue_bit_for_bit(kind):
    trainer = TrainerConfig(steps=8, warmup_steps=2, optimizer=kind, **SETTINGS)
    batches = torch.randint(0, VOCAB, (8, 2, 2, 8))

    def start() -> tuple[DecoderLM, list[torch.optim.Optimizer]]:
        model = DecoderLM(config_of(bias=True, n_experts=2), VOCAB)
        return model, build_optimizers(model, trainer)

    def train(model: DecoderLM, optimizers: list[torch.optim.Optimizer], steps: range) -> None:
        for step in steps:
            set_learning_rate(optimizers, learning_rate_factor(step, trainer))
            model.zero_grad()
            tokens, targets = batches[step]
            model.loss(tokens, targets).backward()
            for optimizer in optimizers:
                optimizer.step()

    model, optimizers = start()
    train(model, optimizers, range(4))
    file = io.BytesIO()
    torch.save([model.state_dict(), *(optimizer.state_dict() for optimizer in optimizers)], file)
    train(model, optimizers, range(4, 8))

    resumed, fresh_optimizers = start()
    file.seek(0)
    model_state, *optimizer_states = torch.load(file, weights_only=True)
    resumed.load_state_dict(model_state)
    for optimizer, state in zip(fresh_optimizers, optimizer_states, strict=True):
        optimizer.load_state_dict(state)
    train(resumed, fresh_optimizers, range(4, 8))
    for (name, expected), actual in zip(model.named_parameters(), resumed.parameters(), strict=True):
        assert torch.equal(actual, expected), name
