"""A pretrained encoder with a classification layer, and all that belongs to it once trained.

`SentimentModel` holds the network, its tokenizer, how texts are prepared, and the temperature that calibrates its
probabilities (Guo et al. 2017). Its folder is one that `from_pretrained` loads as it is, plus `sentiment.json`.

Shapes: N texts, K labels.
"""

import json
import os
import shlex
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from bert_sentiment.config import ModelConfig, PreprocessingConfig
from bert_sentiment.data.preprocessor import by_length, pad, token_ids
from bert_sentiment.models.pretrained import (
    is_classifier,
    label_names,
    quiet_transformers,
    read_classifier,
    read_config,
)
from roadmap_shared.errors import UserError, one_line
from roadmap_shared.files import atomic_write
from roadmap_shared.offline import minilm_folder

EXTRAS_FILE = "sentiment.json"
_DROPOUTS = (
    "hidden_dropout_prob",
    "attention_probs_dropout_prob",
    "dropout",
    "attention_dropout",
    "classifier_dropout",
)


@dataclass
class SentimentModel:
    """A classifier ready for use: texts in, logits or probabilities out."""

    network: PreTrainedModel
    tokenizer: PreTrainedTokenizerBase
    preprocessing: PreprocessingConfig = field(default_factory=PreprocessingConfig)
    temperature: float = 1.0

    @property
    def labels(self) -> tuple[str, ...]:
        """Names of the K labels, in the order of the logits."""
        return label_names(self.network.config)

    @property
    def device(self) -> torch.device:
        return self.network.device

    def logits(self, texts: Sequence[str], batch_size: int = 64) -> np.ndarray:
        """(N, K) float32 logits of the texts, in their order."""
        logits = np.zeros((len(texts), len(self.labels)), dtype=np.float32)
        with evaluating(self.network), torch.inference_mode():
            for batch, inputs in self.batches(texts, batch_size):
                logits[batch] = self.network(**inputs).logits.float().cpu().numpy()
        return logits

    def batches(self, texts: Sequence[str], batch_size: int) -> Iterator[tuple[list[int], dict[str, Tensor]]]:
        """Texts of similar length together: their indices, and `input_ids` and `attention_mask`, (B, T) each, on the
        network's device."""
        sequences = token_ids(texts, self.tokenizer, self.preprocessing)
        for batch in by_length(sequences, batch_size):
            inputs = pad([sequences[index] for index in batch], self.tokenizer)
            yield batch, {name: tensor.to(self.device) for name, tensor in inputs.items()}

    def features(self, texts: Sequence[str], batch_size: int = 64) -> np.ndarray:
        """(N, C) float32 mean of the encoder's last hidden states over each text's tokens."""
        features = np.zeros((len(texts), self.network.config.hidden_size), dtype=np.float32)
        with evaluating(self.network), torch.inference_mode():
            for batch, inputs in self.batches(texts, batch_size):
                hidden = self.network.base_model(**inputs).last_hidden_state  # (B, T, C)
                features[batch] = mean_over_tokens(hidden, inputs["attention_mask"]).cpu().numpy()
        return features

    def probabilities(self, texts: Sequence[str], batch_size: int = 64) -> np.ndarray:
        """(N, K) calibrated probabilities: softmax(logits / temperature)."""
        return softmax(self.logits(texts, batch_size) / self.temperature)

    def save(self, folder: Path) -> None:
        """Write a folder that `load` and transformers' `from_pretrained` read.

        It is written under another name and moved into place when whole: a process that serves the earlier model goes
        on with the files that it has opened.
        """
        unfinished, replaced = (folder.with_name(f".{folder.name}-{state}-{os.getpid()}") for state in ("new", "old"))
        try:
            with quiet_transformers():
                self.network.save_pretrained(unfinished)
                self.tokenizer.save_pretrained(unfinished)
            extras = {"temperature": self.temperature, "preprocessing": asdict(self.preprocessing)}
            atomic_write(unfinished / EXTRAS_FILE, json.dumps(extras, indent=2) + "\n")
            if folder.exists():
                os.replace(folder, replaced)
            os.replace(unfinished, folder)
        finally:
            shutil.rmtree(unfinished, ignore_errors=True)
            shutil.rmtree(replaced, ignore_errors=True)

    @classmethod
    def load(cls, folder: Path, device: torch.device | str = "cpu") -> "SentimentModel":
        """Read a folder that `save` wrote, or another sequence-classification folder (which then uses the default
        preprocessing and temperature 1).

        Raises:
            UserError: the folder is missing, damaged, or holds no classifier.
        """
        if not (folder / "config.json").is_file():
            raise UserError(f"{folder}: is no model folder (no config.json in it)")
        network, tokenizer = read_classifier(str(folder))
        preprocessing, temperature = PreprocessingConfig(), 1.0
        if (folder / EXTRAS_FILE).is_file():
            preprocessing, temperature = _read_extras(folder / EXTRAS_FILE)
        network.to(torch.device(device))  # type: ignore[arg-type]  # in place; its stub hides the method's self
        return cls(network, tokenizer, preprocessing, temperature)


def mean_over_tokens(hidden: Tensor, attention_mask: Tensor) -> Tensor:
    """(B, T, C) hidden states and (B, T) mask, 0 at padding -> (B, C) float32 mean over each text's tokens."""
    is_token = attention_mask[..., None].float()  # (B, T, 1)
    return (hidden.float() * is_token).sum(1) / is_token.sum(1)


def softmax(logits: np.ndarray) -> np.ndarray:
    """Along the last axis."""
    shifted = np.exp(logits - logits.max(axis=-1, keepdims=True))
    return shifted / shifted.sum(axis=-1, keepdims=True)


@contextmanager
def evaluating(network: nn.Module) -> Iterator[None]:
    """Within it, dropout is off; afterwards the network is in the mode in which it was."""
    was_training = network.training
    network.eval()
    try:
        yield
    finally:
        network.train(was_training)


def build_classifier(
    config: ModelConfig, preprocessing: PreprocessingConfig, labels: Sequence[str], seed: int
) -> SentimentModel:
    """The pretrained encoder with a new classification layer, whose weights depend on `seed` alone.

    A checkpoint that is a classifier with the same labels keeps its layer, with the outputs in the order of `labels`.

    Raises:
        UserError: the checkpoint cannot be had, is no text encoder, or classifies by other labels.
    """
    source = str(minilm_folder()) if config.name == "minilm" else config.name
    settings = read_config(source)
    known = label_names(settings) if is_classifier(settings) else None
    if known is None:
        settings.problem_type = None  # of a use that the encoder had before
    elif sorted(known) != sorted(labels):
        raise _other_labels(config.name, known, labels)
    settings.num_labels = len(labels)
    settings.id2label = dict(enumerate(labels))
    settings.label2id = {label: index for index, label in enumerate(labels)}
    if config.dropout is not None:
        for name in _DROPOUTS:
            if hasattr(settings, name):
                setattr(settings, name, config.dropout)
    torch.manual_seed(seed)
    network, tokenizer = read_classifier(source, settings)
    if known is not None and known != tuple(labels):
        reorder_outputs(network, [known.index(label) for label in labels], config.name)
    if known is None and (config.pooler == "identity" or (config.pooler == "auto" and config.name == "minilm")):
        start_pooler_as_identity(network, config.name)
    return SentimentModel(network, tokenizer, preprocessing)


def _other_labels(name: str, known: Sequence[str], labels: Sequence[str]) -> UserError:
    says = f"--model.name {name}: is a classifier with the labels {', '.join(known)}, but the texts have"
    named = {label.casefold(): label for label in known}
    if len(named) == len(known) and sorted(named) == sorted(label.casefold() for label in labels):
        pairs = " ".join(shlex.quote(f"{label}={named[label.casefold()]}") for label in labels)
        return UserError(
            f"{says} {', '.join(labels)}, which differ in upper and lower case. Give --data.label_map {pairs} (left of "
            "each = stands what the file says)"
        )
    return UserError(
        f"{says} {', '.join(labels)}. Name the file's labels as the model does with --data.label_map, or start from an "
        "encoder without a classifier"
    )


@torch.no_grad()
def reorder_outputs(network: PreTrainedModel, order: Sequence[int], name: str) -> None:
    """Let output i be what was output `order[i]`, by moving the rows of the last layer.

    Raises:
        UserError: the network called `name` ends in no linear layer with K outputs.
    """
    layers = [
        module
        for path, module in network.named_modules()
        if isinstance(module, nn.Linear) and not path.startswith(f"{network.base_model_prefix}.")
    ]
    if not layers or layers[-1].out_features != len(order):
        raise UserError(
            f"--model.name {name}: has the texts' labels in another order, and no linear layer whose outputs could be "
            "reordered: start from an encoder without a classifier"
        )
    for tensor in layers[-1].parameters():  # weight (K, C), and bias (K) where there is one
        tensor.copy_(tensor[list(order)])


@torch.no_grad()
def start_pooler_as_identity(network: PreTrainedModel, name: str) -> None:
    """Let the pooler, tanh(W h + b) of the first token's state h, start with W = 1 and b = 0.

    BERT learned its pooler by predicting the next sentence (Devlin et al. 2019, §3.1). Sentence encoders take the mean
    of the tokens instead (Reimers & Gurevych 2019, §3) and leave it as it was: a random map, which fine-tuning on few
    texts must first undo.

    Raises:
        UserError: the network has no such layer.
    """
    dense = getattr(getattr(network.base_model, "pooler", None), "dense", None)
    if dense is None:
        raise UserError(f"--model.pooler identity: {name} has no pooler as BERT has: leave the flag out")
    nn.init.eye_(dense.weight)
    nn.init.zeros_(dense.bias)


def _read_extras(path: Path) -> tuple[PreprocessingConfig, float]:
    known = {item.name for item in fields(PreprocessingConfig)}
    try:
        extras = json.loads(path.read_text(encoding="utf-8"))
        settings = {name: value for name, value in extras["preprocessing"].items() if name in known}
        return PreprocessingConfig(**settings), float(extras["temperature"])
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise UserError(
            f"{path}: is damaged ({one_line(error)}): copy the model folder again, or train anew"
        ) from error
