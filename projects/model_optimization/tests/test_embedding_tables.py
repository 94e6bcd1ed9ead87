"""Embedding tables of 8 and 4 bits against NumPy, ONNX Runtime's look-up, and its own quantiser."""

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import helper, numpy_helper

from model_optimization.config.quantization import DynamicConfig, Embeddings
from model_optimization.quantization.affine import sqnr_db
from model_optimization.quantization.dynamic_quantization import quantize_dynamic_variant
from model_optimization.quantization.embedding_tables import (
    quantize_embedding_tables,
    quantize_embeddings,
    quantize_rows,
)
from model_optimization.variants import load_variant, read_info
from roadmap_shared.errors import UserError

from .onnx_operators import model_of, run
from .onnx_variants import fp32_variant, operators, weights
from .tiny_models import TEXTS


def table(rows: int = 50, columns: int = 48) -> np.ndarray:
    """Rows of very different size, the first of zeros, as of the padding token."""
    random = np.random.default_rng(0)
    values = random.normal(0, 1, (rows, columns)) * np.exp(random.normal(0, 1, (rows, 1)))
    values[0] = 0
    return values.astype(np.float32)


def lookup_model(words: np.ndarray, *, shared: bool = False) -> onnx.ModelProto:
    nodes = [helper.make_node("Gather", ["words", "ids"], ["y"], name="/embeddings/Gather")]
    outputs = [helper.make_tensor_value_info("y", onnx.TensorProto.FLOAT, None)]
    if shared:
        nodes.append(helper.make_node("Identity", ["words"], ["tied"]))
        outputs.append(helper.make_tensor_value_info("tied", onnx.TensorProto.FLOAT, None))
    ids = helper.make_tensor_value_info("ids", onnx.TensorProto.INT64, ["batch", "tokens"])
    return model_of(helper.make_graph(nodes, "g", [ids], outputs, [numpy_helper.from_array(words, "words")]), opset=17)


@pytest.mark.parametrize(("bits", "block"), [(8, 64), (8, 16), (4, 16), (4, 32), (4, 64)])
def test_runtime_looks_up_what_was_quantised(bits: int, block: int) -> None:
    words = table()
    integers, scales = quantize_rows(words, bits, block)
    assert integers.shape == (50, 48 * bits // 8)
    assert scales.shape == (50, -(-48 // block))
    # Undone by NumPy alone:
    plain = integers if bits == 8 else np.stack([integers & 15, integers >> 4], axis=-1).reshape(50, 48)
    back = (plain.astype(np.float32) - 2 ** (bits - 1)) * np.repeat(scales, block, axis=1)[:, :48]
    assert (
        np.abs(back - words) <= 0.501 * np.abs(np.repeat(scales, block, axis=1)[:, :48]) * (2 if bits == 4 else 1)
    ).all()
    model = model_of(
        helper.make_graph(
            [
                helper.make_node(
                    "GatherBlockQuantized",
                    ["w", "ids", "s"],
                    ["y"],
                    domain="com.microsoft",
                    gather_axis=0,
                    quantize_axis=1,
                    block_size=block,
                    bits=bits,
                )
            ],
            "g",
            [helper.make_tensor_value_info("ids", onnx.TensorProto.INT64, ["n"])],
            [helper.make_tensor_value_info("y", onnx.TensorProto.FLOAT, None)],
            [numpy_helper.from_array(integers, "w"), numpy_helper.from_array(scales, "s")],
        )
    )
    ids = np.array([0, 49, 7, 7])
    np.testing.assert_array_equal(run(model, {"ids": ids})[0], back[ids])


@pytest.mark.filterwarnings("ignore:invalid value encountered in divide:RuntimeWarning")  # theirs, of a row of zeros
def test_four_bits_equal_those_of_onnx_runtimes_quantiser() -> None:
    from onnxruntime.quantization.matmul_nbits_quantizer import DefaultWeightOnlyQuantizer

    words = table()
    theirs, their_scales, _ = DefaultWeightOnlyQuantizer.quantize_ndarray(words, 1, 16, is_symmetric=True)
    ours, our_scales = quantize_rows(words, 4, 16)
    np.testing.assert_array_equal(ours ^ 0x88, theirs.reshape(50, 24))  # theirs are signed: no middle is added
    np.testing.assert_array_equal(our_scales[1:], their_scales[1:])


def test_a_scale_for_each_row_keeps_the_small_rows() -> None:
    words = table()
    ids = np.arange(50)[None]
    by_row = run(quantize_embedding_tables(lookup_model(words), "int8", 32), {"ids": ids})[0][0]
    scale = np.abs(words).max() / 127
    by_table = np.rint(words / scale) * scale
    assert sqnr_db(words, by_row) > sqnr_db(words, by_table) + 6
    quietest = 1 + int(np.argmin(np.abs(words[1:]).max(axis=1)))
    assert sqnr_db(words[quietest], by_row[quietest]) > 35 > sqnr_db(words[quietest], by_table[quietest])
    assert not by_row[0].any()


def test_a_table_that_something_else_reads_stays_beside() -> None:
    model = quantize_embedding_tables(lookup_model(table(), shared=True), "int4", 16)
    names = {item.name for item in model.graph.initializer}
    assert names == {"words", "words_quantized", "words_scales"}
    np.testing.assert_array_equal(run(model, {"ids": np.array([[1]])})[1], table())
    alone = quantize_embedding_tables(lookup_model(table()), "int4", 16)
    assert {item.name for item in alone.graph.initializer} == {"words_quantized", "words_scales"}


@pytest.fixture(scope="module")
def fp32(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return fp32_variant(tmp_path_factory.mktemp("embeddings") / "fp32")


@pytest.mark.parametrize(("embeddings", "tolerance"), [("int8", 0.05), ("int4", 0.5)])
def test_variants(fp32: Path, tmp_path: Path, embeddings: Embeddings, tolerance: float) -> None:
    folder = quantize_embeddings(fp32, tmp_path / "small", embeddings, name="small")
    difference = np.abs(load_variant(folder).logits(TEXTS) - load_variant(fp32).logits(TEXTS)).max()
    assert 1e-5 < difference < tolerance
    assert operators(folder)["GatherBlockQuantized"] == 3
    tables = {name: weight for name, weight in weights(folder).items() if name.endswith("_embeddings.weight_quantized")}
    columns = {name.split(".")[2]: weight.shape[1] for name, weight in tables.items()}
    words = 32 if embeddings == "int8" else 16  # the largest table of the tiny model has the positions
    assert columns == {"word_embeddings": 32, "position_embeddings": words, "token_type_embeddings": 32}
    assert all(weight.dtype == np.uint8 for weight in tables.values())
    info = read_info(folder)
    assert (info.parent, info.recipe["method"], info.recipe["embeddings"]) == ("fp32", "embeddings", embeddings)
    # The operator set stays: a newer one in name alone makes ONNX Runtime leave fusions out.
    versions = {item.domain: item.version for item in onnx.load(folder / "model.onnx").opset_import}
    assert versions == {"": 17, "com.microsoft": 1}


def test_on_top_of_int8_matrices_equals_both_at_once(fp32: Path, tmp_path: Path) -> None:
    int8 = quantize_dynamic_variant(fp32, tmp_path / "int8", DynamicConfig(), name="int8")
    stacked = quantize_embeddings(int8, tmp_path / "stacked", "int4", name="stacked")
    at_once = quantize_dynamic_variant(fp32, tmp_path / "once", DynamicConfig(embeddings="int4"), name="once")
    np.testing.assert_array_equal(load_variant(stacked).logits(TEXTS), load_variant(at_once).logits(TEXTS))
    info = read_info(stacked)
    assert info.recipe["on_top_of"]["method"] == "dynamic"
    assert (info.parent, info.notes) == ("int8", read_info(int8).notes)


def test_a_graph_without_fp32_tables(fp32: Path, tmp_path: Path) -> None:
    small = quantize_embeddings(fp32, tmp_path / "small", "int8", name="small")
    with pytest.raises(UserError) as refused:
        quantize_embeddings(small, tmp_path / "smaller", "int4", name="smaller")
    assert str(refused.value) == "embeddings: the graph looks nothing up in an fp32 table: leave them at fp32"
    assert not (tmp_path / "smaller").exists()
