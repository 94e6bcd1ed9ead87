"""The export: equal to torch on every shape, with readable names, and refused where it is not equal."""

import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from torch import nn
from transformers import RobertaConfig, RobertaForSequenceClassification

from model_optimization.commands.export import run
from model_optimization.config.export import ComparisonConfig, ExportCommandConfig, ExportConfig
from model_optimization.config.model import ModelConfig
from model_optimization.deployment import onnx_comparison, onnx_conversion
from model_optimization.deployment.onnx_comparison import GraphRow
from model_optimization.deployment.onnx_conversion import (
    agreement,
    export_classifier,
    export_network,
    export_variant,
    longest_text,
    probe,
)
from model_optimization.deployment.onnx_session import CHUNK, SLOW_FUSIONS, OnnxClassifier
from model_optimization.pruning.pruned_bert import PrunedBertConfig, PrunedBertForSequenceClassification
from model_optimization.torch_classifier import TorchClassifier
from model_optimization.variants import VariantInfo, check_files, load_variant, read_info, write_variant
from roadmap_shared.errors import UserError

from .tiny_models import TEXTS, tiny_classifier, tiny_network, tiny_tokenizer


@pytest.mark.parametrize("exporter", ["legacy", "dynamo"])
@pytest.mark.parametrize("attention", ["eager", "sdpa"])
def test_every_way_to_export_gives_torchs_logits(tmp_path: Path, exporter: str, attention: str) -> None:
    classifier = tiny_classifier(tmp_path / "source")
    before = classifier.logits(TEXTS)
    config = ExportConfig(exporter=exporter, attention=attention)
    folder = export_variant(tmp_path / "source", tmp_path / "graph", config, name="graph")
    exported = load_variant(folder)
    for batch in (1, 2, 8):
        np.testing.assert_allclose(exported.logits(TEXTS, batch), before, atol=1e-5)
    assert {item.name for item in onnx.load(folder / "model.onnx").graph.input} == {
        "input_ids",
        "attention_mask",
        "token_type_ids",
    }


def test_variant_says_how_it_was_made(tmp_path: Path) -> None:
    classifier = tiny_classifier()
    source = write_variant(
        tmp_path / "source",
        VariantInfo(name="fine-tuned", kind="torch", labels=classifier.labels, max_length=40),
        classifier.save,
    )
    folder = export_variant(source, tmp_path / "graph", ExportConfig(), name="fp32")
    info = read_info(folder)
    check_files(folder)
    assert (info.name, info.parent, info.kind, info.max_length) == ("fp32", "fine-tuned", "onnx", 40)
    assert (info.max_chunk, info.disabled_optimizers) == (CHUNK, SLOW_FUSIONS)
    assert {**info.recipe, "max_difference": None} == {
        "method": "onnx",
        "exporter": "legacy",
        "attention": "eager",
        "opset": 17,
        "max_difference": None,
    }
    assert info.recipe["max_difference"] < 1e-5


def test_legacy_names_follow_the_modules(tmp_path: Path) -> None:
    export_network(tiny_classifier(), tmp_path / "model.onnx", ExportConfig())
    names = {node.name for node in onnx.load(tmp_path / "model.onnx").graph.node if node.op_type == "MatMul"}
    assert {f"/bert/encoder/layer.{layer}/output/dense/MatMul" for layer in (0, 1)} <= names


def test_exporting_leaves_the_network_as_it_was(tmp_path: Path) -> None:
    classifier = tiny_classifier()
    settings, logits = classifier.network.config.to_dict(), classifier.logits(TEXTS)
    attention = classifier.network.config._attn_implementation
    export_network(classifier, tmp_path / "model.onnx", ExportConfig())
    assert classifier.network.config.to_dict() == settings
    assert classifier.network.config._attn_implementation == attention
    assert np.array_equal(classifier.logits(TEXTS), logits)


def test_layers_of_different_sizes_are_exported_and_read_again(tmp_path: Path) -> None:
    plain = tiny_network(("negative", "positive"))
    settings = {name: value for name, value in plain.config.to_dict().items() if name != "model_type"}
    torch.manual_seed(0)
    network = PrunedBertForSequenceClassification(
        PrunedBertConfig(**settings | {"heads_per_layer": [3, 1], "ffn_per_layer": [20, 33]})
    )
    classifier = TorchClassifier(network, tiny_tokenizer(), 64)
    folder = export_classifier(classifier, tmp_path / "graph", ExportConfig(), name="pruned")
    np.testing.assert_allclose(load_variant(folder).logits(TEXTS), classifier.logits(TEXTS), atol=1e-5)


def test_network_without_token_types_has_no_such_input(tmp_path: Path) -> None:
    tokenizer = tiny_tokenizer()
    tokenizer.model_input_names = ["input_ids", "attention_mask"]
    torch.manual_seed(0)
    network = RobertaForSequenceClassification(
        RobertaConfig(
            vocab_size=len(tokenizer),
            hidden_size=32,
            num_hidden_layers=1,
            num_attention_heads=4,
            intermediate_size=64,
            max_position_embeddings=66,
            pad_token_id=0,
            initializer_range=0.2,
        )
    )
    classifier = TorchClassifier(network, tokenizer, 128)
    assert longest_text(classifier) == 65  # positions are counted from the padding token's number, 0, on
    check = export_network(classifier, tmp_path / "model.onnx", ExportConfig())
    assert check.inputs == ("input_ids", "attention_mask")
    assert (1, 65) in check.shapes
    assert check.max_difference < 1e-5


def test_padded_probe_has_texts_of_falling_length() -> None:
    inputs = probe(tiny_classifier(), (4, 8), padded=True)
    assert inputs["attention_mask"].sum(1).tolist() == [8, 5, 3, 1]
    assert torch.equal(inputs["input_ids"] == 0, inputs["attention_mask"] == 0)


class _Frozen(nn.Module):
    """Adds the mean of the example's mask, a number that tracing writes into the graph."""

    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self.inner = inner

    def forward(self, hidden: torch.Tensor) -> torch.Tensor:
        return self.inner(hidden) + float(hidden.shape[1])


def test_graph_that_froze_the_examples_length_is_not_written(tmp_path: Path) -> None:
    classifier = tiny_classifier()
    classifier.network.bert.encoder.layer[0].output.dense = _Frozen(
        classifier.network.bert.encoder.layer[0].output.dense
    )
    classifier.network.bert.encoder.layer[0].output.LayerNorm = nn.Identity()
    (tmp_path / "model.onnx").write_bytes(b"older")
    with pytest.raises(UserError) as failure:
        export_network(classifier, tmp_path / "model.onnx", ExportConfig())
    message = re.sub(r"up to \S+,", "up to X,", str(failure.value))
    assert message == (
        "the legacy export does not agree with the network: logits differ by up to X, --export.tolerance allows 0.0001"
        ": try --export.exporter dynamo"
    )
    assert [path.name for path in tmp_path.iterdir()] == ["model.onnx"]
    assert (tmp_path / "model.onnx").read_bytes() == b"older"


def test_weights_that_are_no_numbers_are_not_written(tmp_path: Path) -> None:
    classifier = tiny_classifier()
    with torch.no_grad():
        classifier.network.classifier.weight[0, 0] = float("nan")
    with pytest.raises(UserError, match="logits differ by up to inf"):
        export_classifier(classifier, tmp_path / "graph", ExportConfig(), name="x")
    assert list(tmp_path.iterdir()) == []


class _Unknown(nn.Module):
    def forward(self, hidden: torch.Tensor) -> torch.Tensor:
        return torch.special.bessel_j0(hidden)


def test_operator_that_onnx_lacks_is_one_line(tmp_path: Path) -> None:
    classifier = tiny_classifier()
    classifier.network.bert.encoder.layer[0].intermediate.intermediate_act_fn = _Unknown()
    with pytest.raises(UserError) as failure:
        export_network(classifier, tmp_path / "model.onnx", ExportConfig())
    assert str(failure.value) == (
        "BertForSequenceClassification: its operator aten::special_bessel_j0 is not in ONNX's operator set 17: try "
        "--export.exporter dynamo"
    )
    with pytest.raises(UserError, match=r"^BertForSequenceClassification: the dynamo exporter cannot export it"):
        export_network(classifier, tmp_path / "model.onnx", ExportConfig(exporter="dynamo"))
    assert list(tmp_path.iterdir()) == []


def test_network_beyond_a_protocol_buffer_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(onnx_conversion, "_LARGEST", 1000)
    with pytest.raises(UserError, match=r"^the network has 0\.0 GB of weights, and an ONNX file holds 2"):
        export_network(tiny_classifier(), tmp_path / "model.onnx", ExportConfig())


def test_sources_without_an_onnx_form_are_refused(tmp_path: Path) -> None:
    classifier = tiny_classifier()
    onnx_folder = export_classifier(classifier, tmp_path / "graph", ExportConfig(), name="x")
    with pytest.raises(UserError, match="is an ONNX variant already: export the torch variant that it was made from"):
        export_variant(onnx_folder, tmp_path / "again", ExportConfig(), name="y")
    on_load = VariantInfo(
        name="t", kind="torch", labels=classifier.labels, max_length=64, on_load="torchao_int8_dynamic"
    )
    folder = write_variant(tmp_path / "on-load", on_load, classifier.save)
    with pytest.raises(UserError, match="torchao_int8_dynamic is applied on loading and has no ONNX form"):
        export_variant(folder, tmp_path / "again", ExportConfig(), name="y")


def test_agreement_sees_another_networks_graph(tmp_path: Path) -> None:
    export_network(tiny_classifier(), tmp_path / "model.onnx", ExportConfig())
    other = tiny_classifier()
    with torch.no_grad():
        other.network.classifier.bias += 0.5
    assert agreement(other, tmp_path / "model.onnx").max_difference == pytest.approx(0.5, rel=0.9)
    assert agreement(tiny_classifier(), tmp_path / "model.onnx").max_difference < 1e-5


def test_onnx_runtime_keeps_no_figures_for_its_maker(tmp_path: Path) -> None:
    export_network(tiny_classifier(), tmp_path / "model.onnx", ExportConfig())
    program = (
        "import sys; from pathlib import Path; from model_optimization.deployment.onnx_session import open_session; "
    )
    program += "open_session(Path(sys.argv[1]))"
    home = tmp_path / "home"
    home.mkdir()
    environment = {name: value for name, value in os.environ.items() if name not in ("CI", "ORT_DISABLE_TELEMETRY")}
    environment |= dict.fromkeys(("HOME", "XDG_CACHE_HOME", "TMPDIR"), str(home))
    command = [sys.executable, "-P", "-c", program, str(tmp_path / "model.onnx")]
    subprocess.run(command, env=environment, check=True)
    assert list(home.rglob("*Microsoft*")) == []


def test_longest_text_of_the_graph_is_what_the_network_has_positions_for(tmp_path: Path) -> None:
    classifier = tiny_classifier(max_length=32)
    classifier.max_length = 128
    folder = export_classifier(classifier, tmp_path / "graph", ExportConfig(), name="x")
    exported = load_variant(folder)
    assert isinstance(exported, OnnxClassifier)
    assert exported.max_length == 32
    assert exported.logits(["good " * 100]).shape == (1, 2)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: ExportConfig(opset=12), "--export.opset 12 is outside 14 … 20, which the legacy exporter writes"),
        (lambda: ExportConfig(exporter="dynamo", opset=17), "--export.opset 17 is outside 18 … 23"),
        (lambda: ExportConfig(tolerance=0), "--export.tolerance 0 must be above 0 and below 1"),
        (lambda: ComparisonConfig(batches=()), "--comparison.batches must be sizes of 1 or more, each once"),
        (lambda: ComparisonConfig(batches=(1, 1)), "--comparison.batches must be sizes of 1 or more, each once"),
        (lambda: ComparisonConfig(tokens=1), "--comparison.tokens 1 is outside 2 … 512"),
        (lambda: ComparisonConfig(repeats=0), "--comparison.repeats 0 must be at least 1"),
    ],
)
def test_settings_are_checked(make: object, message: str) -> None:
    with pytest.raises(ValueError, match=re.escape(message)):
        make()


def test_command_exports_a_folder_and_compares(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    row = GraphRow(
        name="legacy, eager", nodes=9, nodes_run=7, fused={}, megabytes=0.1, max_difference=1e-7, speedup={1: 1.2}
    )
    monkeypatch.setattr(onnx_comparison, "compare_graphs", lambda *_: ([row], ["plain.onnx: cannot be fused"]))
    tiny_classifier(tmp_path / "source")
    config = ExportCommandConfig(
        model=ModelConfig(path=tmp_path / "source", max_length=32),
        output=tmp_path / "graph",
        compare=True,
        comparison=ComparisonConfig(batches=(1,), tokens=8, repeats=1),
    )
    run(config)
    printed = capsys.readouterr().out
    assert re.match(
        r".*graph: 0\.1 MB, 2 labels, texts of up to 32 tokens; its logits differ from torch's by \S+ at most", printed
    )
    assert (
        "legacy, eager     9     7    0.1    1.0e-07     1.20x  -\nnot made: plain.onnx: cannot be fused\n" in printed
    )
    assert read_info(tmp_path / "graph").name == "graph"
    run(ExportCommandConfig(model=ModelConfig(path=tmp_path / "source"), output=tmp_path / "graph"))  # replaces its own


def test_command_replaces_no_other_folder(tmp_path: Path) -> None:
    tiny_classifier(tmp_path / "source")
    with pytest.raises(UserError, match=r"^which model\? Name its folder with --model\.path FOLDER$"):
        run(ExportCommandConfig())
    config = ExportCommandConfig(model=ModelConfig(path=tmp_path / "source"), output=tmp_path / "source")
    with pytest.raises(UserError, match="source: is there and holds no variant: name another folder"):
        run(config)
    assert (tmp_path / "source" / "model.safetensors").is_file()
