"""A sentence encoder as one ONNX graph from token ids to unit vectors, exported once and kept.

The graph takes one text at a time and so needs no mask; what torch computes for masks is left out of it. On 256 tokens
that alone makes it a third faster, and the scale of 8-bit activations, which is one for a whole input, is then each
text's own: a vector does not depend on what else was encoded.

The exporter is torch's older one (`dynamo=False`): both give the same vectors, and on MiniLM it takes 2 seconds where
the newer one takes 17 and twice the memory.
"""

import contextlib
import hashlib
import io
import json
import logging
import os
import re
import shutil
import tempfile
import warnings
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from rag_qa.config.encoder import EncoderConfig
from rag_qa.protocols import FloatArray
from rag_qa.retrieval.onnx_files import ABOUT, MODEL, TOKENIZER, ExportError, OnnxFiles, open_session
from rag_qa.retrieval.tokenized_encoder import TextLimits
from rag_qa.retrieval.torch_encoder import load_model, text_limits
from roadmap_shared.errors import one_line

LEAST_COSINE = {"onnx": 0.99999, "onnx_int8": 0.98}
"""Cosine similarity to torch's vector that every probe must have before an export is used. MiniLM in 8 bits, scaled for
each channel of a weight, has .993 and more; scaled for the whole matrix .87 to .97, which this keeps out."""

_FEED_FORWARD = re.compile(r"layer\.(\d+)/output/dense/MatMul$")

_SENTENCES = (
    "Passages are cut where a section ends, so that a heading stays with its text.",
    "When was the treaty signed, and by whom?",
    "The boundary layer thickens downstream of the shock; heat transfer falls by 40 %.",
    "def retrieve(query: str, k: int = 5) -> list[Retrieved]: ...",
    "知识就是力量。",
    "Ein kurzer Satz, 123 Zahlen & Zeichen!",
)
PROBES = ("", "tea", *_SENTENCES, " ".join(_SENTENCES), " ".join(_SENTENCES * 8))
"""Texts that torch and an export must agree on: an empty one, one word, sentences, and one longer than the limit."""


class TextToVector(nn.Module):
    """(1, T) token ids, T at least 1, to (1, D) unit vectors: every module of the encoder, without a mask."""

    def __init__(self, modules: list[nn.Module]) -> None:
        super().__init__()
        self.transformer: Any = modules[0].auto_model
        self.others = nn.ModuleList(modules[1:])

    def forward(self, input_ids: torch.Tensor) -> torch.Tensor:
        hidden = self.transformer(input_ids=input_ids).last_hidden_state
        features = {"token_embeddings": hidden, "attention_mask": torch.ones_like(input_ids)}
        for module in self.others:
            features = module(features)
        return nn.functional.normalize(features["sentence_embedding"], dim=-1)


def export(folder: Path, config: EncoderConfig, target: Path) -> None:
    """Write graph, tokenizer and limits to `target`, in one step, after the graph agreed with torch on every probe.

    Raises:
        UserError: the model cannot be loaded.
        ExportError: it cannot be exported, its export does not agree with it, or the folder cannot be written.
    """
    model = load_model(folder, EncoderConfig(model=config.model))
    limits = text_limits(model)
    tokenizer = model.tokenizer.backend_tokenizer.to_str()
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=target.parent, prefix=".export-") as work:
            made = Path(work) / "made"
            made.mkdir()
            (made / TOKENIZER).write_text(tokenizer, encoding="utf-8")
            texts = _tokens(made / TOKENIZER, limits)
            expected = _by_torch(model, texts)
            _write_graph(model, config, made / MODEL, texts, expected)
            _write_about(made, limits, expected.shape[1])
            _put(made, target)
    except OSError as error:
        reason = error.strerror or one_line(error)
        raise ExportError(f"ONNX cache {target.parent}: cannot be written: {reason}") from None


def _tokens(tokenizer: Path, limits: TextLimits) -> list[list[int]]:
    from tokenizers import Tokenizer

    loaded = Tokenizer.from_file(str(tokenizer))
    loaded.no_padding()
    loaded.enable_truncation(limits.max_length)
    return [ids for text in PROBES if (ids := loaded.encode(text).ids)]


def _by_torch(model: nn.Sequential, texts: list[list[int]]) -> FloatArray:
    """Vectors by the model's own path, mask included: the export is checked against what it replaces."""
    rows = []
    with torch.inference_mode():
        for ids in texts:
            row = torch.tensor([ids])
            features = model.forward({"input_ids": row, "attention_mask": torch.ones_like(row)})
            rows.append(nn.functional.normalize(features["sentence_embedding"].float(), dim=-1)[0].numpy())
    return np.stack(rows)


def _write_graph(
    model: nn.Sequential, config: EncoderConfig, path: Path, texts: list[list[int]], expected: FloatArray
) -> None:
    """Export, in 8 bits where configured, and check. Older processors overflow on full 8-bit weights: then 7 bits."""
    plain = path if config.backend == "onnx" else path.with_name("plain.onnx")
    try:
        with quiet():
            _export(model, plain)
    except Exception as error:  # of many kinds, from the exporter's depths
        raise ExportError(
            f"encoder {config.model!r}: cannot be exported to ONNX ({one_line(error)[:200]}): use "
            "--encoder.backend torch"
        ) from error
    least = LEAST_COSINE[config.backend]
    for reduce_range in (False, True):
        if config.backend == "onnx_int8":
            with quiet():
                _quantise(plain, path, reduce_range)
        agreement = float((vectors_of(path, texts) * expected).sum(axis=1).min())
        if agreement >= least:
            break
    else:
        raise ExportError(
            f"encoder {config.model!r}: its {config.backend} export does not agree with it (cosine {agreement:.4f}, at "
            f"least {least} needed): use --encoder.backend torch"
        )
    if plain != path:
        plain.unlink()


def _export(model: nn.Sequential, path: Path) -> None:
    modules: list[Any] = list(model)
    # Written-out attention: the fused operator exports to more nodes, for masks that are not there.
    modules[0].auto_model.set_attn_implementation("eager")
    torch.onnx.export(
        TextToVector(modules).eval(),
        (torch.arange(1, 18)[None, :],),
        str(path),
        input_names=["input_ids"],
        output_names=["vectors"],
        dynamic_axes={"input_ids": {1: "tokens"}},
        opset_version=17,
        dynamo=False,
    )


def _quantise(plain: Path, path: Path, reduce_range: bool) -> None:
    """Weights of matrix products in 8 bits, one scale a channel; activations in 8 bits at run time."""
    import onnx
    from onnxruntime.quantization import QuantType, quantize_dynamic

    quantize_dynamic(
        str(plain),
        str(path),
        op_types_to_quantize=["MatMul", "Gemm"],
        weight_type=QuantType.QInt8,
        per_channel=True,
        reduce_range=reduce_range,
        nodes_to_exclude=_sensitive([node.name for node in onnx.load(plain).graph.node]),
    )


def _sensitive(nodes: list[str]) -> list[str]:
    """Products that stay in 32 bits: the feed-forward outputs of the first half of the layers.

    Their input has outliers after the activation function, and what they lose the later layers carry on. On passages of
    the Python reference this halves MiniLM's mean distance to torch (1 - cosine .0073 to .0035) and costs an eighth of
    the speed; the same for the second half does little. Only layers with BERT's names are known.
    """
    layer = {node: int(found[1]) for node in nodes if (found := _FEED_FORWARD.search(node))}
    return [node for node, number in layer.items() if number < (max(layer.values()) + 1) / 2]


def vectors_of(path: Path, texts: list[list[int]]) -> FloatArray:
    """(N, D) vectors of a graph for token ids."""
    session = open_session(path, threads=1)
    return np.concatenate([session.run(None, {"input_ids": np.array([ids], dtype=np.int64)})[0] for ids in texts])


def _write_about(made: Path, limits: TextLimits, dimension: int) -> None:
    with (made / MODEL).open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    about = OnnxFiles(dimension=dimension, model_sha256=digest, **asdict(limits))
    (made / ABOUT).write_text(json.dumps(asdict(about)), encoding="utf-8")


def _put(made: Path, target: Path) -> None:
    """Rename the folder into place. Where another process was faster, its export is as good."""
    if target.exists():
        shutil.rmtree(target, ignore_errors=True)  # it was found damaged, or this would not have been called
    try:
        os.rename(made, target)
    except OSError:
        if not (target / ABOUT).is_file():
            raise


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Keep the exporters' warnings, prints and log lines back; errors still come as exceptions."""
    disabled, handlers = logging.root.manager.disable, logging.root.handlers[:]
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(disabled)
        logging.root.handlers[:] = handlers  # logging.warning, as the quantiser calls it, adds one for stderr
