"""Quantised networks of torch that are made anew each time a variant is opened.

ONNX Runtime's variants hold their integers in the file. What torchao, bitsandbytes and Inductor make of a network lives
in classes and compiled code of one process: the variant's folder holds the fp32 weights, and says what is done to them.
"""

import json
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, get_args

import torch
from torch import nn

from model_optimization.config.on_load import OnLoadConfig, OnLoadName
from model_optimization.quantization.extras import imported
from model_optimization.quantization.four_bit import to_four_bit
from model_optimization.torch_classifier import TorchClassifier
from model_optimization.variants import VARIANT_FILE, VariantInfo, load_variant, read_info, write_variant
from roadmap_shared.errors import UserError, did_you_mean, one_line

CALIBRATION_FILE = "calibration.json"
_GROUP = 32  # weights that share a scale in int4


def write_on_load_variant(
    source: Path, folder: Path, config: OnLoadConfig, calibration: Sequence[str] = (), *, name: str
) -> Path:
    """Make a variant of a torch variant's folder, or of any sequence-classification folder.

    Args:
        source: in fp32.
        folder: that is written.
        config: what is done on loading.
        calibration: texts that the ranges are taken from (pt2e_x86), such as the training part.
        name: of the variant.

    Raises:
        UserError: the source is no torch network in fp32, or the calibration texts are missing.
    """
    parent = read_info(source) if (source / VARIANT_FILE).exists() else None
    classifier = load_variant(source)
    if not isinstance(classifier, TorchClassifier) or (parent is not None and parent.on_load is not None):
        raise UserError(f"{source}: {config.method} is applied to a torch network in fp32: give the folder of one")
    texts = list(calibration)[: config.calibration_texts]
    if config.method == "pt2e_x86" and not texts:
        raise UserError("pt2e_x86: there are no calibration texts: the ranges of the activations come from them")
    length = min(config.length, classifier.max_length)

    def write(unfinished: Path) -> None:
        for path in sorted(source.iterdir()):
            if path.is_file() and path.name != VARIANT_FILE:
                shutil.copyfile(path, unfinished / path.name)
        if config.method == "pt2e_x86":
            sequences = classifier.tokenizer(texts, truncation=True, max_length=length)["input_ids"]
            record = {"rows": config.rows, "length": length, "sequences": sequences}
            (unfinished / CALIBRATION_FILE).write_text(json.dumps(record), encoding="utf-8")

    info = VariantInfo(
        name=name,
        kind="torch",
        labels=classifier.labels,
        max_length=length if config.method == "pt2e_x86" else classifier.max_length,
        parent=parent.name if parent else None,
        recipe={"method": config.method},
        on_load=config.method,
        notes=("its file holds the weights in fp32: they are quantised whenever it is opened",),
    )
    return write_variant(folder, info, write)


def apply_on_load(network: Any, name: str, folder: Path | None = None) -> Any:
    """Quantise a network in fp32 as a variant's record asks.

    Args:
        network: of transformers; it is changed, or taken over.
        name: one of `OnLoadName`.
        folder: of the variant, which holds the calibration texts of pt2e_x86.

    Returns:
        A module that is called like the network.

    Raises:
        UserError: the name is unknown, the library is missing or cannot quantise the network.
    """
    transformations: dict[OnLoadName, Callable[[], Any]] = {
        "torchao_int8_dynamic": lambda: _torchao(network, name),
        "torchao_int8_weight_only": lambda: _torchao(network, name),
        "torchao_int4_weight_only": lambda: _torchao(network, name),
        "bitsandbytes_nf4": lambda: _four_bit(network),
        "pt2e_x86": lambda: _compiled(network, folder),
    }
    if name not in transformations:
        known = ", ".join(get_args(OnLoadName))
        raise UserError(
            f"on_load: {name!r} is unknown: choose from {known}. {did_you_mean(name, transformations)}".strip()
        )
    network.eval()
    return transformations[name]()


def _torchao(network: nn.Module, name: str) -> nn.Module:
    library = imported("torchao.quantization", "torchao")
    config = {
        "torchao_int8_dynamic": lambda: library.Int8DynamicActivationInt8WeightConfig(),
        "torchao_int8_weight_only": lambda: library.Int8WeightOnlyConfig(),
        "torchao_int4_weight_only": lambda: library.IntxWeightOnlyConfig(
            weight_dtype=torch.int4,  # type: ignore[attr-defined]  # it has no stub
            granularity=library.PerGroup(_GROUP),
        ),
    }[name]()
    try:
        library.quantize_(network, config)
    except (ImportError, RuntimeError, ValueError, NotImplementedError, AssertionError) as error:
        raise UserError(f"{name}: torchao cannot quantise this network: {one_line(error)[:200]}") from error
    return network


def _four_bit(network: nn.Module) -> nn.Module:
    to_four_bit(network)
    return network


def _compiled(network: Any, folder: Path | None) -> nn.Module:
    from model_optimization.quantization.pt2e import CompiledProgram

    path = (folder or Path()) / CALIBRATION_FILE
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
        sequences, rows, length = record["sequences"], int(record["rows"]), int(record["length"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UserError(f"{path}: cannot be read ({one_line(error)}): make the variant again") from None
    return CompiledProgram(network, sequences, rows, length)
