"""The GGUF file: read back, it computes the encoder's states, by a BERT that is written out here in NumPy."""

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from model_optimization.commands.export import run
from model_optimization.config.export import ExportCommandConfig
from model_optimization.config.model import ModelConfig
from model_optimization.deployment.gguf_export import export_gguf
from model_optimization.pruning.pruned_bert import PrunedBertConfig, PrunedBertForSequenceClassification
from model_optimization.quantization import extras
from model_optimization.torch_classifier import TorchClassifier
from roadmap_shared.errors import UserError

from .tiny_models import TEXTS, tiny_classifier, tiny_network, tiny_tokenizer


def _read(path: Path) -> tuple[dict[str, np.ndarray], Any]:
    gguf = pytest.importorskip("gguf", reason="the extra gguf is not installed")
    reader = gguf.GGUFReader(path)
    return {
        item.name: gguf.dequantize(item.data, item.tensor_type).astype(np.float64) for item in reader.tensors
    }, reader


def _normed(x: np.ndarray, weights: dict[str, np.ndarray], name: str, eps: float) -> np.ndarray:
    centred = x - x.mean(-1, keepdims=True)
    return (
        centred / np.sqrt((centred**2).mean(-1, keepdims=True) + eps) * weights[f"{name}.weight"]
        + weights[f"{name}.bias"]
    )


def _bert(w: dict[str, np.ndarray], ids: list[int], layers: int, heads: int, eps: float) -> np.ndarray:
    """(T, D) states of the last layer of one text (Devlin et al. 2019), by GGUF's names."""

    def linear(x: np.ndarray, name: str) -> np.ndarray:
        return x @ w[f"{name}.weight"].T + w[f"{name}.bias"]

    def split(x: np.ndarray) -> np.ndarray:  # (T, D) -> (heads, T, D / heads)
        return x.reshape(len(ids), heads, -1).transpose(1, 0, 2)

    erf = np.vectorize(math.erf)
    x = w["token_embd.weight"][ids] + w["position_embd.weight"][: len(ids)] + w["token_types.weight"][0]
    x = _normed(x, w, "token_embd_norm", eps)
    for layer in range(layers):
        b = f"blk.{layer}"
        q, k, v = (split(linear(x, f"{b}.attn_{part}")) for part in "qkv")
        scores = q @ k.transpose(0, 2, 1) / np.sqrt(q.shape[-1])
        chances = np.exp(scores - scores.max(-1, keepdims=True))
        chances /= chances.sum(-1, keepdims=True)
        seen = (chances @ v).transpose(1, 0, 2).reshape(len(ids), -1)
        x = _normed(x + linear(seen, f"{b}.attn_output"), w, f"{b}.attn_output_norm", eps)
        inner = linear(x, f"{b}.ffn_up")
        inner = inner * 0.5 * (1 + erf(inner / np.sqrt(2)))
        x = _normed(x + linear(inner, f"{b}.ffn_down"), w, f"{b}.layer_output_norm", eps)
    return x


def _states(classifier: TorchClassifier, ids: list[int]) -> np.ndarray:
    with torch.inference_mode():
        return classifier.network.base_model(torch.tensor([ids])).last_hidden_state[0].numpy()


@pytest.mark.parametrize(("weights", "tolerance"), [("f32", 1e-4), ("q8_0", 0.15)])
def test_file_computes_the_encoders_states(tmp_path: Path, weights: Any, tolerance: float) -> None:
    pytest.importorskip("gguf", reason="the extra gguf is not installed")
    classifier = tiny_classifier()
    made = export_gguf(classifier, tmp_path / "m.gguf", weights)
    tensors, _ = _read(tmp_path / "m.gguf")
    assert made.tensors == len(tensors)
    for ids in classifier.token_ids(TEXTS[:3]):
        expected = _states(classifier, ids)
        np.testing.assert_allclose(_bert(tensors, ids, 2, 4, 1e-12), expected, atol=tolerance)
    assert [path.name for path in tmp_path.iterdir()] == ["m.gguf"]


def test_file_says_what_it_lacks_and_how_words_are_cut(tmp_path: Path) -> None:
    pytest.importorskip("gguf", reason="the extra gguf is not installed")
    made = export_gguf(tiny_classifier(), tmp_path / "m.gguf")
    assert str(made) == (
        f"{made.tensors} tensors; left out: bert.pooler.dense.weight, bert.pooler.dense.bias, classifier.weight, "
        "classifier.bias: the file gives states of tokens, no labels"
    )
    _, reader = _read(tmp_path / "m.gguf")
    tokens = reader.fields["tokenizer.ggml.tokens"].contents()
    vocabulary = tiny_tokenizer().get_vocab()
    assert tokens[vocabulary["[CLS]"]] == "[CLS]"
    assert tokens[vocabulary["film"]] == "▁film"
    assert tokens[vocabulary["##ly"]] == "ly"
    assert reader.fields["bert.attention.head_count"].contents() == 4
    assert reader.fields["bert.attention.causal"].contents() is False


def test_other_networks_are_one_line(tmp_path: Path) -> None:
    pytest.importorskip("gguf", reason="the extra gguf is not installed")
    settings = {k: v for k, v in tiny_network(("a", "b")).config.to_dict().items() if k != "model_type"}
    network = PrunedBertForSequenceClassification(PrunedBertConfig(**settings))
    with pytest.raises(UserError) as failure:
        export_gguf(TorchClassifier(network, tiny_tokenizer(), 64), tmp_path / "m.gguf")
    assert str(failure.value) == (
        "PrunedBertForSequenceClassification: GGUF is written of BERT with layers of one size alone"
    )
    assert list(tmp_path.iterdir()) == []


def test_export_command_writes_it_beside_the_graph(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("gguf", reason="the extra gguf is not installed")
    tiny_classifier(tmp_path / "source")
    model = ModelConfig(path=tmp_path / "source")
    run(ExportCommandConfig(model=model, output=tmp_path / "graph", gguf=tmp_path / "encoder.gguf"))
    assert "encoder.gguf: 37 tensors; left out: bert.pooler" in capsys.readouterr().out
    assert (tmp_path / "encoder.gguf").stat().st_size > 0


def test_missing_package_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(extras, "find_spec", lambda name: None)
    with pytest.raises(UserError, match=r"^gguf is not installed: pip install 'roadmap-model-optimization\[gguf\]'$"):
        export_gguf(tiny_classifier(), tmp_path / "m.gguf")
