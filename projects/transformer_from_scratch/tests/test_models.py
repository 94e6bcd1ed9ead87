"""The decoder-only model: what it may see, its loss, its first weights; Llama as the oracle of the whole."""

import math

import pytest
import torch
import torch.nn.functional as F
from torch import nn
from transformers import LlamaConfig, LlamaForCausalLM

from transformer_from_scratch.config import ModelConfig
from transformer_from_scratch.feed_forward import MixtureOfExperts
from transformer_from_scratch.models import (
    IGNORED,
    DecoderLM,
    count_parameters,
)

VOCAB = 17
VARIANTS = {
    "sinusoidal": {"positions": "sinusoidal"},
    "learned": {"positions": "learned", "bias": True},
    "rotary": {"positions": "rotary", "n_kv_heads": 2},
    "alibi": {"positions": "alibi", "n_kv_heads": 1},
    "none": {"positions": "none"},
    "modern": {"norm": "rms", "activation": "swiglu", "qk_norm": True, "ngram_orders": (2, 3), "ngram_width": 6},
    "post-norm": {"norm_position": "post", "positions": "sinusoidal", "scale_embeddings": True},
    "experts": {"n_experts": 4, "tie_embeddings": False},
}


@pytest.fixture(autouse=True)
def _seed():
    torch.manual_seed(0)


def config_of(**options) -> ModelConfig:
    sizes = {"n_layers": 2, "d_model": 24, "n_heads": 4, "d_hidden": 40, "context": 16}
    return ModelConfig(**{**sizes, **options})


def model_of(**options) -> DecoderLM:
    """In float64, where 1e-12 tells a wrong meaning from a rounding; attention far from uniform."""
    model = DecoderLM(config_of(**options), VOCAB)
    for name, parameter in model.named_parameters():
        if parameter.dim() == 1:
            nn.init.normal_(parameter, mean=0.5)
        elif ".query." in name or ".key." in name:
            parameter.data.mul_(1.5)
    return model.double().eval()


def random_tokens(*shape: int) -> torch.Tensor:
    return torch.randint(0, VOCAB, shape)


@pytest.mark.parametrize("options", VARIANTS.values(), ids=VARIANTS)
def test_no_token_sees_a_later_one(options):
    model, tokens = model_of(**options), random_tokens(2, 9)
    logits = model(tokens)
    for position in (1, 5, 8):
        changed = tokens.clone()
        changed[:, position:] = (changed[:, position:] + 1) % VOCAB
        other = model(changed)
        torch.testing.assert_close(other[:, :position], logits[:, :position], rtol=0, atol=1e-12)
        assert (other[:, position:] - logits[:, position:]).abs().amax(dim=-1).min() > 1e-3


@pytest.mark.parametrize("options", VARIANTS.values(), ids=VARIANTS)
def test_every_token_sees_all_earlier_ones(options):
    model, tokens = model_of(**options), random_tokens(1, 9)
    logits = model(tokens)
    for position in range(8):
        changed = tokens.clone()
        changed[:, position] = (changed[:, position] + 1) % VOCAB
        assert (model(changed)[:, position:] - logits[:, position:]).abs().amax(dim=-1).min() > 1e-6


@pytest.mark.parametrize("options", VARIANTS.values(), ids=VARIANTS)
def test_padding_on_either_side_changes_nothing(options):
    model, tokens = model_of(**options), random_tokens(1, 6)
    logits = model(tokens)
    for n_left, n_right in ((3, 0), (0, 3), (2, 4)):
        padding = random_tokens(1, n_left), random_tokens(1, n_right)
        padded = torch.cat((padding[0], tokens, padding[1]), dim=1)
        is_token = torch.zeros(1, padded.shape[1], dtype=torch.bool)
        is_token[:, n_left : n_left + 6] = True
        # A second row without padding, for a batch of mixed lengths.
        batch = torch.cat((padded, random_tokens(1, padded.shape[1])))
        alone = model(batch[1:])
        both = model(batch, is_token=torch.cat((is_token, torch.ones_like(is_token))))
        assert both.isfinite().all()
        torch.testing.assert_close(both[:1, n_left : n_left + 6], logits, rtol=0, atol=1e-12)
        torch.testing.assert_close(both[1:], alone, rtol=0, atol=1e-12)


@pytest.mark.parametrize("name", ["sinusoidal", "learned", "rotary", "alibi"])
def test_positions_matter_and_without_them_only_the_set_does(name):
    tokens = torch.tensor([[1, 2, 3, 4, 5, 6]])
    swapped = torch.tensor([[3, 1, 2, 5, 4, 6]])
    # One layer: deeper ones learn order from the causal mask.
    model, blind = model_of(positions=name, n_layers=1), model_of(positions="none", n_layers=1)
    assert (model(tokens) - model(swapped))[:, -1].abs().max() > 1e-3
    torch.testing.assert_close(blind(tokens)[:, -1], blind(swapped)[:, -1], rtol=0, atol=1e-12)


def test_equals_llama():
    """Rotary positions, RMS norm, SwiGLU, grouped queries, untied head: the whole model, same weights."""
    llama = LlamaForCausalLM(
        LlamaConfig(
            vocab_size=VOCAB,
            hidden_size=24,
            intermediate_size=40,
            num_hidden_layers=2,
            num_attention_heads=4,
            num_key_value_heads=2,
            max_position_embeddings=16,
            initializer_range=0.3,
        )
    ).eval()
    ours = DecoderLM(config_of(n_kv_heads=2, norm="rms", activation="swiglu", tie_embeddings=False), VOCAB).eval()

    def interleaved(weight: torch.Tensor) -> torch.Tensor:
        """Llama rotates feature i of a head with i + D/2, we with its neighbour."""
        return weight.unflatten(0, (-1, 2, 3)).transpose(1, 2).flatten(0, 2)

    theirs = llama.state_dict()
    mapped = {"tokens.embedding.weight": theirs["model.embed_tokens.weight"]}
    mapped["tokens.head.weight"] = theirs["lm_head.weight"]
    mapped["stack.norm.weight"] = theirs["model.norm.weight"]
    for layer in range(2):
        source, target = f"model.layers.{layer}", f"stack.blocks.{layer}"
        for name in ("query", "key", "value", "output"):
            weight = theirs[f"{source}.self_attn.{name[0]}_proj.weight"]
            rotated = name in ("query", "key")
            mapped[f"{target}.attention.{name}.weight"] = interleaved(weight) if rotated else weight
        for name in ("gate", "up", "down"):
            mapped[f"{target}.feed_forward.{name}.weight"] = theirs[f"{source}.mlp.{name}_proj.weight"]
        mapped[f"{target}.attention_residual.norm.weight"] = theirs[f"{source}.input_layernorm.weight"]
        mapped[f"{target}.feed_forward_residual.norm.weight"] = theirs[f"{source}.post_attention_layernorm.weight"]
    ours.load_state_dict(mapped)
    tokens = random_tokens(2, 12)
    torch.testing.assert_close(ours(tokens), llama(tokens).logits, rtol=1e-5, atol=1e-5)


def test_attention_maps_are_collected_block_by_block():
    model, tokens = model_of(n_kv_heads=2), random_tokens(2, 5)
    maps: list[torch.Tensor] = []
    logits = model(tokens, attention_maps=maps)
    torch.testing.assert_close(logits, model(tokens), rtol=0, atol=1e-12)
    assert [tuple(weights.shape) for weights in maps] == [(2, 4, 5, 5)] * 2
    for weights in maps:
        torch.testing.assert_close(weights.sum(dim=-1), torch.ones(2, 4, 5).double())
        assert weights.triu(1).abs().max() == 0


@pytest.mark.parametrize("name", ["sinusoidal", "learned", "rotary"])
def test_longer_than_the_context_is_refused(name):
    model = model_of(positions=name)
    assert model(random_tokens(1, 16)).isfinite().all()
    with pytest.raises(ValueError, match=r"^17 tokens, but the model was built for a context of 16$"):
        model(random_tokens(1, 17))


@pytest.mark.parametrize("name", ["alibi", "none"])
def test_positions_without_a_table_have_no_limit(name):
    model, tokens = model_of(positions=name), random_tokens(1, 40)
    torch.testing.assert_close(model(tokens)[:, :16], model(tokens[:, :16]), rtol=0, atol=1e-12)


# --- embeddings -----------------------------------------------------------------------------------


def test_tied_embeddings_are_one_parameter():
    tied, untied = DecoderLM(config_of(), VOCAB), DecoderLM(config_of(tie_embeddings=False), VOCAB)
    hidden = torch.randn(1, 2, 24)
    assert torch.equal(tied.tokens.logits(hidden), hidden @ tied.tokens.embedding.weight.T)
    assert tied.tokens.head is None
    assert count_parameters(untied) - count_parameters(tied) == VOCAB * 24
    assert untied.tokens.head is not None
    torch.testing.assert_close(untied.tokens.logits(hidden), hidden @ untied.tokens.head.weight.T)


# --- loss -----------------------------------------------------------------------------------------


def test_loss_is_the_mean_of_minus_log_probability_over_counted_targets():
    model, tokens, targets = model_of(), random_tokens(2, 7), random_tokens(2, 7)
    targets[0, :3] = IGNORED
    probabilities = model(tokens).softmax(dim=-1)
    losses = [
        -probabilities[b, t, targets[b, t]].log().item() for b in range(2) for t in range(7) if targets[b, t] != IGNORED
    ]
    assert len(losses) == 11
    assert model.loss(tokens, targets).item() == pytest.approx(sum(losses) / 11, rel=1e-12)


def test_label_smoothing_mixes_in_the_uniform_distribution():
    model, tokens, targets = model_of(), random_tokens(2, 7), random_tokens(2, 7)
    targets[1, 4:] = IGNORED
    log_probabilities = model(tokens).log_softmax(dim=-1)[targets != IGNORED]
    target = 0.9 * F.one_hot(targets[targets != IGNORED], VOCAB).double() + 0.1 / VOCAB
    expected = -(target * log_probabilities).sum(dim=-1).mean().item()
    assert model.loss(tokens, targets, label_smoothing=0.1).item() == pytest.approx(expected, rel=1e-12)


def test_balancing_loss_counts_in_training_only():
    model, tokens = model_of(n_experts=4, balancing_weight=0.5), random_tokens(2, 7)
    cross_entropy = model.loss(tokens, tokens).item()
    assert F.cross_entropy(model(tokens).flatten(0, 1), tokens.flatten()).item() == pytest.approx(cross_entropy)
    trained = model.train().loss(tokens, tokens).item()
    per_block = [m.balancing_loss.item() for m in model.modules() if isinstance(m, MixtureOfExperts)]
    assert len(per_block) == 2
    assert min(per_block) > 0.9
    assert trained == pytest.approx(cross_entropy + 0.5 * sum(per_block), rel=1e-6)
    assert model_of().stack.balancing_loss() is None


@pytest.mark.parametrize("options", VARIANTS.values(), ids=VARIANTS)
def test_gradient_reaches_every_parameter(options):
    model = model_of(**options).train()
    for table in [] if model.ngrams is None else model.ngrams.tables:
        nn.init.normal_(table.weight)  # they start at zero, and so does the gradient of what projects them
    tokens = random_tokens(8, 16)  # all 17 tokens and 16 positions occur, and each expert is chosen
    model.loss(tokens, tokens.roll(-1, dims=1)).backward()
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.abs().max() > 0, name


@pytest.mark.parametrize("options", [{}, {"tie_embeddings": False}, {"norm": "rms"}], ids=str)
def test_first_loss_is_that_of_logits_of_variance_one(options):
    vocab_size = 200
    model = DecoderLM(ModelConfig(n_layers=2, d_model=64, d_hidden=128, **options), vocab_size)
    tokens, targets = torch.randint(0, vocab_size, (2, 16, 64))
    # ln V for a uniform guess, and half the variance of the logits on top.
    assert model.loss(tokens, targets).item() == pytest.approx(math.log(vocab_size) + 0.5, abs=0.15)
