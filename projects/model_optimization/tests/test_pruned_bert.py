"""BERTs with sizes of their own in each layer are built, saved, read and exported."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from huggingface_hub.errors import StrictDataclassError
from transformers import AutoConfig, AutoModelForSequenceClassification, BertForSequenceClassification

from model_optimization.config.export import ExportConfig
from model_optimization.deployment.onnx_conversion import export_variant
from model_optimization.pruning.pruned_bert import (
    PrunedBertConfig,
    PrunedBertForSequenceClassification,
    register_pruned,
)
from model_optimization.pruning.structured_pruning import Choice, cut_units
from model_optimization.torch_classifier import TorchClassifier
from model_optimization.variants import VariantInfo, load_variant, write_variant
from roadmap_shared.errors import UserError

from .tiny_models import TEXTS, tiny_classifier

SIZES = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 64, "vocab_size": 50}


def ragged() -> TorchClassifier:
    heads, neurons = [np.array([0, 2, 3]), np.array([1])], [np.arange(5), np.arange(0, 64, 2)]
    return cut_units(tiny_classifier(), Choice(heads=heads, neurons=neurons))


def test_saved_and_read_bit_for_bit(tmp_path: Path) -> None:
    pruned = ragged()
    pruned.save(tmp_path)
    read = TorchClassifier.load(tmp_path, 64)
    assert isinstance(read.network, PrunedBertForSequenceClassification)
    assert read.network.config.sizes() == [(3, 5), (1, 32)]
    np.testing.assert_array_equal(read.logits(TEXTS), pruned.logits(TEXTS))
    assert read.labels == ("negative", "positive")


def test_without_sizes_it_is_bert() -> None:
    torch.manual_seed(0)
    plain = BertForSequenceClassification(AutoConfig.for_model("bert", **SIZES)).eval()
    same = PrunedBertForSequenceClassification(PrunedBertConfig(**SIZES)).eval()
    same.load_state_dict(plain.state_dict())
    ids = torch.arange(12).view(2, 6)
    torch.testing.assert_close(same(ids).logits, plain(ids).logits, rtol=0, atol=0)


def test_registering_twice_is_registering_once() -> None:
    register_pruned()
    register_pruned()
    config = AutoConfig.for_model("pruned_bert", **SIZES, heads_per_layer=[1, 2])
    network = AutoModelForSequenceClassification.from_config(config)
    assert [tuple(layer.attention.self.query.weight.shape) for layer in network.bert.encoder.layer] == [
        (8, 32),
        (16, 32),
    ]


@pytest.mark.parametrize(
    ("sizes", "message"),
    [
        ({"heads_per_layer": [4]}, "heads_per_layer has 1 sizes for 2 layers"),
        ({"heads_per_layer": [4, 0]}, "heads_per_layer [4, 0] must be between 1 and 4"),
        ({"ffn_per_layer": [65, 1]}, "ffn_per_layer [65, 1] must be between 1 and 64"),
        ({"ffn_per_layer": [1.5, 1]}, "Field 'ffn_per_layer'"),
    ],
)
def test_impossible_sizes_are_refused(sizes: dict[str, list[int]], message: str) -> None:
    with pytest.raises(StrictDataclassError) as refusal:
        PrunedBertConfig(**SIZES, **sizes)
    assert message in str(refusal.value)


def test_a_damaged_config_is_one_clear_line(tmp_path: Path) -> None:
    ragged().save(tmp_path)
    record = json.loads((tmp_path / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps(record | {"heads_per_layer": [3]}))
    with pytest.raises(UserError) as refusal:
        TorchClassifier.load(tmp_path, 64)
    assert str(refusal.value) == (
        f"{tmp_path}: cannot be loaded as a text classifier: Class validation error for validator "
        "'validate_sizes_of_layers': ValueError: heads_per_layer has 1 sizes for 2 layers"
    )


def test_weights_of_other_sizes_are_refused(tmp_path: Path) -> None:
    ragged().save(tmp_path)
    record = json.loads((tmp_path / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps(record | {"ffn_per_layer": [6, 32]}))
    with pytest.raises(UserError, match=r"bert\.encoder\.layer\.0\.intermediate\.dense\.bias is \(5,\) in its weights"):
        TorchClassifier.load(tmp_path, 64)


def test_a_pruned_variant_becomes_an_onnx_graph(tmp_path: Path) -> None:
    pruned = ragged()
    info = VariantInfo(name="pruned", kind="torch", labels=pruned.labels, max_length=64)
    write_variant(tmp_path / "pruned", info, pruned.save)
    export_variant(tmp_path / "pruned", tmp_path / "graph", ExportConfig(), name="graph")
    graph = load_variant(tmp_path / "graph")
    np.testing.assert_allclose(graph.logits(TEXTS), pruned.logits(TEXTS), atol=1e-5, rtol=0)


def test_its_graph_opens_in_silence_where_pruning_was_never_imported(tmp_path: Path) -> None:
    pruned = ragged()
    info = VariantInfo(name="pruned", kind="torch", labels=pruned.labels, max_length=64)
    write_variant(tmp_path / "pruned", info, pruned.save)
    export_variant(tmp_path / "pruned", tmp_path / "graph", ExportConfig(), name="graph")
    code = (
        "import sys; from pathlib import Path; from model_optimization.variants import load_variant; "
        "print(load_variant(Path(sys.argv[1])).logits(['a good film']).shape)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path / "graph")], capture_output=True, text=True, check=False
    )
    assert (done.stdout.strip(), done.stderr.strip()) == ("(1, 2)", "")
