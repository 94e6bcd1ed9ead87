"""The original: a pretrained encoder that becomes a classifier, or a classifier that is given."""

import torch
from torch import nn
from transformers import PreTrainedModel

from model_optimization.config.model import GivenModelConfig, ModelConfig
from model_optimization.pretrained import is_classifier, label_names, read_classifier, read_config
from model_optimization.torch_classifier import TorchClassifier
from roadmap_shared.errors import UserError
from roadmap_shared.offline import minilm_folder


def given_classifier(config: GivenModelConfig) -> TorchClassifier | None:
    """The trained classifier of `--model.path`; None where none is named.

    Raises:
        UserError: the folder holds no sequence classifier.
    """
    if config.path is None:
        return None
    if not (config.path / "config.json").is_file():
        raise UserError(f"--model.path {config.path}: is no model folder (no config.json in it)")
    return TorchClassifier.load(config.path, config.max_length)


def untrained_classifier(config: ModelConfig, labels: tuple[str, ...], seed: int) -> TorchClassifier:
    """The pretrained encoder with a new classification layer, drawn from `seed` alone.

    Raises:
        UserError: the checkpoint cannot be had, or is a classifier already.
    """
    source = str(minilm_folder()) if config.name == "minilm" else config.name
    settings = read_config(source)
    if is_classifier(settings):
        raise UserError(
            f"--model.name {config.name}: is a classifier already, with the labels {', '.join(label_names(settings))}: "
            "give its folder as --model.path"
        )
    settings.problem_type = None
    settings.num_labels = len(labels)
    settings.id2label = dict(enumerate(labels))
    settings.label2id = {label: index for index, label in enumerate(labels)}
    torch.manual_seed(seed)
    network, tokenizer = read_classifier(source, settings)
    if config.name == "minilm":
        start_pooler_as_identity(network)
    return TorchClassifier(network, tokenizer, config.max_length)


@torch.no_grad()
def start_pooler_as_identity(network: PreTrainedModel) -> None:
    """Let the pooler, tanh(W h + b) of the first token's state h, start with W = 1 and b = 0.

    Sentence encoders are trained on the mean of the tokens (Reimers & Gurevych 2019, §3); their pooler is a random map
    that fine-tuning on few texts would first have to undo.
    """
    dense = network.base_model.get_submodule("pooler.dense")
    assert isinstance(dense, nn.Linear)
    nn.init.eye_(dense.weight)
    nn.init.zeros_(dense.bias)
