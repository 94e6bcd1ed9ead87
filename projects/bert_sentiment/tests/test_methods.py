import json
from collections.abc import Callable
from copy import deepcopy
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest
import torch
from peft.tuners.tuners_utils import BaseTunerLayer
from torch import nn
from transformers import AutoModelForSequenceClassification, ElectraConfig, ElectraModel, PreTrainedTokenizerBase

from bert_sentiment.config import METHOD_NAMES, MethodConfig, ModelConfig, PreprocessingConfig
from bert_sentiment.data.preprocessor import pad, token_ids
from bert_sentiment.models.bert_classifier import SentimentModel, build_classifier
from bert_sentiment.models.method_files import METHOD_FILE, WEIGHTS_FILE, load_method, save_method
from bert_sentiment.models.methods import (
    apply_method,
    merge,
    method_of,
    set_weights,
    trained_parameters,
    trained_weights,
)
from bert_sentiment.models.peft_methods import VIRTUAL_TOKEN_METHODS
from roadmap_shared.errors import UserError

LABELS = ("negative", "neutral", "positive")
TEXTS = ["the film was good !", "bad", "i really loved this phone , it is great and never dull", "awful plot ."]
CONFIGS = {name: MethodConfig(name=name, rank=3, alpha=5, n_virtual_tokens=4, bottleneck=6) for name in METHOD_NAMES}
DEAD_ENDS = {("prefix", "distilbert"), ("prefix", "albert"), ("prefix", "modernbert"), ("bitfit", "modernbert")}
ARCHITECTURES = ("bert", "roberta", "distilbert", "albert", "modernbert")
PAIRS = [(method, name) for method in METHOD_NAMES for name in ARCHITECTURES if (method, name) not in DEAD_ENDS]
every_pair = pytest.mark.parametrize(("method", "architecture"), PAIRS)

Base = Callable[..., SentimentModel]


@pytest.fixture(scope="module")
def base_folder(encoder_folder: Callable[..., Path], tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """Encoders with weights large enough that attention, order and padding would show in the logits."""

    def write(architecture: str) -> Path:
        folder = tmp_path_factory.getbasetemp() / f"lively-{architecture}"
        if not folder.exists():
            model = build_classifier(
                ModelConfig(name=str(encoder_folder(architecture))), PreprocessingConfig(), LABELS, seed=0
            )
            enliven(model.network)
            encoder_of(model).save_pretrained(folder)
            model.tokenizer.save_pretrained(folder)
        return folder

    return write


@pytest.fixture(scope="module")
def base(base_folder: Callable[[str], Path]) -> Base:
    """A function from an architecture's name to a fresh classifier, the same each time."""
    read: dict[str, SentimentModel] = {}

    def build(architecture: str = "bert") -> SentimentModel:
        if architecture not in read:
            name = ModelConfig(name=str(base_folder(architecture)))
            read[architecture] = build_classifier(name, PreprocessingConfig(max_length=40), LABELS, seed=1)
        return replace(read[architecture], network=deepcopy(read[architecture].network))

    return build


def encoder_of(model: SentimentModel) -> Any:
    return model.network.base_model


def enliven(network: nn.Module) -> None:
    generator = torch.Generator().manual_seed(3)
    with torch.no_grad():
        for name, weight in network.named_parameters():
            if weight.dim() == 2:
                weight.normal_(std=0.3, generator=generator)
            elif name.endswith("bias"):
                weight.normal_(std=0.1, generator=generator)


def step(model: SentimentModel, rate: float = 0.05) -> None:
    """One step of gradient descent by signs, which moves each weight that gets a gradient by `rate`."""
    model.network.train()
    inputs = pad(token_ids(TEXTS, model.tokenizer, model.preprocessing), model.tokenizer)
    loss = model.network(**inputs, labels=torch.tensor([2, 0, 2, 0])).loss
    loss.backward()
    with torch.no_grad():
        for weight in model.network.parameters():
            if weight.grad is not None:
                weight -= rate * weight.grad.sign()
    model.network.zero_grad()
    model.network.eval()


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
    model = apply_method(base(architecture), CONFIGS[method])
    # LoRA's B starts at zero, so that A gets a gradient from the second step on only; likewise an adapter's `down`.
    step(model)
    before = snapshot(model.network)
    step(model)
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
    actual = apply_method(base(architecture), CONFIGS[method]).logits(TEXTS)
    np.testing.assert_allclose(actual, expected, atol=tolerance, rtol=0)


@every_pair
def test_save_and_load_give_identical_logits(base: Base, tmp_path: Path, method: str, architecture: str) -> None:
    model = apply_method(base(architecture), CONFIGS[method])
    model.temperature = 1.5
    step(model)
    expected = model.logits(TEXTS)
    save_method(model, tmp_path)
    state = torch.get_rng_state()
    loaded = load_method(tmp_path)
    if method != "full":
        assert torch.equal(torch.get_rng_state(), state)
        assert trained_parameters(loaded.network) == trained_parameters(model.network)
        assert method_of(loaded.network) == CONFIGS[method]
    np.testing.assert_array_equal(loaded.logits(TEXTS), expected)
    assert (loaded.labels, loaded.temperature, loaded.preprocessing) == (LABELS, 1.5, model.preprocessing)


@pytest.mark.parametrize(("method", "architecture"), [pair for pair in PAIRS if pair[0] != "full"])
def test_only_what_was_trained_is_saved(base: Base, tmp_path: Path, method: str, architecture: str) -> None:
    model = apply_method(base(architecture), CONFIGS[method])
    save_method(model, tmp_path)
    n_trained, _ = trained_parameters(model.network)
    # The header names each tensor; the numbers take 4 bytes each.
    content = (tmp_path / WEIGHTS_FILE).read_bytes()
    assert len(content) == 8 + int.from_bytes(content[:8], "little") + 4 * n_trained
    assert sorted(path.name for path in tmp_path.iterdir()) == [METHOD_FILE, WEIGHTS_FILE]


@every_pair
def test_padding_does_not_change_the_logits(base: Base, method: str, architecture: str) -> None:
    model = apply_method(base(architecture), CONFIGS[method])
    step(model)
    together = model.logits(TEXTS)
    alone = np.concatenate([model.logits([text]) for text in TEXTS])
    np.testing.assert_allclose(together, alone, atol=1e-5, rtol=0)
    # Not for want of a difference between texts.
    assert np.abs(together[0] - together[1]).max() > 1e-3


@pytest.mark.parametrize("architecture", ARCHITECTURES)
@pytest.mark.parametrize("method", ["lora", "dora", "ia3"])
def test_merged_model_is_an_ordinary_one_with_the_same_logits(
    base: Base, tmp_path: Path, method: str, architecture: str
) -> None:
    model = apply_method(base(architecture), CONFIGS[method])
    step(model)
    step(model)
    expected = model.logits(TEXTS)
    assert np.abs(expected - base(architecture).logits(TEXTS)).max() > 1e-2
    merged = merge(model)
    np.testing.assert_allclose(merged.logits(TEXTS), expected, atol=1e-5, rtol=1e-5)
    assert type(merged.network) is type(base(architecture).network)
    assert [name for name, _ in merged.network.named_parameters()] == [
        name for name, _ in base(architecture).network.named_parameters()
    ]
    assert not any(
        isinstance(module, BaseTunerLayer) or "peft" in type(module).__module__ for module in merged.network.modules()
    )
    assert all(weight.requires_grad for weight in merged.network.parameters())
    assert method_of(merged.network) is None
    merged.save(tmp_path)
    np.testing.assert_array_equal(SentimentModel.load(tmp_path).logits(TEXTS), merged.logits(TEXTS))
    assert AutoModelForSequenceClassification.from_pretrained(tmp_path).config.id2label == dict(enumerate(LABELS))


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
    trained, total = trained_parameters(apply_method(base(architecture), CONFIGS[method]).network)
    if method == "full":
        assert (trained, total) == (before, before)
    else:
        added = ADDED[method][architecture]
        assert trained == HEAD[architecture] + added
        assert total == before + (0 if method in ("head", "bitfit") else added)


@pytest.mark.parametrize("method", METHOD_NAMES)
def test_trained_weights_bring_back_an_earlier_state(base: Base, method: str) -> None:
    model = apply_method(base(), CONFIGS[method])
    step(model)
    weights, expected = trained_weights(model.network), model.logits(TEXTS)
    step(model)
    assert np.abs(model.logits(TEXTS) - expected).max() > 1e-3
    set_weights(model.network, weights)
    np.testing.assert_array_equal(model.logits(TEXTS), expected)


def test_weights_of_another_network_change_nothing(base: Base) -> None:
    model = apply_method(base(), CONFIGS["head"])
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
    config = replace(CONFIGS["adapter"], placement="pfeiffer")
    assert trained_parameters(apply_method(base(), config).network)[0] == HEAD["bert"] + 2 * ADAPTER


@every_pair
def test_labels_device_and_mode_are_those_of_the_base_model(base: Base, method: str, architecture: str) -> None:
    original = base(architecture)
    model = apply_method(original, CONFIGS[method])
    assert model.labels == LABELS
    assert model.device == torch.device("cpu")
    assert not any(module.training for module in model.network.modules())
    probabilities = model.probabilities(TEXTS)
    np.testing.assert_allclose(probabilities.sum(axis=1), 1, atol=1e-6)


def ia3_by_hand(network: nn.Module, factors: dict[str, torch.Tensor]) -> None:
    """Multiply (IA)³'s factors into the weights of a BERT: rows of keys and values, columns of the second layer."""
    for name, factor in factors.items():
        layer = network.get_submodule(name)
        assert isinstance(layer, nn.Linear)
        with torch.no_grad():
            if name.endswith("output.dense"):
                layer.weight *= factor.reshape(1, -1)
            else:
                layer.weight *= factor.reshape(-1, 1)
                layer.bias.mul_(factor.flatten())


def test_ia3_scales_keys_values_and_hidden_activations(base: Base) -> None:
    model = apply_method(base(), CONFIGS["ia3"])
    factors = {}
    with torch.no_grad():
        for name, weight in model.network.named_parameters():
            if ".ia3_l." in name:
                weight.uniform_(0.5, 2, generator=torch.Generator().manual_seed(len(factors)))
                factors[name.removeprefix("base_model.model.").removesuffix(".ia3_l.default")] = weight.clone()
    assert sorted(factors) == sorted(
        f"bert.encoder.layer.{layer}.{end}"
        for layer in range(2)
        for end in ("attention.self.key", "attention.self.value", "output.dense")
    )
    expected = base()
    ia3_by_hand(expected.network, factors)
    np.testing.assert_allclose(model.logits(TEXTS), expected.logits(TEXTS), atol=1e-5)


def test_lora_adds_the_scaled_product_to_the_weights(base: Base) -> None:
    config = replace(CONFIGS["lora"], target_modules=("query", "value"))
    model, expected = apply_method(base(), config), base()
    step(model)
    step(model)
    state = dict(model.network.named_parameters())
    with torch.no_grad():
        for name in [name for name, _ in expected.network.named_modules() if name.endswith(("query", "value"))]:
            A = state[f"base_model.model.{name}.lora_A.default.weight"]
            B = state[f"base_model.model.{name}.lora_B.default.weight"]
            assert A.shape == (3, 32)
            assert B.shape == (32, 3)
            weight = expected.network.get_parameter(f"{name}.weight")
            weight += 5 / 3 * B @ A
        for part in ("weight", "bias"):
            trained = state[f"base_model.model.classifier.modules_to_save.default.{part}"]
            expected.network.get_parameter(f"classifier.{part}").copy_(trained)
    np.testing.assert_allclose(model.logits(TEXTS), expected.logits(TEXTS), atol=1e-5)


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_prompt_is_the_same_as_words_before_the_text(base: Base, architecture: str) -> None:
    """The prompt starts from the embeddings of words: the network sees what it would see with these words."""
    torch.manual_seed(5)
    model, plain = apply_method(base(architecture), CONFIGS["prompt"]), base(architecture)
    prompt = model.network.get_parameter("prompt_encoder.default.embedding.weight")
    words = cast(nn.Embedding, plain.network.get_input_embeddings()).weight
    ids = [int(torch.eq(words, row).all(dim=1).nonzero()[0]) for row in prompt]
    inputs = pad(token_ids(TEXTS[:1], plain.tokenizer, plain.preprocessing), plain.tokenizer)
    with torch.inference_mode():
        expected = plain.network(
            input_ids=torch.cat([torch.tensor([ids]), inputs["input_ids"]], dim=1),
            attention_mask=torch.ones(1, 4 + inputs["input_ids"].shape[1], dtype=torch.long),
        ).logits
    np.testing.assert_allclose(model.logits(TEXTS[:1]), expected, atol=1e-5)


@pytest.mark.parametrize("architecture", ["bert", "roberta"])
def test_every_virtual_key_of_a_prefix_is_seen_by_padded_texts(base: Base, architecture: str) -> None:
    model = apply_method(base(architecture), CONFIGS["prefix"])
    prefix = model.network.get_parameter("prompt_encoder.default.embedding.weight")
    before = model.logits(TEXTS)
    for row in range(4):
        with torch.no_grad():
            kept = prefix[row].clone()
            prefix[row] += 1
        changed = np.abs(model.logits(TEXTS) - before).max(axis=1)
        assert (changed > 1e-4).all()
        with torch.no_grad():
            prefix[row] = kept


def test_a_pooler_that_the_checkpoint_lacks_is_saved(base_folder: Callable[[str], Path], tmp_path: Path) -> None:
    source = tmp_path / "base"
    whole = build_classifier(ModelConfig(name=str(base_folder("bert"))), PreprocessingConfig(), LABELS, 0)
    network = encoder_of(whole)
    network.pooler = None
    network.save_pretrained(source)
    whole.tokenizer.save_pretrained(source)
    model = build_classifier(ModelConfig(name=str(source)), PreprocessingConfig(), LABELS, seed=4)
    model = apply_method(model, CONFIGS["lora"])
    save_method(model, tmp_path / "saved")
    np.testing.assert_array_equal(load_method(tmp_path / "saved").logits(TEXTS), model.logits(TEXTS))


def test_loaded_model_can_be_trained_on_and_saved_again(base: Base, tmp_path: Path) -> None:
    model = apply_method(base(), CONFIGS["lora"])
    step(model)
    save_method(model, tmp_path / "first")
    loaded = load_method(tmp_path / "first")
    for each in (model, loaded):
        torch.manual_seed(0)
        step(each)
    np.testing.assert_array_equal(loaded.logits(TEXTS), model.logits(TEXTS))
    save_method(loaded, tmp_path / "second")
    np.testing.assert_array_equal(load_method(tmp_path / "second").logits(TEXTS), model.logits(TEXTS))


def test_base_model_may_have_moved(base: Base, base_folder: Callable[[str], Path], tmp_path: Path) -> None:
    model = apply_method(base(), CONFIGS["ia3"])
    save_method(model, tmp_path)
    settings = json.loads((tmp_path / METHOD_FILE).read_text())
    assert settings["base"] == str(base_folder("bert"))
    settings["base"] = str(tmp_path / "gone")
    (tmp_path / METHOD_FILE).write_text(json.dumps(settings))
    with pytest.raises(UserError) as failure:
        load_method(tmp_path)
    assert str(failure.value).startswith(f"--model.name {tmp_path / 'gone'}: there is no such folder")
    loaded = load_method(tmp_path, base=str(base_folder("bert")))
    np.testing.assert_array_equal(loaded.logits(TEXTS), model.logits(TEXTS))


def test_another_base_model_is_refused(base: Base, encoder_folder: Callable[..., Path], tmp_path: Path) -> None:
    save_method(apply_method(base(), CONFIGS["ia3"]), tmp_path)
    other = str(encoder_folder("bert"))
    with pytest.raises(UserError) as failure:
        load_method(tmp_path, base=other)
    assert str(failure.value) == (
        f"{tmp_path}: was trained on another base model than {other} is: the frozen weights differ. Give the right one"
    )


def test_built_in_encoder_is_saved_by_its_name(tmp_path: Path) -> None:
    model = build_classifier(ModelConfig(name="minilm"), PreprocessingConfig(), LABELS, seed=0)
    model = apply_method(model, MethodConfig(name="lora"))
    save_method(model, tmp_path)
    assert json.loads((tmp_path / METHOD_FILE).read_text())["base"] == "minilm"
    np.testing.assert_array_equal(load_method(tmp_path).logits(TEXTS), model.logits(TEXTS))


def damage_settings(folder: Path) -> Path:
    (folder / METHOD_FILE).write_text("{")
    return folder / METHOD_FILE


def damage_key(folder: Path) -> Path:
    (folder / METHOD_FILE).write_text("{}")
    return folder / METHOD_FILE


def damage_weights(folder: Path) -> Path:
    path = folder / WEIGHTS_FILE
    path.write_bytes(path.read_bytes()[:-1])
    return path


def remove_weights(folder: Path) -> Path:
    (folder / WEIGHTS_FILE).unlink()
    return folder / WEIGHTS_FILE


def other_rank(folder: Path) -> Path:
    settings = json.loads((folder / METHOD_FILE).read_text())
    settings["method"]["rank"] = 2
    (folder / METHOD_FILE).write_text(json.dumps(settings))
    return folder / WEIGHTS_FILE


def other_method(folder: Path) -> Path:
    settings = json.loads((folder / METHOD_FILE).read_text())
    settings["method"]["name"] = "ia3"
    (folder / METHOD_FILE).write_text(json.dumps(settings))
    return folder / WEIGHTS_FILE


@pytest.mark.parametrize(
    "damage", [damage_settings, damage_key, damage_weights, remove_weights, other_rank, other_method]
)
def test_damaged_folder_is_named(base: Base, tmp_path: Path, damage: Callable[[Path], Path]) -> None:
    save_method(apply_method(base(), CONFIGS["lora"]), tmp_path)
    path = damage(tmp_path)
    with pytest.raises(UserError) as failure:
        load_method(tmp_path)
    assert str(failure.value).startswith(f"{path}: is damaged (")
    assert str(failure.value).endswith("): copy the model folder again, or train anew")


@pytest.mark.parametrize(
    ("config", "architecture", "message"),
    [
        (
            {"name": "prefix"},
            "distilbert",
            "--method.name prefix: the attention of distilbert takes no keys and values from outside (that of bert "
            "and roberta does). Use prompt or p_tuning for virtual tokens, or lora",
        ),
        (
            {"name": "prefix"},
            "albert",
            "--method.name prefix: the attention of albert takes no keys and values from outside (that of bert "
            "and roberta does). Use prompt or p_tuning for virtual tokens, or lora",
        ),
        (
            {"name": "prefix"},
            "modernbert",
            "--method.name prefix: the attention of modernbert takes no keys and values from outside (that of bert "
            "and roberta does). Use prompt or p_tuning for virtual tokens, or lora",
        ),
        (
            {"name": "bitfit"},
            "modernbert",
            "--method.name bitfit: this modernbert has no biases to train. Use ia3, which is about as small, lora, or "
            "head",
        ),
        (
            {"name": "lora", "rank": 33},
            "bert",
            "--method.rank 33 is above the width 32 of bert.encoder.layer.0.attention.self.query: give at most 32, or "
            "full",
        ),
        (
            {"name": "adapter", "bottleneck": 32},
            "bert",
            "--method.bottleneck 32 must be below the encoder's width 32",
        ),
        (
            {"name": "ia3", "target_modules": ("querry",)},
            "bert",
            "--method.target_modules querry: no such layer in the encoder; its linear layers are query, key, value, "
            "dense",
        ),
        (
            {"name": "lora", "target_modules": ("(",)},
            "bert",
            "--method.target_modules (: is no regular expression: missing ), unterminated subpattern at position 0",
        ),
        (
            {"name": "prompt", "n_virtual_tokens": 30},
            "bert",
            "--method.n_virtual_tokens 30 and texts of 40 tokens need more than the 66 positions of this encoder: use "
            "--preprocessing.max_length 36",
        ),
        (
            {"name": "p_tuning", "n_virtual_tokens": 60},
            "roberta",
            "--method.n_virtual_tokens 60 and texts of 40 tokens need more than the 65 positions of this encoder: use "
            "fewer virtual tokens",
        ),
    ],
)  # fmt: skip
def test_what_does_not_fit_the_network_is_one_clear_line(
    base: Base, config: dict, architecture: str, message: str
) -> None:
    with pytest.raises(UserError) as failure:
        apply_method(base(architecture), MethodConfig(**config))
    assert str(failure.value) == message


@pytest.mark.parametrize("method", ["prefix", "prompt", "p_tuning"])
@pytest.mark.parametrize("architecture", ["bert", "roberta"])
def test_virtual_tokens_and_text_may_fill_all_positions(base: Base, method: str, architecture: str) -> None:
    model = base(architecture)
    n_positions = {"bert": 66, "roberta": 65}[architecture]
    model = apply_method(model, MethodConfig(name=method, n_virtual_tokens=n_positions - 40))  # type: ignore[arg-type]
    assert np.isfinite(model.logits(["good " * 50])).all()


@pytest.fixture
def electra(tmp_path: Path, base: Base) -> SentimentModel:
    """An architecture that the table does not know."""
    tokenizer: PreTrainedTokenizerBase = base().tokenizer
    settings = ElectraConfig(
        vocab_size=len(tokenizer), embedding_size=16, hidden_size=32, num_hidden_layers=2, num_attention_heads=2,
        intermediate_size=48, max_position_embeddings=66,
    )  # fmt: skip
    torch.manual_seed(2)
    ElectraModel(settings).save_pretrained(tmp_path / "electra")
    tokenizer.save_pretrained(tmp_path / "electra")
    name = str(tmp_path / "electra")
    return build_classifier(ModelConfig(name=name), PreprocessingConfig(max_length=40), LABELS, 0)


@pytest.mark.parametrize("method", ["lora", "dora", "ia3", "adapter"])
def test_unknown_architecture_needs_target_modules(electra: SentimentModel, method: str) -> None:
    with pytest.raises(UserError) as failure:
        apply_method(electra, CONFIGS[method])
    assert str(failure.value) == (
        f"--method.name {method}: which layers of electra to change is not known here. Name them with "
        "--method.target_modules; its linear layers are embeddings_project, query, key, value, dense"
    )


@pytest.mark.parametrize("method", METHOD_NAMES)
def test_unknown_architecture_works_with_target_modules(electra: SentimentModel, tmp_path: Path, method: str) -> None:
    config = CONFIGS[method]
    if method in ("lora", "dora", "ia3", "adapter"):
        config = replace(config, target_modules=("value", r"layer\.\d+\.output\.dense"))
    model = apply_method(electra, config)
    step(model)
    save_method(model, tmp_path / "saved")
    np.testing.assert_array_equal(load_method(tmp_path / "saved").logits(TEXTS), model.logits(TEXTS))


@pytest.mark.parametrize(
    ("method", "reason"),
    [
        ("full", "the model is an ordinary classifier already, save it as it is"),
        ("head", "the model is an ordinary classifier already, save it as it is"),
        ("bitfit", "the model is an ordinary classifier already, save it as it is"),
        ("adapter", "adapters have a non-linearity and no weight of the encoder can take their place, keep them"),
        ("prefix", "prefix adds virtual tokens to the input and no update to the weights, keep them"),
        ("p_tuning", "p_tuning adds virtual tokens to the input and no update to the weights, keep them"),
        ("prompt", "prompt adds virtual tokens to the input and no update to the weights, keep them"),
    ],
)
def test_what_does_not_merge_says_why(base: Base, method: str, reason: str) -> None:
    with pytest.raises(UserError) as failure:
        merge(apply_method(base(), CONFIGS[method]))
    assert str(failure.value) == f"cannot merge: {reason}"


def test_second_method_on_one_network_is_refused(base: Base) -> None:
    model = apply_method(base(), CONFIGS["lora"])
    with pytest.raises(ValueError, match="the network has a fine-tuning method already: merge it, or start from"):
        apply_method(model, CONFIGS["head"])


def test_model_without_a_method_is_not_saved_as_one(base: Base, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"the network has no fine-tuning method: use SentimentModel\.save"):
        save_method(base(), tmp_path)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"name": "lore"}, f"--method.name lore is none of {', '.join(METHOD_NAMES)}"),
        ({"rank": 0}, "--method.rank 0 must be at least 1"),
        ({"n_virtual_tokens": 0}, "--method.n_virtual_tokens 0 must be at least 1"),
        ({"bottleneck": 0}, "--method.bottleneck 0 must be at least 1"),
        ({"alpha": 0.0}, "--method.alpha 0.0 must be above 0"),
        ({"alpha": float("nan")}, "--method.alpha nan must be above 0"),
        ({"dropout": 1.0}, "--method.dropout 1.0 must be at least 0 and below 1"),
        (
            {"name": "prompt", "target_modules": ("query",)},
            "--method.target_modules goes with lora, dora, ia3, adapter, not with prompt",
        ),
        (
            {"name": "lora", "target_modules": ()},
            "--method.target_modules is empty: name layers, or leave it out",
        ),
    ],
)
def test_config_names_the_flag(values: dict, message: str) -> None:
    with pytest.raises(ValueError) as failure:
        MethodConfig(**values)
    assert str(failure.value) == message
