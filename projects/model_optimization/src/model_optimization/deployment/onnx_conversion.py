"""A network of transformers as an ONNX graph, written only after it agreed with torch.

Two exporters of torch can be had. The tracing one (`legacy`) follows one example through the network and writes down
each operator that it meets: its nodes carry the modules' names, and ONNX Runtime's fusions know its patterns. What
depends on the example's values would be frozen into the graph, so the example is padded, and the graph is compared on
other shapes before it is kept. `dynamo` captures the program by `torch.export` with symbolic sizes.

Shapes: B texts of a batch, T tokens, K labels.
"""

import inspect
import logging
import os
import tempfile
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.jit._trace import TracerWarning
from transformers import PreTrainedModel

from model_optimization.config.export import ExportConfig
from model_optimization.deployment.onnx_session import CHUNK, SLOW_FUSIONS, open_session
from model_optimization.torch_classifier import TorchClassifier
from model_optimization.types import FloatArray
from model_optimization.variants import ONNX_FILE, VARIANT_FILE, VariantInfo, load_variant, read_info, write_variant
from roadmap_shared.errors import UserError, one_line

_LARGEST = 2**31  # bytes: protocol buffers, of which an ONNX file is one, end there
_LOGGERS = ("torch.onnx", "torch.export", "onnxscript", "onnx_ir")


@dataclass(frozen=True, kw_only=True)
class ExportCheck:
    """What the comparison with torch came to."""

    max_difference: float
    """Largest difference of a logit, over all inputs that were tried."""

    shapes: tuple[tuple[int, int], ...]
    """(B, T) of these inputs; each was tried without padding, and with padding where B is above 1."""

    inputs: tuple[str, ...]
    """Names of the graph's inputs."""


def export_variant(source: Path, folder: Path, config: ExportConfig, *, name: str) -> Path:
    """Export a torch variant's folder, or any sequence-classification folder, to an ONNX variant.

    Raises:
        UserError: the source cannot be exported, or the graph does not agree with it. Nothing is written then.
    """
    parent = None
    if (source / VARIANT_FILE).exists():
        info = read_info(source)
        parent = info.name
        if info.on_load is not None:
            raise UserError(f"{source}: {info.on_load} is applied on loading and has no ONNX form: export its parent")
    classifier = load_variant(source)
    if not isinstance(classifier, TorchClassifier):
        raise UserError(f"{source}: is an ONNX variant already: export the torch variant that it was made from")
    return export_classifier(classifier, folder, config, name=name, parent=parent)


def export_classifier(
    classifier: TorchClassifier, folder: Path, config: ExportConfig, *, name: str, parent: str | None = None
) -> Path:
    """Export a classifier in memory to an ONNX variant, see `export_variant`."""

    def write(unfinished: Path) -> None:
        check = export_network(classifier, unfinished / ONNX_FILE, config)
        recipe["max_difference"] = check.max_difference
        classifier.tokenizer.save_pretrained(unfinished)
        classifier.network.config.save_pretrained(unfinished)

    recipe: dict[str, Any] = {"method": "onnx", "exporter": config.exporter, "attention": config.attention}
    recipe["opset"] = config.operators
    info = VariantInfo(
        name=name,
        kind="onnx",
        labels=classifier.labels,
        max_length=longest_text(classifier),
        parent=parent,
        recipe=recipe,
        max_chunk=CHUNK,
        disabled_optimizers=SLOW_FUSIONS,
    )
    return write_variant(folder, info, write)


def export_network(classifier: TorchClassifier, path: Path, config: ExportConfig) -> ExportCheck:
    """Write the graph to `path` after it agreed with torch on padded and unpadded inputs of several shapes.

    Raises:
        UserError: an operator is unknown to ONNX, the network is too large for a file, or the graph disagrees. What
            was at `path` stays.
    """
    size = sum(weight.numel() * weight.element_size() for weight in classifier.network.parameters())
    if size >= _LARGEST:
        raise UserError(f"the network has {size / 1e9:.1f} GB of weights, and an ONNX file holds 2: use a smaller one")
    with tempfile.TemporaryDirectory(dir=path.parent, prefix=".export-") as work:
        made = Path(work) / path.name
        trace(classifier, made, config)
        check = agreement(classifier, made)
        if check.max_difference > config.tolerance:
            raise UserError(
                f"the {config.exporter} export does not agree with the network: logits differ by up to "
                f"{check.max_difference:.2g}, --export.tolerance allows {config.tolerance:.2g}: try --export.exporter "
                f"{'dynamo' if config.exporter == 'legacy' else 'legacy'}"
            )
        os.replace(made, path)
    return check


def trace(classifier: TorchClassifier, path: Path, config: ExportConfig) -> None:
    """Write the graph without comparing it, by an example of two texts, one of them padded, see `write_graph`."""
    example = probe(classifier, (2, min(16, longest_text(classifier))), padded=True)
    with plain_outputs(classifier.network, config.attention) as network:
        write_graph(network, path, example, config)


def write_graph(network: PreTrainedModel, path: Path, example: Mapping[str, Tensor], config: ExportConfig) -> None:
    """Export a network that returns a tuple; B and T of every input stay open.

    Args:
        network: in evaluation mode.
        path: of the file.
        example: inputs by their names, each (B, T) with B and T above 1: `torch.export` takes a size of 1 as fixed.
        config: exporter and operators.

    Raises:
        UserError: the exporter gives up, mostly on an operator that ONNX lacks.
    """
    if config.exporter == "legacy":
        axes = {0: "batch", 1: "tokens"}
        options = {"dynamo": False, "dynamic_axes": dict.fromkeys(example, axes) | {"logits": {0: "batch"}}}
    else:
        sizes = {
            0: torch.export.Dim("batch", min=1, max=4096),
            1: torch.export.Dim("tokens", min=2, max=_tokens(network)),
        }
        options = {"dynamo": True, "dynamic_shapes": dict.fromkeys(example, sizes)}
        options |= {"external_data": False, "verbose": False}
    try:
        with _known_warnings():
            torch.onnx.export(
                network,
                (),
                str(path),
                kwargs=dict(example),
                input_names=list(example),
                output_names=["logits"],
                opset_version=config.operators,
                **options,
            )
    except (MemoryError, OSError):
        raise
    except Exception as error:  # of many kinds, from the exporter's depths
        raise UserError(_refusal(network, error, config)) from error


def probe(classifier: TorchClassifier, shape: tuple[int, int], *, padded: bool) -> dict[str, Tensor]:
    """Inputs of (B, T) random token numbers; if padded, each text but the first is shorter than the one before."""
    batch, tokens = shape
    tokenizer: Any = classifier.tokenizer
    pad_id = tokenizer.pad_token_id
    generator = torch.Generator().manual_seed(batch * 1000 + tokens)
    ids = torch.randint(0, len(tokenizer), shape, generator=generator)
    ids[ids == pad_id] = (pad_id + 1) % len(tokenizer)  # RoBERTa counts positions by it
    mask = torch.ones_like(ids)
    if padded:
        for row in range(1, batch):
            mask[row, max(1, tokens - 1 - row * tokens // batch) :] = 0
        ids[mask == 0] = pad_id
    inputs = {"input_ids": ids, "attention_mask": mask}
    if _takes_token_types(classifier):
        inputs["token_type_ids"] = torch.zeros_like(ids)
    return inputs


def agreement(classifier: TorchClassifier, path: Path) -> ExportCheck:
    """Compare the logits of a graph with torch's, by a session as it is served with."""
    session = open_session(path, disabled_optimizers=SLOW_FUSIONS)
    return ExportCheck(
        max_difference=graph_difference(classifier, session),
        shapes=_shapes(classifier),
        inputs=tuple(item.name for item in session.get_inputs()),
    )


def graph_difference(classifier: TorchClassifier, session: Any) -> float:
    """Largest difference of a logit between a graph and torch, in units of the largest logit if that is above 1.

    Infinity where the graph fails on a shape, which the example's was frozen into, or gives no numbers.
    """
    worst = 0.0
    for shape in _shapes(classifier):
        for with_padding in (False,) if shape[0] == 1 else (False, True):
            inputs = probe(classifier, shape, padded=with_padding)
            expected = classifier.padded_logits(inputs["input_ids"].numpy(), inputs["attention_mask"].numpy())
            feeds = {item.name: inputs[item.name].numpy() for item in session.get_inputs()}
            worst = max(worst, _difference(session, feeds, expected))
    return worst


def _shapes(classifier: TorchClassifier) -> tuple[tuple[int, int], ...]:
    longest = longest_text(classifier)
    return tuple((batch, min(tokens, longest)) for batch, tokens in ((1, 2), (3, 7), (1, longest), (CHUNK, 33), (9, 5)))


def _difference(session: Any, feeds: Mapping[str, Any], expected: FloatArray) -> float:
    try:
        logits = session.run(None, dict(feeds))[0]
    except Exception:  # ONNX Runtime's errors share no other class
        return float("inf")
    if logits.shape != expected.shape or not np.isfinite(logits).all():
        return float("inf")
    return float(np.abs(logits - expected).max() / max(1.0, np.abs(expected).max()))


def longest_text(classifier: TorchClassifier) -> int:
    """Tokens of the longest text: the classifier's limit, or the positions of its network where they are fewer."""
    return min(classifier.max_length, _tokens(classifier.network))


def _takes_token_types(classifier: TorchClassifier) -> bool:
    named = "token_type_ids" in classifier.tokenizer.model_input_names
    return named and "token_type_ids" in inspect.signature(classifier.network.forward).parameters


def _tokens(network: PreTrainedModel) -> int:
    """Most tokens that the network has positions for. RoBERTa numbers positions from its padding token's number on."""
    rows = getattr(network.config, "max_position_embeddings", None)
    if not rows or rows < 0:
        return 4096
    first = getattr(getattr(network.base_model, "embeddings", None), "padding_idx", None)
    return rows if first is None else rows - first - 1


@contextmanager
def plain_outputs(network: PreTrainedModel, attention: str) -> Iterator[PreTrainedModel]:
    """The network with the attention that is asked for, in evaluation mode, returning a tuple with the logits alone."""
    config = network.config
    before = {name: getattr(config, name) for name in ("return_dict", "output_hidden_states", "output_attentions")}
    had = getattr(config, "_attn_implementation", "eager")
    network.eval()
    try:
        network.set_attn_implementation(attention)
    except ValueError as error:
        raise UserError(
            f"{type(network).__name__}: has no {attention} attention: try --export.attention eager"
        ) from error
    try:
        for name in before:
            setattr(config, name, False)
        yield network
    finally:
        for name in reversed(before):
            setattr(config, name, before[name])
        network.set_attn_implementation(had)


@contextmanager
def _known_warnings() -> Iterator[None]:
    """Keep back what the exporters are known to say of every network; anything else comes through."""
    levels = {name: logging.getLogger(name).level for name in _LOGGERS}
    with warnings.catch_warnings():
        # Values of the example that end up in the graph: what they do is seen when other shapes are compared.
        warnings.simplefilter("ignore", TracerWarning)
        warnings.filterwarnings("ignore", ".*legacy TorchScript-based ONNX export", DeprecationWarning)
        warnings.filterwarnings("ignore", "The feature will be removed", DeprecationWarning)
        warnings.filterwarnings("ignore", "Exporting aten::index operator", UserWarning)
        warnings.filterwarnings("ignore", r".*LeafSpec", FutureWarning)
        warnings.filterwarnings("ignore", r".*# The axis name: .* will not be used", UserWarning)
        for name in _LOGGERS:
            logging.getLogger(name).setLevel(logging.ERROR)
        try:
            yield
        finally:
            for name, level in levels.items():
                logging.getLogger(name).setLevel(level)


def _refusal(network: PreTrainedModel, error: Exception, config: ExportConfig) -> str:
    kind = type(network).__name__
    other = "dynamo" if config.exporter == "legacy" else "legacy"
    remedy = f"try --export.exporter {other}"
    if isinstance(error, torch.onnx.errors.UnsupportedOperatorError):
        operator = str(error).partition("'")[2].partition("'")[0] or one_line(error)[:80]
        return f"{kind}: its operator {operator} is not in ONNX's operator set {config.operators}: {remedy}"
    return f"{kind}: the {config.exporter} exporter cannot export it ({one_line(error)[:200]}): {remedy}"
