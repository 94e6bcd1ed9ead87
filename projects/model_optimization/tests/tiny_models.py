"""Random, tiny classifiers with a real tokenizer: what takes minutes with a trained model takes milliseconds."""

from collections.abc import Sequence
from pathlib import Path

import torch
from tokenizers import Tokenizer
from tokenizers.models import WordPiece
from tokenizers.normalizers import BertNormalizer
from tokenizers.pre_tokenizers import BertPreTokenizer
from tokenizers.processors import TemplateProcessing
from transformers import BertConfig, BertForSequenceClassification, BertTokenizerFast

from model_optimization.torch_classifier import TorchClassifier

WORDS = (
    "a all and bad bland boring but clever dull film fine good great i is it loved movie not of plot slow so story the "
    "this very was warm weak with ##s ##ly ##ed . , ! ?"
).split()
SPECIAL = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
TEXTS = (
    "a good film",
    "a very dull story",
    "i loved the plot",
    "it was not bad",
    "so boring and slow!",
    "a great, warm movie with a clever plot.",
    "the story is weak but the film is fine",
    "not good",
)


def tiny_tokenizer(max_length: int = 64) -> BertTokenizerFast:
    """WordPiece over `WORDS`."""
    vocabulary = {token: index for index, token in enumerate([*SPECIAL, *WORDS])}
    tokenizer = Tokenizer(WordPiece(vocabulary, unk_token="[UNK]"))
    tokenizer.normalizer = BertNormalizer(lowercase=True)
    tokenizer.pre_tokenizer = BertPreTokenizer()
    tokenizer.post_processor = TemplateProcessing(
        single="[CLS] $A [SEP]",
        pair="[CLS] $A [SEP] $B:1 [SEP]:1",
        special_tokens=[("[CLS]", vocabulary["[CLS]"]), ("[SEP]", vocabulary["[SEP]"])],
    )
    return BertTokenizerFast(tokenizer_object=tokenizer, model_max_length=max_length)


def tiny_network(
    labels: Sequence[str], *, layers: int = 2, hidden: int = 32, heads: int = 4, ffn: int = 64, max_length: int = 64
) -> BertForSequenceClassification:
    """Random weights of seed 0, large enough for logits that differ between texts."""
    config = BertConfig(
        vocab_size=len(SPECIAL) + len(WORDS),
        hidden_size=hidden,
        num_hidden_layers=layers,
        num_attention_heads=heads,
        intermediate_size=ffn,
        max_position_embeddings=max_length,
        initializer_range=0.2,
        id2label=dict(enumerate(labels)),
        label2id={label: index for index, label in enumerate(labels)},
        pad_token_id=0,
    )
    torch.manual_seed(0)
    return BertForSequenceClassification(config)


def tiny_classifier(
    folder: Path | None = None,
    labels: Sequence[str] = ("negative", "positive"),
    *,
    layers: int = 2,
    hidden: int = 32,
    heads: int = 4,
    ffn: int = 64,
    max_length: int = 64,
) -> TorchClassifier:
    """A classifier with random weights; saved into `folder`, where one is given, and read from there."""
    network = tiny_network(labels, layers=layers, hidden=hidden, heads=heads, ffn=ffn, max_length=max_length)
    classifier = TorchClassifier(network, tiny_tokenizer(max_length), max_length)
    if folder is None:
        return classifier
    folder.mkdir(parents=True, exist_ok=True)
    classifier.save(folder)
    return TorchClassifier.load(folder, max_length)
