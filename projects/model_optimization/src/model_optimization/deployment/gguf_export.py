"""The encoder of a BERT classifier as a GGUF file, the format of llama.cpp.

GGUF's BERT is an encoder for embeddings: it has no place for BERT's pooler, and without it the classification layer
would answer other labels. Both are left out, and the file says so: it gives a state for each token, no labels. Matrices
can be kept in 8 bits, a scale for every 32 weights of a row (Q8_0).
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from transformers import BertForSequenceClassification

from model_optimization.quantization.extras import imported
from model_optimization.torch_classifier import TorchClassifier
from roadmap_shared.errors import UserError

_BLOCK = 32  # weights of a row that share a scale


@dataclass(frozen=True, kw_only=True)
class GgufExport:
    """What a file holds."""

    tensors: int
    left_out: tuple[str, ...]
    """Tensors of the classifier that have no place in it."""

    def __str__(self) -> str:
        return (
            f"{self.tensors} tensors; left out: {', '.join(self.left_out)}: the file gives states of tokens, no labels"
        )


def export_gguf(classifier: TorchClassifier, path: Path, weights: Literal["f32", "q8_0"] = "q8_0") -> GgufExport:
    """Write the encoder and its tokenizer.

    Raises:
        UserError: the package gguf is missing, or the network is no BERT with layers of one size.
    """
    gguf: Any = imported("gguf", "gguf")
    network = classifier.network
    if type(network) is not BertForSequenceClassification:
        raise UserError(f"{type(network).__name__}: GGUF is written of BERT with layers of one size alone")
    names = gguf.get_tensor_name_map(gguf.MODEL_ARCH.BERT, network.config.num_hidden_layers)
    unfinished = path.with_name(f".{path.name}.unfinished")
    writer = gguf.GGUFWriter(unfinished, "bert")
    _settings(writer, gguf, network.config, weights)
    _tokenizer(writer, gguf, classifier)
    left_out, written = [], 0
    for name, tensor in network.state_dict().items():
        place = names.get_name(name.removeprefix("bert."), try_suffixes=(".weight", ".bias"))
        if not name.startswith("bert.") or ".pooler." in name or place is None:
            left_out.append(name)
            continue
        _tensor(writer, gguf, place, tensor.float().numpy(), weights)
        written += 1
    try:
        writer.write_header_to_file()
        writer.write_kv_data_to_file()
        writer.write_tensors_to_file()
        writer.close()
        unfinished.replace(path)
    finally:
        unfinished.unlink(missing_ok=True)
    return GgufExport(tensors=written, left_out=tuple(left_out))


def _settings(writer: Any, gguf: Any, config: Any, weights: str) -> None:
    writer.add_context_length(config.max_position_embeddings)
    writer.add_embedding_length(config.hidden_size)
    writer.add_block_count(config.num_hidden_layers)
    writer.add_feed_forward_length(config.intermediate_size)
    writer.add_head_count(config.num_attention_heads)
    writer.add_layer_norm_eps(config.layer_norm_eps)
    writer.add_causal_attention(False)
    writer.add_pooling_type(gguf.PoolingType.NONE)
    writer.add_file_type(gguf.LlamaFileType.MOSTLY_Q8_0 if weights == "q8_0" else gguf.LlamaFileType.ALL_F32)


def _tokenizer(writer: Any, gguf: Any, classifier: TorchClassifier) -> None:
    """WordPiece the other way round: GGUF marks what begins a word, by ▁, and not what goes on with one, by ##."""
    tokenizer: Any = classifier.tokenizer
    vocabulary: Mapping[str, int] = tokenizer.get_vocab()
    special = set(tokenizer.all_special_tokens)
    tokens, kinds = [], []
    for token in sorted(vocabulary, key=vocabulary.__getitem__):
        control = token in special
        tokens.append(token if control else token.removeprefix("##") if token.startswith("##") else f"▁{token}")
        kinds.append(gguf.TokenType.CONTROL if control else gguf.TokenType.NORMAL)
    writer.add_tokenizer_model("bert")
    writer.add_token_list(tokens)
    writer.add_token_types(kinds)
    writer.add_token_type_count(classifier.network.config.type_vocab_size)
    writer.add_unk_token_id(tokenizer.unk_token_id)
    writer.add_sep_token_id(tokenizer.sep_token_id)
    writer.add_pad_token_id(tokenizer.pad_token_id)
    writer.add_bos_token_id(tokenizer.cls_token_id)


def _tensor(writer: Any, gguf: Any, place: str, values: np.ndarray, weights: str) -> None:
    """Matrices in 8 bits where asked for; biases, norms and positions, which are few, as they are."""
    kind = gguf.GGMLQuantizationType.Q8_0
    large = values.ndim == 2 and values.shape[1] % _BLOCK == 0 and place not in _KEPT
    if weights == "q8_0" and large:
        writer.add_tensor(place, gguf.quants.quantize(values, kind), raw_dtype=kind)
    else:
        writer.add_tensor(place, values)


_KEPT = ("position_embd.weight", "token_types.weight")
