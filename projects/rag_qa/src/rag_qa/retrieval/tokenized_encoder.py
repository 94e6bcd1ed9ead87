"""What encoders have in common: the tokenizer, its limit, and batches of texts of like length."""

import re
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from tokenizers import Tokenizer

from rag_qa.protocols import FloatArray, IdArray

_SURROGATE = re.compile(r"[\ud800-\udfff]")


@dataclass(frozen=True, kw_only=True)
class TextLimits:
    """What a model's files say of its input."""

    max_length: int
    """Tokens of the input at most, special ones included."""

    pad_id: int
    unknown_id: int | None
    """Id of the token that stands for what the vocabulary cannot spell."""


class TokenizedEncoder(ABC):
    """Implements `Encoder` but for the arithmetic; safe to use from several threads."""

    def __init__(
        self,
        name: str,
        fingerprint: str,
        dimension: int,
        tokenizer: Tokenizer,
        limits: TextLimits,
        *,
        batch_size: int,
        query_prompt: str = "",
        passage_prompt: str = "",
    ) -> None:
        self.name, self.fingerprint, self.dimension = name, fingerprint, dimension
        self._limits, self._batch_size = limits, batch_size
        self._query_prompt, self._passage_prompt = query_prompt, passage_prompt
        self._whole = _copy(tokenizer)
        self._cut = _copy(tokenizer)
        self._cut.enable_truncation(limits.max_length)
        prompt = len(self._whole.encode(passage_prompt, add_special_tokens=False).ids)
        self.max_tokens = limits.max_length - self._whole.num_special_tokens_to_add(False) - prompt

    def encode(self, texts: Sequence[str]) -> FloatArray:
        """(N, dimension) unit vectors of passages, in the order of the texts; what exceeds `max_tokens` is not seen."""
        return self._encode([self._passage_prompt + text for text in texts])

    def encode_queries(self, texts: Sequence[str]) -> FloatArray:
        """(N, dimension) unit vectors of questions: as `encode`, with the prompt for questions."""
        return self._encode([self._query_prompt + text for text in texts])

    def token_spans(self, text: str) -> list[tuple[int, int]]:
        """Character offsets of each content token of the whole text."""
        return self._whole.encode(_without_surrogates(text), add_special_tokens=False).offsets

    def unknown_share(self, text: str) -> float:
        """Share of the text's content tokens that the vocabulary cannot spell; 0 for a text without tokens."""
        ids = self._whole.encode(_without_surrogates(text), add_special_tokens=False).ids
        return ids.count(self._limits.unknown_id) / len(ids) if ids and self._limits.unknown_id is not None else 0.0

    def _encode(self, texts: Sequence[str]) -> FloatArray:
        encodings = self._cut.encode_batch([_without_surrogates(text) for text in texts])
        tokens = [encoding.ids for encoding in encodings]
        vectors = np.empty((len(tokens), self.dimension), dtype=np.float32)
        # Longest first: a batch is padded to its longest text, and memory runs out at once or never.
        order = sorted(range(len(tokens)), key=lambda i: -len(tokens[i]))
        for start in range(0, len(order), self._batch_size):
            batch = order[start : start + self._batch_size]
            vectors[batch] = self._vectors(*self._padded([tokens[i] for i in batch]))
        return vectors

    def _padded(self, tokens: list[list[int]]) -> tuple[IdArray, IdArray]:
        """(B, T) token ids, and (B, T) mask of 1 for tokens and 0 for padding."""
        width = max(len(row) for row in tokens)
        ids = np.full((len(tokens), width), self._limits.pad_id, dtype=np.int64)
        mask = np.zeros((len(tokens), width), dtype=np.int64)
        for row, content in enumerate(tokens):
            ids[row, : len(content)] = content
            mask[row, : len(content)] = 1
        return ids, mask

    @abstractmethod
    def _vectors(self, ids: IdArray, mask: IdArray) -> FloatArray:
        """(B, dimension) unit vectors of (B, T) token ids."""


def _copy(tokenizer: Tokenizer) -> Tokenizer:
    """A tokenizer of one's own, which neither cuts nor pads."""
    copy = Tokenizer.from_str(tokenizer.to_str())
    copy.no_truncation()
    copy.no_padding()
    return copy


def _without_surrogates(text: str) -> str:
    """The text with lone surrogates, which UTF-8 cannot hold, replaced one by one: offsets stay."""
    return _SURROGATE.sub("�", text)
