"""Tiny checkpoints of every architecture, written once, so that tests go through the real `from_pretrained`."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors
from transformers import (
    AlbertConfig,
    AlbertForSequenceClassification,
    AlbertModel,
    BertConfig,
    BertForSequenceClassification,
    BertModel,
    DistilBertConfig,
    DistilBertForSequenceClassification,
    DistilBertModel,
    ModernBertConfig,
    ModernBertForSequenceClassification,
    ModernBertModel,
    PreTrainedTokenizerFast,
    RobertaConfig,
    RobertaForSequenceClassification,
    RobertaModel,
)

from bert_sentiment.config import PreprocessingConfig
from bert_sentiment.models.bert_classifier import SentimentModel, quiet_transformers

LABELS = ("negative", "neutral", "positive")
SPECIAL = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
WORDS = (
    "a the it was is not film plot phone tweet good bad great awful fine dull bright loved hated never and but so very "
    "really i you we they this that what . , ! ? ' http @ user"
).split()
LETTERS = [chr(code) for code in range(ord("a"), ord("z") + 1)]
VOCABULARY = [*SPECIAL, *dict.fromkeys(WORDS + LETTERS), *(f"##{letter}" for letter in LETTERS)]

SMALL = {"vocab_size": len(VOCABULARY), "num_hidden_layers": 2, "num_attention_heads": 2, "pad_token_id": 0}
ENCODER = {**SMALL, "hidden_size": 32, "intermediate_size": 48, "max_position_embeddings": 66}
ARCHITECTURES = {
    "bert": (BertConfig(**ENCODER), BertModel, BertForSequenceClassification),
    "roberta": (RobertaConfig(**ENCODER), RobertaModel, RobertaForSequenceClassification),
    "distilbert": (
        DistilBertConfig(
            vocab_size=len(VOCABULARY),
            dim=32,
            hidden_dim=48,
            n_layers=2,
            n_heads=2,
            max_position_embeddings=66,
            pad_token_id=0,
        ),
        DistilBertModel,
        DistilBertForSequenceClassification,
    ),
    "albert": (
        AlbertConfig(**ENCODER, embedding_size=16),
        AlbertModel,
        AlbertForSequenceClassification,
    ),
    "modernbert": (
        ModernBertConfig(**ENCODER, cls_token_id=2, sep_token_id=3, bos_token_id=2, eos_token_id=3, local_attention=16),
        ModernBertModel,
        ModernBertForSequenceClassification,
    ),
}


def tiny_tokenizer() -> PreTrainedTokenizerFast:
    """WordPiece over a few words and all letters; cuts at 64 tokens."""
    tokenizer = Tokenizer(models.WordPiece({word: index for index, word in enumerate(VOCABULARY)}, unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=True)  # type: ignore[assignment]
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()  # type: ignore[assignment]
    tokenizer.post_processor = processors.TemplateProcessing(  # type: ignore[assignment]
        single="[CLS] $A [SEP]", pair="[CLS] $A [SEP] $B [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        model_max_length=64,
        pad_token="[PAD]",
        unk_token="[UNK]",
        cls_token="[CLS]",
        sep_token="[SEP]",
        mask_token="[MASK]",
    )


@pytest.fixture(scope="session")
def encoder_folder(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    """A function from an architecture's name to the folder of an encoder without a classifier."""

    def write(architecture: str = "bert") -> Path:
        folder = tmp_path_factory.getbasetemp() / f"encoder-{architecture}"
        if not folder.exists():
            config, encoder, _ = ARCHITECTURES[architecture]
            torch.manual_seed(7)
            with quiet_transformers():
                encoder(config).save_pretrained(folder)
            tiny_tokenizer().save_pretrained(folder)
        return folder

    return write


@pytest.fixture
def tiny_model() -> Callable[..., SentimentModel]:
    """A function from an architecture's name to a fresh classifier with random weights."""

    def build(architecture: str = "bert", labels: tuple[str, ...] = LABELS, **preprocessing: object) -> SentimentModel:
        config, _, classifier = ARCHITECTURES[architecture]
        torch.manual_seed(7)
        names = {"id2label": dict(enumerate(labels)), "label2id": {label: index for index, label in enumerate(labels)}}
        network = classifier(type(config)(**{**config.to_dict(), **names})).eval()
        return SentimentModel(network, tiny_tokenizer(), PreprocessingConfig(**preprocessing))  # type: ignore[arg-type]

    return build


@pytest.fixture(params=list(ARCHITECTURES))
def architecture(request: pytest.FixtureRequest) -> str:
    return request.param
