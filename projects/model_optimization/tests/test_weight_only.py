"""Variants with weights of 4 and 8 bits, and the settings of all quantisers."""

from pathlib import Path

import numpy as np
import onnx
import pytest

from model_optimization.config.quantization import DynamicConfig, StaticConfig, WeightOnlyConfig
from model_optimization.quantization.affine import sqnr_db
from model_optimization.quantization.weight_only import quantize_weights_only_variant
from model_optimization.variants import load_variant, read_info
from roadmap_shared.errors import UserError

from .onnx_variants import fp32_variant, operators, weights
from .tiny_models import TEXTS


@pytest.fixture(scope="module")
def fp32(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return fp32_variant(tmp_path_factory.mktemp("weight-only") / "fp32")


@pytest.mark.parametrize(
    ("config", "tolerance"),
    [
        (WeightOnlyConfig(bits=4, block=16), 1.0),
        (WeightOnlyConfig(bits=8), 0.02),
        (WeightOnlyConfig(bits=8, accuracy_level="int8"), 0.1),
        (WeightOnlyConfig(bits=8, embeddings="int8"), 0.05),
    ],
)
def test_variants_of_few_bits(fp32: Path, tmp_path: Path, config: WeightOnlyConfig, tolerance: float) -> None:
    folder = quantize_weights_only_variant(fp32, tmp_path / "few", config, name="few")
    assert operators(folder)["MatMulNBits"] == 12
    assert operators(folder)["Gemm"] == 2
    difference = np.abs(load_variant(folder).logits(TEXTS) - load_variant(fp32).logits(TEXTS)).max()
    assert 1e-6 < difference < tolerance
    nodes = [node for node in onnx.load(folder / "model.onnx").graph.node if node.op_type == "MatMulNBits"]
    settings = {item.name: item.i for item in nodes[0].attribute}
    assert (settings["bits"], settings["block_size"]) == (config.bits, config.block)
    assert settings.get("accuracy_level", 0) == (4 if config.accuracy_level == "int8" else 0)


def test_what_is_stored_is_the_weight_in_blocks(fp32: Path, tmp_path: Path) -> None:
    folder = quantize_weights_only_variant(fp32, tmp_path / "few", WeightOnlyConfig(bits=4, block=16), name="few")
    node = next(n for n in onnx.load(fp32 / "model.onnx").graph.node if n.name.endswith("layer.0/output/dense/MatMul"))
    weight, stored = weights(fp32)[node.input[1]], weights(folder)  # (64, 32)
    packed, scales = stored[f"{node.input[1]}_Q4"], stored[f"{node.input[1]}_scales"]
    assert (packed.shape, scales.size) == ((32, 4, 8), 32 * 4)
    integers = np.stack([packed & 15, packed >> 4], axis=-1).reshape(32, 4, 16).astype(np.float32) - 8
    back = (integers * scales.reshape(32, 4, 1)).reshape(32, 64).T
    assert sqnr_db(weight, back) > 19  # about 6 dB a bit, less what the range's ends cost


def test_variant_says_what_it_is(fp32: Path, tmp_path: Path) -> None:
    config = WeightOnlyConfig(bits=8, exclude=("0.*",))
    folder = quantize_weights_only_variant(fp32, tmp_path / "few", config, name="few")
    assert operators(folder)["MatMulNBits"] == 6
    info = read_info(folder)
    assert (info.name, info.parent, info.notes) == ("few", "fp32", ())
    assert (info.recipe["method"], info.recipe["bits"], info.recipe["matrices"]) == ("weight-only", 8, 6)
    assert len(info.recipe["excluded_nodes"]) == 6 + 2


def test_nothing_left_to_quantise(fp32: Path, tmp_path: Path) -> None:
    few = quantize_weights_only_variant(fp32, tmp_path / "few", WeightOnlyConfig(), name="few")
    for source, exclude, message in (
        (fp32, ("0.*", "1.*"), f"{fp32}: no fp32 matrix is left that can be stored in few bits"),
        (few, (), f"{few}: no fp32 matrix is left that can be stored in few bits"),
    ):
        with pytest.raises(UserError) as refused:
            quantize_weights_only_variant(source, tmp_path / "new", WeightOnlyConfig(exclude=exclude), name="new")
        assert str(refused.value) == message
        assert not (tmp_path / "new").exists()


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (
            lambda: DynamicConfig(embedding_block=24),
            "--dynamic.embedding_block 24 must be a power of 2 of at least 16",
        ),
        (lambda: WeightOnlyConfig(block=8), "--weight_only.block 8 must be a power of 2 of at least 16"),
        (lambda: StaticConfig(percentile=50.0), "--static.percentile 50.0 must be above 50 and at most 100"),
        (lambda: StaticConfig(texts=0), "--static.texts 0 must be at least 1"),
        (
            lambda: StaticConfig(everything=True, embeddings="int8"),
            "--static.everything quantises the embeddings, too: leave --static.embeddings at fp32",
        ),
        (
            lambda: StaticConfig(everything=True, exclude=("0.*",)),
            "--static.everything leaves nothing out: use it without --static.exclude",
        ),
    ],
)
def test_settings_that_make_no_sense(make: type, message: str) -> None:
    with pytest.raises(ValueError) as refused:
        make()
    assert str(refused.value) == message
