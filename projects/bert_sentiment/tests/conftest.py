"""Tiny checkpoints of every architecture, written once, so that tests go through the real `from_pretrained`; and what
several test files start from."""

import gc
from collections.abc import Callable, Iterator
from copy import deepcopy
from dataclasses import replace
from pathlib import Path
from typing import Any

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

from bert_sentiment.comparison import command
from bert_sentiment.config import CompareConfig, ModelConfig, PreprocessingConfig
from bert_sentiment.inference import files
from bert_sentiment.inference.predictor import Predictor
from bert_sentiment.models.bert_classifier import SentimentModel, build_classifier, quiet_transformers
from roadmap_shared.config import RunConfig

from .helpers import FIRST, LABELS, QUICK_TRAINER, SECOND, TINY_SCRATCH, Base, rule, said, write_dataset, write_run

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


@pytest.fixture(scope="module")
def imported_modules_are_not_searched_for_garbage() -> Iterator[None]:
    """The Trainer collects garbage twice a training: a third of a second, of which a tiny one takes a tenth."""
    gc.collect()
    gc.freeze()
    yield
    gc.unfreeze()


# --- fine-tuning methods --------------------------------------------------------------------------


@pytest.fixture(scope="session")
def base_folder(encoder_folder: Callable[..., Path], tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """Encoders with weights large enough that attention, order and padding would show in the logits."""

    def write(architecture: str) -> Path:
        folder = tmp_path_factory.getbasetemp() / f"lively-{architecture}"
        if not folder.exists():
            name = ModelConfig(name=str(encoder_folder(architecture)))
            model = build_classifier(name, PreprocessingConfig(), LABELS, seed=0)
            enliven(model)
            encoder: Any = model.network.base_model
            encoder.save_pretrained(folder)
            model.tokenizer.save_pretrained(folder)
        return folder

    return write


def enliven(model: SentimentModel) -> None:
    generator = torch.Generator().manual_seed(3)
    with torch.no_grad():
        for name, weight in model.network.named_parameters():
            if weight.dim() == 2:
                weight.normal_(std=0.3, generator=generator)
            elif name.endswith("bias"):
                weight.normal_(std=0.1, generator=generator)


@pytest.fixture(scope="session")
def base(base_folder: Callable[[str], Path]) -> Base:
    """A function from an architecture's name to a fresh classifier, the same each time."""
    read: dict[str, SentimentModel] = {}

    def build(architecture: str = "bert") -> SentimentModel:
        if architecture not in read:
            name = ModelConfig(name=str(base_folder(architecture)))
            read[architecture] = build_classifier(name, PreprocessingConfig(max_length=40), LABELS, seed=1)
        return replace(read[architecture], network=deepcopy(read[architecture].network))

    return build


# --- the comparison -------------------------------------------------------------------------------


@pytest.fixture
def compare_config(tmp_path: Path) -> Callable[..., CompareConfig]:
    """A function to a config of a small comparison on two files with the same labels."""
    one = write_dataset(tmp_path / "one.csv", rule(90, 1))
    two = write_dataset(tmp_path / "two.csv", rule(90, 2))

    def build(**changes: Any) -> CompareConfig:
        plain = CompareConfig(
            models=("majority", "tfidf"),
            datasets=(f"one={one}", f"two={two}"),
            shares=(),
            min_steps=0,
            n_resamples=200,
            run=RunConfig(root=tmp_path / "runs"),
            trainer=QUICK_TRAINER,
            scratch=TINY_SCRATCH,
        )
        return replace(plain, **changes)

    return build


@pytest.fixture
def no_report(monkeypatch: pytest.MonkeyPatch) -> None:
    """Draws no report: these tests are about what is measured."""
    monkeypatch.setattr(command, "comparison_report", lambda compared: "")


# --- labelling files, and the page ----------------------------------------------------------------


@pytest.fixture
def predictor(tiny_model: Callable[..., SentimentModel]) -> Predictor:
    return Predictor(tiny_model())


@pytest.fixture
def small_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(files, "CHUNK_ROWS", 4)
    said.clear()


@pytest.fixture
def root(tiny_model: Callable[..., SentimentModel], tmp_path: Path) -> Path:
    """Two runs whose models say different things."""
    for sign, name in ((8, FIRST), (-8, SECOND)):
        model = tiny_model()
        with torch.no_grad():
            for parameter in model.network.parameters():
                if parameter.dim() > 1:
                    parameter *= sign
        write_run(tmp_path / "runs", name, model)
    return tmp_path / "runs"
