"""From a raw text to token ids: cleaning, truncation, padding.

Cleaning keeps what carries sentiment (emoji, case, punctuation, three repeated letters) and takes away what only
splits the vocabulary (markup, addresses, names of users). The same settings are stored with a trained model.

Shapes: B texts of a batch, T tokens of the longest.
"""

import html
import re
from collections.abc import Iterator, Sequence

import torch
from torch import Tensor
from transformers import PreTrainedTokenizerBase

from bert_sentiment.config import PreprocessingConfig

TAG = re.compile(r"<(?:/?[a-zA-Z][^<>]{0,500}|!--.*?--)>", re.DOTALL)
URL = re.compile(r"(?:https?://|www\.)\S+", re.IGNORECASE)
MENTION = re.compile(r"(?<![\w@])@\w{1,50}")
ELONGATED = re.compile(r"(\D)\1{3,}")
BLANKS = re.compile(r"\s+")

HEAD_SHARE = 0.25
"""Share of the tokens that `head_tail` takes from the beginning: 128 of 510 in Sun et al. (2019)."""


def clean(text: str, config: PreprocessingConfig) -> str:
    """The text without what `config` takes away, blanks joined."""
    if config.html:
        text = html.unescape(TAG.sub(" ", text))
    if config.urls == "token":
        text = URL.sub("http", text)
    if config.mentions == "token":
        text = MENTION.sub("@user", text)
    if config.elongation:
        text = ELONGATED.sub(r"\1\1\1", text)
    return BLANKS.sub(" ", text).strip()


def truncate(tokens: list[int], room: int, config: PreprocessingConfig) -> list[int]:
    """At most `room` of the tokens, taken where `config.truncation` says."""
    if len(tokens) <= room:
        return tokens
    match config.truncation:
        case "head":
            return tokens[:room]
        case "tail":
            return tokens[-room:]
        case "head_tail":
            n_head = round(HEAD_SHARE * room)
            return tokens[:n_head] + tokens[n_head - room :]


def token_ids(texts: Sequence[str], tokenizer: PreTrainedTokenizerBase, config: PreprocessingConfig) -> list[list[int]]:
    """Token ids of each text, cleaned and truncated, with the tokenizer's special tokens."""
    if not texts:
        return []
    before, after = special_tokens(tokenizer)
    room = text_room(tokenizer, config)
    cleaned = [clean(text, config) for text in texts]
    plain = tokenizer(cleaned, add_special_tokens=False, verbose=False)["input_ids"]
    return [before + truncate(ids, room, config) + after for ids in plain]


def text_room(tokenizer: PreTrainedTokenizerBase, config: PreprocessingConfig) -> int:
    """Tokens of a text that the model sees, without its special tokens."""
    before, after = special_tokens(tokenizer)
    # The position table may be shorter than what the config asks for.
    return min(config.max_length, tokenizer.model_max_length) - len(before) - len(after)


def special_tokens(tokenizer: PreTrainedTokenizerBase) -> tuple[list[int], list[int]]:
    """What the tokenizer puts before and behind a text: ([CLS], [SEP]) for BERT, (<s>, </s>) for RoBERTa."""
    word = tokenizer("a", add_special_tokens=False)["input_ids"]
    whole = tokenizer("a")["input_ids"]
    start = next(index for index in range(len(whole)) if whole[index : index + len(word)] == word)
    return whole[:start], whole[start + len(word) :]


def pad(sequences: Sequence[list[int]], tokenizer: PreTrainedTokenizerBase) -> dict[str, Tensor]:
    """Token ids of several texts -> `input_ids` and `attention_mask`, (B, T) each, T that of the longest of them."""
    width = max(map(len, sequences))
    padding = tokenizer.pad_token_id
    return {
        "input_ids": torch.tensor([ids + [padding] * (width - len(ids)) for ids in sequences]),
        "attention_mask": torch.tensor([[1] * len(ids) + [0] * (width - len(ids)) for ids in sequences]),
    }


def by_length(sequences: Sequence[list[int]], batch_size: int) -> Iterator[list[int]]:
    """Indices in batches of texts of similar length, the longest first: the first batch shows whether memory
    suffices."""
    order = sorted(range(len(sequences)), key=lambda index: -len(sequences[index]))
    for start in range(0, len(order), batch_size):
        yield order[start : start + batch_size]
