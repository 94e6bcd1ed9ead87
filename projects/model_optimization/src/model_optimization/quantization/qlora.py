"""QLoRA: low-rank adapters learn on top of weights that are held in 4 bits and do not move (Dettmers et al. 2023).

A linear layer W x becomes W4 x + (alpha / rank) B A x: W4 takes an eighth of the memory, has no gradient and no state
of the optimiser, and only A (rank, I) and B (O, rank) are trained (Hu et al. 2021, §4.1). Its use is to fine-tune what
would not fit in fp32; on a CPU, with a network of 90 MB, it saves memory that is not scarce, and costs time.
"""

import copy
import warnings
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from model_optimization.config.qat import QloraConfig
from model_optimization.quantization.extras import imported
from model_optimization.quantization.four_bit import from_four_bit, to_four_bit
from model_optimization.torch_classifier import TorchClassifier
from model_optimization.training import TrainingResult, fine_tune, tokenised
from model_optimization.types import Texts
from roadmap_shared.errors import UserError


@dataclass(frozen=True, kw_only=True)
class QloraResult:
    """A network that was tuned in 4 bits."""

    classifier: TorchClassifier
    """In fp32, with the values that the 4 bits stood for and the adapters added to them."""

    training: TrainingResult
    trained_parameters: int
    parameters: int
    """Of the network, without the adapters."""


def train_qlora(classifier: TorchClassifier, train: Texts, config: QloraConfig, *, seed: int) -> QloraResult:
    """Tune a copy of a classifier by adapters on 4-bit weights, and put it together in fp32.

    Args:
        classifier: in fp32; it stays as it is.
        train: the training texts.
        config: rank, layers, rates.
        seed: of the adapters, of the order of the texts and of dropout.

    Raises:
        UserError: bitsandbytes or peft is missing, or no layer has one of the names.
        FloatingPointError: the loss is no number; the learning rate is too high.
    """
    imported("peft", "four-bit")
    network = copy.deepcopy(classifier.network)
    parameters = sum(weight.numel() for weight in network.parameters())
    to_four_bit(network)
    adapted = _adapted(network, config, seed)
    trained = sum(weight.numel() for weight in adapted.parameters() if weight.requires_grad)
    data = tokenised(classifier, train)
    training = fine_tune(adapted, data, config.trainer, seed=seed, description="QLoRA")
    from_four_bit(adapted)  # first: peft would round the sums to 4 bits again
    merged = adapted.merge_and_unload()
    merged.requires_grad_(True)
    return QloraResult(
        classifier=TorchClassifier(merged, classifier.tokenizer, classifier.max_length),
        training=training,
        trained_parameters=trained,
        parameters=parameters,
    )


def _adapted(network: Any, config: QloraConfig, seed: int) -> Any:
    peft = imported("peft", "four-bit")
    names = {name.rpartition(".")[2] for name, module in network.named_modules() if isinstance(module, nn.Linear)}
    if unknown := [target for target in config.targets if target not in names]:
        raise UserError(
            f"--qlora.targets {' '.join(unknown)}: no linear layer of {type(network).__name__} is called so; it has "
            f"{', '.join(sorted(names))}"
        )
    settings = peft.LoraConfig(
        task_type=peft.TaskType.SEQ_CLS,
        r=config.rank,
        lora_alpha=config.alpha,
        lora_dropout=0.0,
        target_modules=list(config.targets),
    )
    torch.manual_seed(seed)
    with warnings.catch_warnings():
        # peft asks transformers by the older of two names.
        warnings.filterwarnings("ignore", "`is_gradient_checkpointing` is deprecated", FutureWarning)
        return peft.get_peft_model(network, settings)
