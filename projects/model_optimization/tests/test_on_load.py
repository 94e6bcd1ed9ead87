from pathlib import Path

import numpy as np
import pytest
from torch import nn

from model_optimization.config.on_load import OnLoadConfig
from model_optimization.config.qat import QloraConfig
from model_optimization.quantization.on_load import apply_on_load, write_on_load_variant
from model_optimization.torch_classifier import TorchClassifier
from model_optimization.types import Texts
from model_optimization.variants import load_variant, read_info
from roadmap_shared.errors import UserError

from .tiny_models import TEXTS, tiny_classifier

TRAIN = Texts(texts=TEXTS, targets=np.array([1, 0, 1, 1, 0, 1, 1, 0]))


@pytest.fixture
def source(tmp_path: Path) -> Path:
    tiny_classifier(tmp_path / "fp32", hidden=64, ffn=128)
    return tmp_path / "fp32"


def made(source: Path, method: str, **settings: int) -> Path:
    config = OnLoadConfig(method=method, **settings)  # type: ignore[arg-type]
    return write_on_load_variant(source, source.parent / method, config, TEXTS, name=method)


@pytest.mark.parametrize(
    ("method", "largest"),
    [("torchao_int8_dynamic", 0.1), ("torchao_int8_weight_only", 0.1), ("torchao_int4_weight_only", 0.6)],
)
def test_torchao(source: Path, method: str, largest: float) -> None:
    pytest.importorskip("torchao", reason="the extra torchao is not installed")
    expected = load_variant(source).logits(TEXTS)
    logits = load_variant(made(source, method)).logits(TEXTS)
    assert 0 < np.abs(logits - expected).max() < largest * np.abs(expected).max()


def test_bitsandbytes_computes_with_what_its_four_bits_stand_for(source: Path) -> None:
    bnb = pytest.importorskip("bitsandbytes", reason="the extra four-bit is not installed")
    from model_optimization.quantization.four_bit import from_four_bit, to_four_bit

    original, plain, quantized = (load_variant(folder) for folder in (source, source, made(source, "bitsandbytes_nf4")))
    assert isinstance(original, TorchClassifier)
    assert isinstance(plain, TorchClassifier)
    assert isinstance(quantized, TorchClassifier)
    linears = [module for module in quantized.network.modules() if isinstance(module, nn.Linear)]
    assert [type(module) for module in linears] == [bnb.nn.Linear4bit] * 13 + [nn.Linear]  # the last gives the logits
    to_four_bit(plain.network)
    from_four_bit(plain.network)
    weights = dict(original.network.named_parameters())
    for name, weight in plain.network.named_parameters():
        error = float((weight - weights[name]).detach().norm() / weights[name].detach().norm().clamp(min=1e-9))
        four_bits = (
            name.endswith(".weight") and weight.ndim == 2 and "embeddings" not in name and "classifier" not in name
        )
        # NormalFloat of normally distributed weights loses about a tenth; int8 would lose a hundredth.
        assert 0.06 < error < 0.12 if four_bits else error == 0
    logits, expected, fp32 = (one.logits(TEXTS) for one in (quantized, plain, original))
    # The kernel rounds on its way, by far less than the four bits do.
    assert np.abs(logits - expected).mean() < 0.1 * np.abs(expected - fp32).mean()


def test_bitsandbytes_needs_whole_blocks(tmp_path: Path) -> None:
    pytest.importorskip("bitsandbytes", reason="the extra four-bit is not installed")
    with pytest.raises(UserError) as raised:
        apply_on_load(tiny_classifier().network, "bitsandbytes_nf4")
    assert str(raised.value) == (
        "bitsandbytes_nf4: bert.encoder.layer.0.attention.self.query has 32 inputs, "
        "which its kernel needs in blocks of 64"
    )


def test_a_compiled_program_answers_each_text_alike_whatever_its_neighbours(source: Path) -> None:
    pytest.importorskip("torchao", reason="the extra torchao is not installed")
    expected = load_variant(source).logits(TEXTS)
    folder = made(source, "pt2e_x86", rows=3, length=24)
    assert read_info(folder).max_length == 24
    variant = load_variant(folder)
    logits = variant.logits(TEXTS, batch_size=5)
    assert 0 < np.abs(logits - expected).max() < 0.1 * np.abs(expected).max()
    np.testing.assert_array_equal(variant.logits(TEXTS, batch_size=1), logits)
    with pytest.raises(ValueError, match="30 tokens, but the program was compiled for 24"):
        variant.logits_of_tokens([[5] * 30])


def test_qlora_learns_and_gives_a_plain_network_back(source: Path) -> None:
    pytest.importorskip("bitsandbytes", reason="the extra four-bit is not installed")
    pytest.importorskip("peft", reason="the extra four-bit is not installed")
    from torch.nn import functional as F

    from model_optimization.quantization.qlora import train_qlora

    classifier = load_variant(source)
    assert isinstance(classifier, TorchClassifier)
    result = train_qlora(classifier, TRAIN, QloraConfig(rank=2, epochs=10, learning_rate=5e-3), seed=0)
    assert result.trained_parameters == 2 * 2 * 2 * (64 + 64) + 64 * 2 + 2  # two adapters a layer, and the classifier
    assert result.training.losses[-1] < 0.8 * result.training.losses[0]
    plain = {type(module) for module in result.classifier.network.modules() if isinstance(module, nn.Linear)}
    assert plain == {nn.Linear}
    import torch

    loss = F.cross_entropy(torch.from_numpy(result.classifier.logits(TEXTS)), torch.from_numpy(TRAIN.targets))
    assert float(loss) < result.training.losses[0]
    with pytest.raises(UserError, match=r"--qlora\.targets atention: no linear layer of BertForSequenceClassification"):
        train_qlora(classifier, TRAIN, QloraConfig(targets=("atention",)), seed=0)


def test_the_library_is_missing(source: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = made(source, "bitsandbytes_nf4")
    monkeypatch.setattr("model_optimization.quantization.extras.find_spec", lambda _: None)
    with pytest.raises(UserError) as raised:
        load_variant(folder)
    assert str(raised.value) == "bitsandbytes is not installed: pip install 'roadmap-model-optimization[four-bit]'"


def test_an_unknown_name() -> None:
    with pytest.raises(UserError) as raised:
        apply_on_load(tiny_classifier().network, "torchao_int8_dynamik")
    assert str(raised.value) == (
        "on_load: 'torchao_int8_dynamik' is unknown: choose from torchao_int8_dynamic, torchao_int8_weight_only, "
        "torchao_int4_weight_only, bitsandbytes_nf4, pt2e_x86. Did you mean 'torchao_int8_dynamic'?"
    )


def test_no_calibration_texts(source: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError) as raised:
        write_on_load_variant(source, tmp_path / "x", OnLoadConfig(method="pt2e_x86"), name="x")
    assert str(raised.value) == (
        "pt2e_x86: there are no calibration texts: the ranges of the activations come from them"
    )
    assert not (tmp_path / "x").exists()


def test_only_a_network_in_fp32(source: Path, tmp_path: Path) -> None:
    folder = made(source, "bitsandbytes_nf4")
    pytest.importorskip("bitsandbytes", reason="the extra four-bit is not installed")
    with pytest.raises(UserError, match="is applied to a torch network in fp32: give the folder of one"):
        write_on_load_variant(folder, tmp_path / "x", OnLoadConfig(), name="x")


def test_wrong_settings() -> None:
    with pytest.raises(ValueError) as raised:
        OnLoadConfig(rows=0)
    assert str(raised.value) == "--on_load.rows 0 must be at least 1"
    with pytest.raises(ValueError) as raised:
        OnLoadConfig(length=1000)
    assert str(raised.value) == "--on_load.length 1000 is outside 8 … 512"
    with pytest.raises(ValueError) as raised:
        QloraConfig(targets=())
    assert str(raised.value) == "--qlora.targets needs at least one name, such as query"
