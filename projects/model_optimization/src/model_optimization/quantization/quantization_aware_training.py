"""Quantisation-aware training: the network learns to be right with the rounding errors that int8 will make.

Each linear layer is replaced by one that fakes the quantisation (`fake_quantization`), the network is fine-tuned by the
usual loop, and the layers are put back with the weights that they learned. What comes out is a plain fp32 network: its
export, quantised by ONNX Runtime with the same scheme, rounds to the integers that the training saw. Two engines of
torchao do the same with modules and on the exported program.
"""

import copy
from typing import Any

import torch
from torch import nn
from transformers import PreTrainedModel

from model_optimization.config.qat import QatConfig
from model_optimization.quantization.extras import imported
from model_optimization.quantization.fake_quantization import FakeQuantizedLinear, Granularity
from model_optimization.quantization.modules import replace_modules
from model_optimization.torch_classifier import TorchClassifier
from model_optimization.training import TrainingResult, fine_tune, tokenised
from model_optimization.types import Texts


def train_quantization_aware(
    classifier: TorchClassifier, train: Texts, config: QatConfig, *, seed: int
) -> tuple[TorchClassifier, TrainingResult]:
    """Fine-tune a copy of a trained classifier with fake quantisation.

    Args:
        classifier: in fp32; it stays as it is.
        train: the training texts.
        config: engine, epochs, rates.
        seed: of the order of the texts and of dropout.

    Returns:
        A classifier with plain linear layers in fp32, to be quantised, and what the training cost.

    Raises:
        UserError: the engine's library is missing.
        FloatingPointError: the loss is no number; the learning rate is too high.
    """
    data = tokenised(classifier, train)
    network = copy.deepcopy(classifier.network)

    def tuned(prepared: nn.Module) -> TrainingResult:
        return fine_tune(prepared, data, config.trainer, seed=seed, description="quantisation-aware training")

    if config.engine == "by_hand":
        insert_fake_quantization(network, config.activations)
        result = tuned(network)
        remove_fake_quantization(network)
    elif config.engine == "torchao":
        insert_torchao(network)
        result = tuned(network)
        remove_torchao(network)
    else:
        from model_optimization.quantization.pt2e import ProgramInTraining

        program = ProgramInTraining(network)
        result = tuned(program)
        program.copy_weights_to(network)
    return TorchClassifier(network, classifier.tokenizer, classifier.max_length), result


def insert_fake_quantization(network: nn.Module, granularity: Granularity = "tensor") -> int:
    """Replace every linear layer by one that fakes its quantisation, with the same parameters; returns how many."""
    return replace_modules(network, nn.Linear, lambda _, linear: FakeQuantizedLinear(linear, granularity))


def remove_fake_quantization(network: nn.Module) -> int:
    """Put plain linear layers back, with the parameters that were learned; returns how many."""
    return replace_modules(network, FakeQuantizedLinear, lambda _, layer: layer.to_linear())


def insert_torchao(network: PreTrainedModel) -> None:
    """The same by torchao's modules, with one activation range per token and integers from -128 to 127.

    Raises:
        UserError: torchao is missing.
    """
    qat = imported("torchao.quantization.qat", "torchao")
    activations = qat.IntxFakeQuantizeConfig(torch.int8, "per_token", is_symmetric=False)
    weights = qat.IntxFakeQuantizeConfig(torch.int8, "per_channel", is_symmetric=True)
    _quantize(network, qat.QATConfig(activation_config=activations, weight_config=weights, step="prepare"))


def remove_torchao(network: PreTrainedModel) -> None:
    """Put plain linear layers back in place of torchao's."""
    qat = imported("torchao.quantization.qat", "torchao")
    _quantize(network, qat.QATConfig(step="convert"))


def _quantize(network: PreTrainedModel, config: Any) -> None:
    imported("torchao.quantization", "torchao").quantize_(network, config)
