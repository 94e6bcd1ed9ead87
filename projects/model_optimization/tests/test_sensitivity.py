from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from model_optimization.config.export import ExportConfig
from model_optimization.config.quantization import DynamicConfig
from model_optimization.config.sensitivity import MixedPrecisionConfig, SensitivityConfig
from model_optimization.deployment.onnx_conversion import export_classifier
from model_optimization.quantization.dynamic_quantization import quantize_dynamic_variant
from model_optimization.quantization.fake_quantization import FakeQuantizedLinear
from model_optimization.quantization.layer_changes import layer_trials, smallest_weights_zero
from model_optimization.quantization.mixed_precision import choose_exclusions
from model_optimization.quantization.onnx_nodes import MatMulNode, matmul_nodes
from model_optimization.quantization.sensitivity import (
    LayerSensitivity,
    QuantizedGraphs,
    count_flips,
    matrix_groups,
    sensitivity_map,
    sqnr_db,
)
from model_optimization.quantization.sensitivity_figure import sensitivity_figure
from model_optimization.types import Texts
from model_optimization.variants import load_variant, read_info
from roadmap_shared.errors import UserError
from roadmap_shared.report.figures import figure_svg

from .tiny_models import TEXTS, tiny_classifier

VALIDATION = Texts(texts=TEXTS, targets=np.array([1, 0, 1, 1, 0, 1, 1, 0]))


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return export_classifier(tiny_classifier(), tmp_path_factory.mktemp("s") / "fp32", ExportConfig(), name="fp32")


@pytest.fixture(scope="module")
def spoilt(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One matrix whose inputs hold a number so large that int8 loses the others: all else is easy to quantise."""
    classifier = tiny_classifier()
    weights = dict(classifier.network.named_parameters())
    with torch.no_grad():
        weights["bert.encoder.layer.1.intermediate.dense.bias"][0] = 3000.0
        weights["bert.encoder.layer.1.output.dense.weight"][:, 0] = 0.0
    return export_classifier(classifier, tmp_path_factory.mktemp("s") / "fp32", ExportConfig(), name="fp32")


def test_sqnr_by_hand() -> None:
    reference = np.array([[1.0, -1.0], [2.0, -2.0]], dtype=np.float32)
    assert sqnr_db(reference, reference) == float("inf")
    assert sqnr_db(reference, reference * 0.9) == pytest.approx(20)
    assert sqnr_db(reference, -reference) == pytest.approx(10 * np.log10(1 / 4))
    assert sqnr_db(reference, reference + 5) == float("inf")


@given(st.integers(1, 30), st.floats(1e-3, 1.0))
def test_half_the_error_is_6_db_more(n: int, size: float) -> None:
    generator = np.random.default_rng(n)
    reference, error = generator.normal(size=(2, n, 3))
    whole, half = (sqnr_db(reference, reference + factor * size * error) for factor in (1, 0.5))
    assert half - whole == pytest.approx(20 * np.log10(2), abs=1e-6)


def test_flips_and_their_interval() -> None:
    reference = np.array([[1, 0], [0, 1], [2, 1], [0, 3]], dtype=np.float32)
    changed = np.array([[5, 0], [1, 0], [1, 2], [0, 1]], dtype=np.float32)
    assert count_flips(reference, changed) == 2
    row = LayerSensitivity(layer=0, part="query", sqnr_db=1.0, flips=2, n=4)
    assert (row.flip_share.estimate, row.label) == (0.5, "0.query")
    assert row.flip_share.low < 0.5 < row.flip_share.high


def test_groups() -> None:
    nodes = [
        MatMulNode(name=f"{layer}{part}", layer=layer, part=part)
        for layer, part in [(0, "query"), (0, "key"), (1, "query"), (1, "key"), (None, "classifier")]
    ]

    def keys(by: str) -> list[tuple[int | None, str, int]]:
        return [(group.layer, group.part, len(group.nodes)) for group in matrix_groups(nodes, by)]  # type: ignore[arg-type]

    assert keys("matrix")[1:3] == [(0, "key", 1), (1, "query", 1)]
    assert keys("layer") == [(0, "all", 2), (1, "all", 2), (None, "classifier", 1)]
    assert keys("part") == [(None, "query", 2), (None, "key", 2), (None, "classifier", 1)]


def test_one_matrix_alone_is_the_variant_that_excludes_the_others(source: Path, tmp_path: Path) -> None:
    names = [node.name for node in matmul_nodes(onnx.load(source / "model.onnx"))]
    config = DynamicConfig(exclude=tuple(names[1:]))
    variant = load_variant(quantize_dynamic_variant(source, tmp_path / "one", config, name="one"))
    reference = load_variant(source).logits(TEXTS, 3)
    expected = sqnr_db(reference, variant.logits(TEXTS, 3))
    with QuantizedGraphs(source, TEXTS, batch_size=3) as graphs:
        np.testing.assert_allclose(graphs.reference, reference, atol=1e-6)
        rows = sensitivity_map(graphs.reference, graphs.trials_alone("matrix")[:2])
    assert rows[0].sqnr_db == pytest.approx(expected, abs=0.01)
    assert (rows[0].layer, rows[0].part, rows[0].n) == (0, "query", 8)


def test_the_map_finds_the_matrix_that_suffers(spoilt: Path) -> None:
    with QuantizedGraphs(spoilt, TEXTS, batch_size=4) as graphs:
        alone = sensitivity_map(graphs.reference, graphs.trials_alone("matrix"))
        all_but = sensitivity_map(graphs.reference, graphs.trials_all_but("layer"))
    assert len(alone) == 14
    order = sorted(alone, key=lambda row: row.sqnr_db)
    assert order[0].label == "1.ffn_out"
    assert order[1].sqnr_db - order[0].sqnr_db > 10
    # With everything else in int8, it helps to leave that layer in fp32.
    assert max(all_but, key=lambda row: row.sqnr_db).label == "1.all"


def test_in_torch_the_same_matrix_is_found() -> None:
    classifier = tiny_classifier()
    before = classifier.logits(TEXTS)
    trials = layer_trials(classifier, FakeQuantizedLinear, TEXTS, by="matrix", batch_size=4)
    rows = sensitivity_map(before, trials)
    np.testing.assert_array_equal(classifier.logits(TEXTS), before)
    assert [row.label for row in rows][:6] == [
        f"0.{part}" for part in ("query", "key", "value", "attention_output", "ffn_in", "ffn_out")
    ]
    assert all(15 < row.sqnr_db < 80 for row in rows)


def test_fake_quantisation_of_one_layer_foretells_onnx_runtimes(source: Path) -> None:
    classifier = tiny_classifier()
    trials = layer_trials(classifier, FakeQuantizedLinear, TEXTS, by="part", batch_size=1)
    faked = sensitivity_map(classifier.logits(TEXTS), trials)
    with QuantizedGraphs(source, TEXTS, batch_size=1) as graphs:
        real = sensitivity_map(graphs.reference, graphs.trials_alone("part"))
    assert [row.label for row in faked] == [row.label for row in real]
    for one, other in zip(faked, real, strict=True):
        assert one.sqnr_db == pytest.approx(other.sqnr_db, abs=2)


def test_pruning_more_costs_more() -> None:
    classifier = tiny_classifier()
    reference = classifier.logits(TEXTS)
    sqnr = []
    for sparsity in (0.2, 0.9):
        trials = layer_trials(classifier, smallest_weights_zero(sparsity), TEXTS, by="layer", batch_size=8)
        sqnr.append(np.mean([row.sqnr_db for row in sensitivity_map(reference, trials)]))
    assert sqnr[0] > sqnr[1] + 6


def test_pruning_by_hand() -> None:
    linear = nn.Linear(3, 2, bias=False)
    linear.weight.data = torch.tensor([[0.1, -3.0, 0.5], [-0.2, 4.0, 1.0]])
    changed = smallest_weights_zero(0.5)(linear)
    assert changed is linear
    assert linear.weight.tolist() == [[0.0, -3.0, 0.0], [0.0, 4.0, 1.0]]


def test_mixed_precision_leaves_out_the_matrix_that_suffers(spoilt: Path, tmp_path: Path) -> None:
    reference = load_variant(spoilt).logits(TEXTS)
    labels = Texts(texts=TEXTS, targets=reference.argmax(1))
    config = MixedPrecisionConfig(max_flips=0.0, max_trials=3, batch_size=4)
    with QuantizedGraphs(spoilt, TEXTS, batch_size=4) as graphs:
        assert count_flips(graphs.reference, graphs.logits([])) > 0  # or there is nothing to choose
    mixed = choose_exclusions(spoilt, tmp_path / "mixed", labels, config, name="mixed")
    assert mixed.goal_met
    assert (mixed.excluded, mixed.flips, mixed.n) == (("/bert/encoder/layer.1/output/dense/MatMul",), 0, 8)
    assert [trial.meets_goal for trial in mixed.trials] == [False, True]
    assert mixed.summary == "goal met in trial 2; matrices in fp32: 1; labels flipped: 0 of 8"
    assert count_flips(reference, load_variant(mixed.variant).logits(TEXTS, 4)) == 0
    assert read_info(mixed.variant).name == "mixed"


def test_the_best_attempt_is_kept_where_nothing_meets_the_goal(spoilt: Path, tmp_path: Path) -> None:
    wrong = Texts(texts=TEXTS, targets=1 - load_variant(spoilt).logits(TEXTS).argmax(1))
    config = MixedPrecisionConfig(max_flips=0.0, max_accuracy_loss=0.0, max_trials=1, batch_size=4)
    mixed = choose_exclusions(spoilt, tmp_path / "mixed", wrong, config, name="mixed")
    assert not mixed.goal_met
    assert mixed.excluded == ()
    assert mixed.summary.startswith("goal not met (trials: 1), the best is kept; matrices in fp32: 0; labels flipped: ")
    assert load_variant(mixed.variant).logits(TEXTS).shape == (8, 2)


def test_a_map_made_before_is_used_and_embeddings_count(spoilt: Path, tmp_path: Path) -> None:
    rows = [LayerSensitivity(layer=0, part="key", sqnr_db=1.0, flips=0, n=8)]
    labels = Texts(texts=TEXTS, targets=load_variant(spoilt).logits(TEXTS).argmax(1))
    config = MixedPrecisionConfig(max_flips=0.0, max_trials=2, batch_size=4)
    dynamic = DynamicConfig(exclude=("query",), embeddings="int8")
    mixed = choose_exclusions(spoilt, tmp_path / "mixed", labels, config, name="mixed", dynamic=dynamic, ranking=rows)
    assert mixed.trials[1].excluded == ("/bert/encoder/layer.0/attention/self/key/MatMul",)
    logits = load_variant(mixed.variant).logits(TEXTS, 4)
    assert mixed.flips == int((logits.argmax(1) != labels.targets).sum())
    assert len(read_info(mixed.variant).recipe["excluded_nodes"]) == 2 + len(mixed.excluded)


def test_a_goal_that_int8_meets_takes_one_trial(source: Path, tmp_path: Path) -> None:
    config = MixedPrecisionConfig(max_flips=0.9, max_accuracy_loss=0.9)
    mixed = choose_exclusions(source, tmp_path / "mixed", VALIDATION, config, name="mixed")
    assert (mixed.goal_met, len(mixed.trials), mixed.excluded) == (True, 1, ())


def test_no_texts(source: Path, tmp_path: Path) -> None:
    none = Texts(texts=(), targets=np.array([], dtype=np.int64))
    with pytest.raises(UserError) as raised:
        choose_exclusions(source, tmp_path / "mixed", none, MixedPrecisionConfig(), name="mixed")
    assert str(raised.value) == "mixed precision: there are no validation texts to measure the goal on"
    with pytest.raises(UserError, match="there are no texts to compare the logits of"):
        QuantizedGraphs(source, (), batch_size=4)


def test_the_figure_shows_every_cell() -> None:
    rows = [
        LayerSensitivity(layer=0, part="query", sqnr_db=30.4, flips=1, n=50),
        LayerSensitivity(layer=0, part="ffn_out", sqnr_db=12.0, flips=7, n=50),
        LayerSensitivity(layer=None, part="classifier", sqnr_db=float("inf"), flips=0, n=50),
    ]
    svg = figure_svg(sensitivity_figure(rows, title="A map"))
    for text in ("A map", "30 dB", "1 flip<", "12 dB", "7 flips", "∞", "layer 0", "no layer", "dB below the best cell"):
        assert text in svg


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: SensitivityConfig(texts=0), "--sensitivity.texts 0 must be at least 1"),
        (lambda: SensitivityConfig(sparsity=1.0), "--sensitivity.sparsity 1.0 must be above 0 and below 1"),
        (lambda: MixedPrecisionConfig(max_flips=-0.1), "--mixed.max_flips -0.1 must be at least 0 and below 1"),
        (lambda: MixedPrecisionConfig(max_trials=0), "--mixed.max_trials 0 must be at least 1"),
    ],
)
def test_wrong_settings(make: object, message: str) -> None:
    with pytest.raises(ValueError) as raised:
        make()  # type: ignore[operator]
    assert str(raised.value) == message
