"""Random transformers of a few thousand weights, in sentence-transformers' layout."""

import json
from pathlib import Path
from typing import Any

import torch
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors
from transformers import BertConfig, BertForSequenceClassification, BertModel, PreTrainedTokenizerFast

from rag_qa.retrieval.quiet_loading import quiet_loading

WORDS = (
    "[PAD] [UNK] [CLS] [SEP] the a of cat dog sat on mat red blue sky sea apple pie ##s ##ed to is 中 国 , . ?".split()
)


def write_encoder(folder: Path, *, max_length: int = 16, seed: int = 0) -> Path:
    """A BERT of 2 layers, 32 wide, with mean pooling."""
    torch.manual_seed(seed)
    _write(folder, BertModel(_config()))
    modules = [
        {"idx": i, "name": str(i), "path": path, "type": f"sentence_transformers.models.{kind}"}
        for i, (path, kind) in enumerate([("", "Transformer"), ("1_Pooling", "Pooling")])
    ]
    (folder / "modules.json").write_text(json.dumps(modules))
    (folder / "sentence_bert_config.json").write_text(
        json.dumps({"max_seq_length": max_length, "do_lower_case": False})
    )
    (folder / "1_Pooling").mkdir(exist_ok=True)
    (folder / "1_Pooling" / "config.json").write_text(
        json.dumps({"word_embedding_dimension": 32, "pooling_mode_mean_tokens": True, "pooling_mode_cls_token": False})
    )
    return folder


def write_cross_encoder(folder: Path, labels: int = 1) -> Path:
    """A BERT of 2 layers, 32 wide, with an output for each label."""
    torch.manual_seed(0)
    _write(folder, BertForSequenceClassification(_config(num_labels=labels)))
    return folder


def _config(**more: Any) -> BertConfig:
    return BertConfig(
        vocab_size=len(WORDS),
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=4,
        intermediate_size=64,
        max_position_embeddings=64,
        initializer_range=0.2,
        **more,
    )


def _write(folder: Path, model: BertModel | BertForSequenceClassification) -> None:
    tokenizer = Tokenizer(models.WordPiece({word: i for i, word in enumerate(WORDS)}, unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer()
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", pair="[CLS] $A [SEP] $B [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    special = {"pad_token": "[PAD]", "unk_token": "[UNK]", "cls_token": "[CLS]", "sep_token": "[SEP]"}
    with quiet_loading():
        model.save_pretrained(folder)
        PreTrainedTokenizerFast(tokenizer_object=tokenizer, model_max_length=64, **special).save_pretrained(folder)
