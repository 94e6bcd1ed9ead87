"""Tiny classifiers of other architectures, and texts with labels, for the tests of pruning."""

import numpy as np
import torch
from transformers import (
    AlbertConfig,
    AlbertForSequenceClassification,
    DistilBertConfig,
    DistilBertForSequenceClassification,
    ElectraConfig,
    ElectraForSequenceClassification,
    PreTrainedModel,
    RobertaConfig,
    RobertaForSequenceClassification,
)

from model_optimization.torch_classifier import TorchClassifier
from model_optimization.types import Texts

from .tiny_models import SPECIAL, TEXTS, WORDS, tiny_tokenizer

LABELS = {"id2label": {0: "negative", 1: "positive"}, "label2id": {"negative": 0, "positive": 1}}
_BERT_SIZES = {
    "vocab_size": len(SPECIAL) + len(WORDS),
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "intermediate_size": 64,
    "max_position_embeddings": 70,
    "initializer_range": 0.2,
    "pad_token_id": 0,
}
LABELLED = Texts(texts=TEXTS, targets=np.array([1, 0, 1, 1, 0, 1, 0, 0], dtype=np.int64))


def other_network(kind: str) -> PreTrainedModel:
    """Random weights of seed 0: roberta, electra, distilbert or albert."""
    torch.manual_seed(0)
    if kind == "roberta":
        return RobertaForSequenceClassification(RobertaConfig(**_BERT_SIZES, **LABELS))
    if kind == "electra":
        return ElectraForSequenceClassification(ElectraConfig(**_BERT_SIZES, embedding_size=16, **LABELS))
    if kind == "albert":
        return AlbertForSequenceClassification(AlbertConfig(**_BERT_SIZES, embedding_size=16, **LABELS))
    sizes = {"vocab_size": len(SPECIAL) + len(WORDS), "dim": 32, "n_layers": 2, "n_heads": 4, "hidden_dim": 64}
    return DistilBertForSequenceClassification(DistilBertConfig(**sizes, initializer_range=0.2, **LABELS))


def other_classifier(kind: str) -> TorchClassifier:
    """`other_network` with the tests' tokenizer."""
    return TorchClassifier(other_network(kind), tiny_tokenizer(), 64)
