"""Dynamic int8 variants: what is quantised, what stays, and the traps of the library."""

import logging
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import helper, numpy_helper
from onnxruntime.quantization import quantize_dynamic

from model_optimization.config.quantization import DynamicConfig
from model_optimization.deployment.onnx_session import CHUNK, SLOW_FUSIONS
from model_optimization.quantization.affine import quantize, symmetric_per_channel
from model_optimization.quantization.dynamic_quantization import (
    NEIGHBOURS,
    quantize_dynamic_variant,
    quantize_matrices,
)
from model_optimization.quantization.onnx_nodes import matmul_nodes
from model_optimization.variants import check_files, load_variant, read_info, write_variant
from roadmap_shared.errors import UserError

from .onnx_operators import dense_model, run
from .onnx_variants import fp32_variant, operators, torch_variant, weights
from .tiny_models import TEXTS

MATRICES = 14  # 6 in each of 2 layers, pooler, classifier


@pytest.fixture(scope="module")
def fp32(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return fp32_variant(tmp_path_factory.mktemp("dynamic") / "fp32")


@pytest.fixture(scope="module")
def fp32_dynamo(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return fp32_variant(tmp_path_factory.mktemp("dynamic") / "fp32-dynamo", "dynamo")


@pytest.mark.parametrize("per_channel", [True, False])
@pytest.mark.parametrize("exporter", ["fp32", "fp32_dynamo"])
def test_graphs_of_both_exporters(
    tmp_path: Path, request: pytest.FixtureRequest, exporter: str, per_channel: bool
) -> None:
    source = request.getfixturevalue(exporter)
    folder = quantize_dynamic_variant(source, tmp_path / "int8", DynamicConfig(per_channel=per_channel), name="int8")
    assert operators(folder)["MatMulInteger"] == MATRICES
    assert "Gemm" not in operators(folder)
    reference, quantized = load_variant(source).logits(TEXTS), load_variant(folder).logits(TEXTS)
    np.testing.assert_allclose(quantized, reference, atol=0.1)
    assert np.abs(quantized - reference).max() > 1e-4
    before, after = (sum(weight.nbytes for weight in weights(at).values()) for at in (source, folder))
    assert after < 0.5 * before


def test_both_exporters_give_the_same_matrices(fp32: Path, fp32_dynamo: Path) -> None:
    by_trace, by_program = (matmul_nodes(onnx.load(folder / "model.onnx")) for folder in (fp32, fp32_dynamo))
    assert [node.label for node in by_program] == [node.label for node in by_trace]
    assert by_program[0].name.startswith("node_")


def test_variant_says_what_it_is(fp32: Path, tmp_path: Path) -> None:
    config = DynamicConfig(exclude=("0.ffn_out",))
    info = read_info(quantize_dynamic_variant(fp32, tmp_path / "int8", config, name="int8"))
    check_files(tmp_path / "int8")
    assert (info.name, info.parent, info.kind) == ("int8", "fp32", "onnx")
    assert (info.max_chunk, info.disabled_optimizers) == (CHUNK, SLOW_FUSIONS)
    assert (info.labels, info.max_length) == (read_info(fp32).labels, read_info(fp32).max_length)
    assert info.notes == (NEIGHBOURS,)
    assert info.recipe == {
        "method": "dynamic",
        "per_channel": True,
        "exclude": ["0.ffn_out"],
        "embeddings": "fp32",
        "embedding_block": 32,
        "matrices": MATRICES - 1,
        "excluded_nodes": ["/bert/encoder/layer.0/output/dense/MatMul"],
    }


def test_weights_are_those_of_the_arithmetic_by_hand(fp32: Path, tmp_path: Path) -> None:
    folder = quantize_dynamic_variant(fp32, tmp_path / "int8", DynamicConfig(), name="int8")
    before, after = weights(fp32), weights(folder)
    node = next(n for n in onnx.load(fp32 / "model.onnx").graph.node if n.name.endswith("layer.1/output/dense/MatMul"))
    weight = before[node.input[1]]
    affine = symmetric_per_channel(weight, axis=1)
    np.testing.assert_array_equal(after[f"{node.input[1]}_quantized"], quantize(weight, affine))
    np.testing.assert_allclose(after[f"{node.input[1]}_scale"], affine.scale, rtol=1e-7)


@pytest.mark.parametrize(
    ("exclude", "stay"),
    [(("0.ffn_out",), 1), (("classifier",), 1), (("pooler", "classifier", "0.*"), 8)],
)
def test_excluded_matrices_stay(fp32: Path, tmp_path: Path, exclude: tuple[str, ...], stay: int) -> None:
    folder = quantize_dynamic_variant(fp32, tmp_path / "mixed", DynamicConfig(exclude=exclude), name="mixed")
    attention_products = operators(fp32)["MatMul"] - (MATRICES - 2)
    assert operators(folder)["MatMulInteger"] == MATRICES - stay
    assert operators(folder)["MatMul"] == attention_products + stay
    load_variant(folder).logits(TEXTS)


def test_the_library_alone_does_not_exclude_a_gemm(fp32: Path, tmp_path: Path) -> None:
    """It rewrites a Gemm as MatMul and Add under another name before it looks at the names to exclude."""
    model = onnx.load(fp32 / "model.onnx")
    gemms = [node.name for node in model.graph.node if node.op_type == "Gemm"]
    folder = tmp_path / "graph"
    folder.mkdir()
    options = {"MatMulConstBOnly": True}
    quantize_dynamic(model, folder / "model.onnx", nodes_to_exclude=gemms, extra_options=options)
    assert operators(folder)["MatMulInteger"] == MATRICES
    quantize_matrices(model, folder / "model.onnx", gemms, per_channel=True)
    assert operators(folder)["MatMulInteger"] == MATRICES - 2


def test_shapes_that_the_exporter_left_do_not_stop_it(fp32: Path, tmp_path: Path) -> None:
    """As that of a weight from before it was transposed."""
    model = onnx.load(fp32 / "model.onnx")
    node = next(node for node in model.graph.node if node.name.endswith("layer.0/output/dense/MatMul"))
    model.graph.value_info.append(helper.make_tensor_value_info(node.input[1], onnx.TensorProto.FLOAT, [32, 64]))
    with pytest.raises(onnx.shape_inference.InferenceError, match="Inferred shape and existing shape differ"):
        quantize_dynamic(model, tmp_path / "library.onnx")

    def write(folder: Path) -> None:
        shutil.copytree(fp32, folder, dirs_exist_ok=True, ignore=shutil.ignore_patterns("variant.json"))
        put(folder / "model.onnx", model.SerializeToString())

    source = write_variant(tmp_path / "noted", read_info(fp32), write)
    noted = quantize_dynamic_variant(source, tmp_path / "noted-int8", DynamicConfig(), name="int8")
    plain = quantize_dynamic_variant(fp32, tmp_path / "int8", DynamicConfig(), name="int8")
    np.testing.assert_array_equal(load_variant(noted).logits(TEXTS), load_variant(plain).logits(TEXTS))


def test_operators_that_shape_inference_does_not_know_do_not_stop_it(tmp_path: Path) -> None:
    """As in graphs with fused operators, whose outputs have no type."""
    gelu = helper.make_node("BiasGelu", ["y0", "bias"], ["x1"], domain="com.microsoft")
    weight = np.eye(4, dtype=np.float32)
    # A product of a fused operator's output: what type it has, the quantiser has to be told.
    fused = dense_model(weight, weight, weight, between=[gelu])
    fused.graph.node[-1].input[0] = fused.graph.node[-2].output[0]
    fused.graph.initializer.append(numpy_helper.from_array(np.zeros(4, np.float32), "bias"))
    with pytest.raises(RuntimeError, match="Unable to find data type for weight_name"):
        quantize_dynamic(fused, tmp_path / "library.onnx")
    quantize_matrices(fused, tmp_path / "ours.onnx", [], per_channel=True)
    np.testing.assert_allclose(run(onnx.load(tmp_path / "ours.onnx"), {"x": 5 * weight})[0], 5 * weight, atol=0.05)


def test_logits_depend_on_the_neighbours(fp32: Path, tmp_path: Path) -> None:
    folder = quantize_dynamic_variant(fp32, tmp_path / "int8", DynamicConfig(), name="int8")
    classifier = load_variant(folder)
    tokens = classifier.token_ids(TEXTS[:CHUNK])
    alone, together = classifier.logits_of_tokens(tokens[:1])[0], classifier.logits_of_tokens(tokens)[0]
    assert np.abs(alone - together).max() > 1e-4
    np.testing.assert_allclose(alone, together, atol=0.1)
    fp32_classifier = load_variant(fp32)
    exact = [fp32_classifier.logits_of_tokens(some)[0] for some in (tokens[:1], tokens)]
    np.testing.assert_allclose(exact[0], exact[1], atol=1e-5)


def test_it_says_nothing_and_leaves_logging_as_it_was(
    fp32: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    handlers, disabled = logging.getLogger().handlers[:], logging.root.manager.disable
    quantize_dynamic_variant(fp32, tmp_path / "int8", DynamicConfig(), name="int8")
    assert (logging.getLogger().handlers, logging.root.manager.disable) == (handlers, disabled)
    assert capfd.readouterr() == ("", "")


def test_sources_that_cannot_be_quantised(fp32: Path, tmp_path: Path) -> None:
    target = tmp_path / "new"
    source = torch_variant(tmp_path / "torch")
    assert refusal(source, target) == f"{source}: is a torch variant: export it to ONNX first"
    source = quantize_dynamic_variant(fp32, tmp_path / "int8", DynamicConfig(), name="int8")
    assert refusal(source, target) == (
        f"{source}: has no fp32 weight matrix left: quantise the fp32 variant that it was made from"
    )
    assert refusal(tmp_path, target) == f"{tmp_path}: is no variant of a model (no variant.json in it)"
    assert not target.exists()


def test_exclusions_that_make_no_sense(fp32: Path, tmp_path: Path) -> None:
    everything = ("0.*", "1.*", "pooler", "classifier")
    message = refusal(fp32, tmp_path / "new", everything)
    assert message == "--dynamic.exclude 0.* 1.* pooler classifier: leaves no matrix to quantise"
    assert refusal(fp32, tmp_path / "new", ("ffn_ou",)).startswith("--dynamic.exclude ffn_ou: is no matrix of this")


def test_damaged_graphs(fp32: Path, tmp_path: Path) -> None:
    def broken(name: str, content: bytes) -> Path:
        return write_variant(
            tmp_path / name, replace(read_info(fp32), name=name), lambda path: put(path / "model.onnx", content)
        )

    source = broken("cut", (fp32 / "model.onnx").read_bytes()[:1000])
    assert refusal(source, tmp_path / "new").startswith(f"{source / 'model.onnx'}: is no ONNX graph: ")
    model = onnx.load(fp32 / "model.onnx")
    weight = next(item for item in model.graph.initializer if item.name == "classifier.weight")
    weight.CopyFrom(numpy_helper.from_array(np.full(tuple(weight.dims), np.nan, np.float32), weight.name))
    source = broken("nan", model.SerializeToString())
    assert refusal(source, tmp_path / "new") == (
        f"{source}: classifier.weight holds NaN or infinity: train the network again"
    )


def test_runtime_fuses_the_integer_products(fp32: Path, tmp_path: Path) -> None:
    """Each quantised product becomes one or two kernels; nothing is multiplied in fp32 next to them."""
    folder = quantize_dynamic_variant(fp32, tmp_path / "int8", DynamicConfig(), name="int8")
    options = onnxruntime.SessionOptions()
    options.optimized_model_filepath = str(tmp_path / "optimized.onnx")
    options.log_severity_level = 3
    onnxruntime.InferenceSession(
        folder / "model.onnx",
        options,
        providers=["CPUExecutionProvider"],
        disabled_optimizers=list(SLOW_FUSIONS),
    )
    kinds = [node.op_type for node in onnx.load(tmp_path / "optimized.onnx").graph.node]
    assert kinds.count("DynamicQuantizeMatMul") + kinds.count("MatMulIntegerToFloat") == MATRICES
    assert "MatMulInteger" not in kinds


def put(path: Path, content: bytes) -> None:
    path.write_bytes(content)


def refusal(source: Path, target: Path, exclude: tuple[str, ...] = ()) -> str:
    with pytest.raises(UserError) as refused:
        quantize_dynamic_variant(source, target, DynamicConfig(exclude=exclude), name="new")
    return str(refused.value)
