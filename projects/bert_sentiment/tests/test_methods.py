"""Fine-tuning methods on every architecture: what they train, how much of it, and what they leave alone."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

from bert_sentiment.config import METHOD_NAMES
from bert_sentiment.models.methods import apply_method, set_weights, trained_parameters, trained_weights
from bert_sentiment.models.peft_methods import VIRTUAL_TOKEN_METHODS

from .helpers import ARCHITECTURES, LABELS, METHODS, PAIRS, TEXTS, Base, every_pair, gradient_step


def snapshot(network: nn.Module) -> dict[str, torch.Tensor]:
    return {name: weight.detach().clone() for name, weight in network.named_parameters()}


def is_intended(method: str, name: str) -> bool:
    """Whether the method trains the parameter, told by its name alone."""
    head = ("classifier", "pre_classifier", "head")
    if "original_module" in name:
        return False
    if any(part in head for part in name.split(".")):
        return True
    return {
        "full": True,
        "head": False,
        "bitfit": name.endswith(".bias"),
        "lora": ".lora_" in name,
        "dora": ".lora_" in name,
        "ia3": ".ia3_" in name,
        "adapter": ".adapter." in name,
    }.get(method, "prompt_encoder" in name)


@every_pair
def test_one_step_changes_exactly_the_intended_parameters(base: Base, method: str, architecture: str) -> None:
    model = apply_method(base(architecture), METHODS[method])
    # LoRA's B starts at zero, so that A gets a gradient from the second step on only; likewise an adapter's `down`.
    gradient_step(model)
    before = snapshot(model.network)
    gradient_step(model)
    for name, weight in model.network.named_parameters():
        intended = is_intended(method, name)
        assert weight.requires_grad == intended, name
        if not intended:
            assert torch.equal(weight, before[name]), name
        elif not without_effect(name):
            assert not torch.equal(weight, before[name]), name


def without_effect(name: str) -> bool:
    """A key's bias adds the same to all scores of a query, which softmax ignores; its gradient is rounding noise."""
    return name.endswith(("key.bias", "k_lin.bias"))


@pytest.mark.parametrize(("method", "architecture"), [pair for pair in PAIRS if pair[0] not in VIRTUAL_TOKEN_METHODS])
def test_training_starts_from_the_base_models_outputs(base: Base, method: str, architecture: str) -> None:
    expected = base(architecture).logits(TEXTS)
    # DoRA divides each row by its length and multiplies it again.
    tolerance = 2e-5 if method == "dora" else 0
    actual = apply_method(base(architecture), METHODS[method]).logits(TEXTS)
    np.testing.assert_allclose(actual, expected, atol=tolerance, rtol=0)


@every_pair
def test_padding_does_not_change_the_logits(base: Base, method: str, architecture: str) -> None:
    model = apply_method(base(architecture), METHODS[method])
    gradient_step(model)
    together = model.logits(TEXTS)
    alone = np.concatenate([model.logits([text]) for text in TEXTS])
    np.testing.assert_allclose(together, alone, atol=1e-5, rtol=0)
    # Not for want of a difference between texts.
    assert np.abs(together[0] - together[1]).max() > 1e-3


# Sizes of the tiny encoders: width 32, feed-forward 48, 2 layers, ALBERT's embeddings 16, 3 labels, rank 3,
# 4 virtual tokens, bottleneck 6. Counted by hand, the classification layer apart.
HEAD = {
    "bert": 32 * 3 + 3,
    "roberta": 32 * 32 + 32 + 32 * 3 + 3,
    "distilbert": 32 * 32 + 32 + 32 * 3 + 3,
    "albert": 32 * 3 + 3,
    "modernbert": 32 * 32 + 32 + 32 * 3 + 3,  # dense without bias, norm without bias
}
# query, key, value, output: 3·(32 + 32) each; the feed-forward's two: 3·(32 + 48) each
LORA = 4 * 3 * (32 + 32) + 2 * 3 * (32 + 48)
# Wqkv: 3·(32 + 96); Wo: 3·(32 + 32); Wi: 3·(32 + 96), as it makes the gate too; Wo: 3·(48 + 32)
LORA_MODERN = 3 * (32 + 96) + 3 * (32 + 32) + 3 * (32 + 96) + 3 * (48 + 32)
# DoRA adds a length per output: 4·32 of the attention, 48 + 32 of the feed-forward
LENGTHS, LENGTHS_MODERN = 4 * 32 + 48 + 32, 96 + 32 + 96 + 32
ADAPTER = 32 * 6 + 6 + 6 * 32 + 32
# biases: 4·32 attention, 48 + 32 feed-forward, 2·32 layer norms
BIASES = 4 * 32 + 48 + 32 + 2 * 32
N_VIRTUAL = 4
ADDED = {
    "bitfit": {
        "bert": 2 * BIASES + 32 + 32,  # embeddings' norm, pooler
        "roberta": 2 * BIASES + 32,
        "distilbert": 2 * BIASES + 32,
        "albert": BIASES + 16 + 32 + 32,  # shared layer; embeddings' norm, projection from 16 to 32, pooler
    },
    "lora": {name: 2 * LORA for name in ("bert", "roberta", "distilbert")}
    | {"albert": LORA, "modernbert": 2 * LORA_MODERN},
    "dora": {name: 2 * (LORA + LENGTHS) for name in ("bert", "roberta", "distilbert")}
    | {"albert": LORA + LENGTHS, "modernbert": 2 * (LORA_MODERN + LENGTHS_MODERN)},
    "ia3": {name: 2 * (32 + 32 + 48) for name in ("bert", "roberta", "distilbert")}
    | {"albert": 32 + 32 + 48, "modernbert": 2 * (96 + 48)},
    "prefix": {name: N_VIRTUAL * 2 * 2 * 32 for name in ("bert", "roberta")},
    "p_tuning": {name: N_VIRTUAL * 32 + 3 * (32 * 32 + 32) for name in ARCHITECTURES}
    | {"albert": N_VIRTUAL * 16 + 3 * (16 * 16 + 16)},
    "prompt": {name: N_VIRTUAL * 32 for name in ARCHITECTURES} | {"albert": N_VIRTUAL * 16},
    "adapter": {name: 4 * ADAPTER for name in ARCHITECTURES} | {"albert": 2 * ADAPTER},
    "head": dict.fromkeys(ARCHITECTURES, 0),
}


@every_pair
def test_number_of_trained_parameters_is_that_counted_by_hand(base: Base, method: str, architecture: str) -> None:
    before = sum(weight.numel() for weight in base(architecture).network.parameters())
    trained, total = trained_parameters(apply_method(base(architecture), METHODS[method]).network)
    if method == "full":
        assert (trained, total) == (before, before)
    else:
        added = ADDED[method][architecture]
        assert trained == HEAD[architecture] + added
        assert total == before + (0 if method in ("head", "bitfit") else added)


@pytest.mark.parametrize("method", METHOD_NAMES)
def test_trained_weights_bring_back_an_earlier_state(base: Base, method: str) -> None:
    model = apply_method(base(), METHODS[method])
    gradient_step(model)
    weights, expected = trained_weights(model.network), model.logits(TEXTS)
    gradient_step(model)
    assert np.abs(model.logits(TEXTS) - expected).max() > 1e-3
    set_weights(model.network, weights)
    np.testing.assert_array_equal(model.logits(TEXTS), expected)


def test_weights_of_another_network_change_nothing(base: Base) -> None:
    model = apply_method(base(), METHODS["head"])
    weights, expected = trained_weights(model.network), model.logits(TEXTS)
    for wrong, message in [
        ({"classifier.bias": torch.zeros(3)}, "other weights than the network's: classifier.weight"),
        (weights | {"score.bias": torch.zeros(3)}, "other weights than the network's: score.bias"),
        (weights | {"classifier.bias": torch.zeros(2)}, "classifier.bias is (2,) and not (3,)"),
    ]:
        with pytest.raises(ValueError) as failure:
            set_weights(model.network, wrong)
        assert str(failure.value) == message
    np.testing.assert_array_equal(model.logits(TEXTS), expected)


def test_pfeiffer_placement_has_half_the_adapters(base: Base) -> None:
    config = replace(METHODS["adapter"], placement="pfeiffer")
    assert trained_parameters(apply_method(base(), config).network)[0] == HEAD["bert"] + 2 * ADAPTER


@every_pair
def test_labels_device_and_mode_are_those_of_the_base_model(base: Base, method: str, architecture: str) -> None:
    original = base(architecture)
    model = apply_method(original, METHODS[method])
    assert model.labels == LABELS
    assert model.device == torch.device("cpu")
    assert not any(module.training for module in model.network.modules())
    probabilities = model.probabilities(TEXTS)
    np.testing.assert_allclose(probabilities.sum(axis=1), 1, atol=1e-6)
