from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from model_optimization.config.export import ExportConfig
from model_optimization.config.qat import QatConfig
from model_optimization.config.quantization import DynamicConfig
from model_optimization.deployment.onnx_conversion import export_classifier
from model_optimization.quantization.dynamic_quantization import quantize_dynamic_variant
from model_optimization.quantization.fake_quantization import (
    FakeQuantizedLinear,
    Integers,
    asymmetric_parameters,
    fake_quantize,
    symmetric_parameters,
)
from model_optimization.quantization.quantization_aware_training import (
    insert_fake_quantization,
    insert_torchao,
    remove_fake_quantization,
    remove_torchao,
    train_quantization_aware,
)
from model_optimization.torch_classifier import TorchClassifier
from model_optimization.types import Texts
from model_optimization.variants import load_variant
from roadmap_shared.errors import UserError

from .tiny_models import TEXTS, tiny_classifier

TRAIN = Texts(texts=TEXTS, targets=np.array([1, 0, 1, 1, 0, 1, 1, 0]))


def faked(classifier: TorchClassifier) -> TorchClassifier:
    other = tiny_classifier()
    other.network.load_state_dict(classifier.network.state_dict())
    insert_fake_quantization(other.network)
    return other


def test_every_linear_layer_is_replaced_and_put_back() -> None:
    classifier = tiny_classifier()
    before = {name: (type(module), module.training) for name, module in classifier.network.named_modules()}
    weights = {name: weight for name, weight in classifier.network.named_parameters()}
    expected = classifier.logits(TEXTS)
    assert insert_fake_quantization(classifier.network) == 2 * 6 + 2
    assert not any(type(module) is nn.Linear for module in classifier.network.modules())
    assert np.abs(classifier.logits(TEXTS) - expected).max() > 1e-3
    assert remove_fake_quantization(classifier.network) == 2 * 6 + 2
    after = {name: (type(module), module.training) for name, module in classifier.network.named_modules()}
    assert before == after
    assert all(weights[name] is weight for name, weight in classifier.network.named_parameters())
    np.testing.assert_array_equal(classifier.logits(TEXTS), expected)


@pytest.mark.parametrize("trained", [False, True])
def test_it_foretells_onnx_runtimes_int8(tmp_path: Path, trained: bool) -> None:
    """Text by text, because ONNX Runtime takes one range of activations over all texts of a chunk."""
    classifier = tiny_classifier()
    if trained:
        classifier, _ = train_quantization_aware(classifier, TRAIN, QatConfig(epochs=3, learning_rate=1e-3), seed=1)
    foretold = faked(classifier).logits(TEXTS, batch_size=1)
    source = export_classifier(classifier, tmp_path / "fp32", ExportConfig(), name="fp32")
    variant = load_variant(quantize_dynamic_variant(source, tmp_path / "int8", DynamicConfig(), name="int8"))
    int8 = variant.logits(TEXTS, batch_size=1)
    error = np.abs(int8 - classifier.logits(TEXTS)).max()
    # A value in the middle between two integers may be rounded otherwise, which shows far behind it.
    assert np.abs(foretold - int8).max() < error / 10


def test_the_original_stays_and_what_comes_out_is_plain() -> None:
    classifier = tiny_classifier()
    before = classifier.logits(TEXTS)
    tuned, result = train_quantization_aware(classifier, TRAIN, QatConfig(batch_size=4), seed=3)
    np.testing.assert_array_equal(classifier.logits(TEXTS), before)
    assert result.steps == 2
    assert not any(isinstance(module, FakeQuantizedLinear) for module in tuned.network.modules())
    assert np.abs(tuned.logits(TEXTS) - before).max() > 0


def test_training_lowers_the_loss_of_the_quantised_network() -> None:
    config = QatConfig(epochs=15, batch_size=8, learning_rate=1e-3)
    classifier = tiny_classifier()

    def loss(of: TorchClassifier) -> float:
        logits = torch.from_numpy(faked(of).logits(TEXTS))
        return float(nn.functional.cross_entropy(logits, torch.from_numpy(TRAIN.targets)))

    tuned, _ = train_quantization_aware(classifier, TRAIN, config, seed=0)
    assert loss(tuned) < 0.5 * loss(classifier)


def test_the_same_seed_gives_the_same_weights() -> None:
    results = [train_quantization_aware(tiny_classifier(), TRAIN, QatConfig(), seed=5)[0] for _ in range(2)]
    np.testing.assert_array_equal(results[0].logits(TEXTS), results[1].logits(TEXTS))


@pytest.mark.parametrize("engine", ["torchao", "pt2e"])
def test_torchaos_engines_train_and_give_a_plain_network_back(engine: str) -> None:
    pytest.importorskip("torchao", reason="the extra torchao is not installed")
    classifier = tiny_classifier()
    config = QatConfig(engine=engine, epochs=6, batch_size=8, learning_rate=1e-3)  # type: ignore[arg-type]
    tuned, _ = train_quantization_aware(classifier, TRAIN, config, seed=0)
    assert {type(module) for module in tuned.network.modules() if isinstance(module, nn.Linear)} == {nn.Linear}
    targets = torch.from_numpy(TRAIN.targets)
    losses = [
        float(nn.functional.cross_entropy(torch.from_numpy(of.logits(TEXTS)), targets)) for of in (classifier, tuned)
    ]
    assert losses[1] < losses[0]
    assert tuned.network.config._attn_implementation == classifier.network.config._attn_implementation


def test_torchaos_layer_is_the_one_by_hand() -> None:
    pytest.importorskip("torchao", reason="the extra torchao is not installed")
    linear, inputs = nn.Linear(32, 8), torch.randn(2, 5, 32, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        # The largest weight of each output lies at 127.5 steps. Above 0 both cut it off; below, they round apart.
        largest = linear.weight.gather(1, linear.weight.abs().argmax(1, keepdim=True))
        linear.weight *= largest.sign()
    whole = Integers(-128, 127)
    by_hand = nn.functional.linear(
        fake_quantize(inputs, *asymmetric_parameters(inputs, whole, "token"), whole),
        fake_quantize(linear.weight, *symmetric_parameters(linear.weight, whole), whole),
        linear.bias,
    )
    network = nn.Sequential(linear)
    insert_torchao(network)  # type: ignore[arg-type]
    torch.testing.assert_close(network(inputs), by_hand, rtol=1e-5, atol=1e-5)
    remove_torchao(network)  # type: ignore[arg-type]
    assert type(network[0]) is nn.Linear


def test_prepared_program_sees_no_dropout_in_evaluation() -> None:
    pytest.importorskip("torchao", reason="the extra torchao is not installed")
    from model_optimization.quantization.pt2e import ProgramInTraining

    classifier = tiny_classifier()
    expected = classifier.logits(TEXTS)
    program = ProgramInTraining(classifier.network)
    classifier.network = program  # type: ignore[assignment]
    assert np.abs(classifier.logits(TEXTS) - expected).max() < 0.15


def test_without_torchao_its_engine_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("model_optimization.quantization.extras.find_spec", lambda _: None)
    with pytest.raises(UserError) as raised:
        train_quantization_aware(tiny_classifier(), TRAIN, QatConfig(engine="torchao"), seed=0)
    assert str(raised.value) == "torchao is not installed: pip install 'roadmap-model-optimization[torchao]'"


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"epochs": 0}, "--qat.epochs 0 must be at least 1"),
        ({"learning_rate": 0.0}, "--qat.learning_rate 0.0 must be above 0"),
        (
            {"activations": "token", "engine": "torchao"},
            "--qat.activations token is for --qat.engine by_hand; torchao has ranges of its own",
        ),
    ],
)
def test_wrong_settings(settings: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match="--qat") as raised:
        QatConfig(**settings)  # type: ignore[arg-type]
    assert str(raised.value) == message
