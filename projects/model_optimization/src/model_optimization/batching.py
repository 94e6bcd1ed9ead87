"""Texts to padded batches, the same for every kind of classifier. Shapes: N texts, B a batch of them, T tokens."""

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence

import numpy as np
from transformers import PreTrainedTokenizerBase

from model_optimization.types import FloatArray, IntArray, TokenIds


class BatchedClassifier(ABC):
    """Implements `Classifier` on top of one padded batch."""

    def __init__(self, tokenizer: PreTrainedTokenizerBase, labels: Sequence[str], max_length: int) -> None:
        self.tokenizer = tokenizer
        self.pad_id = pad_id_of(tokenizer)
        self.labels = tuple(labels)
        self.max_length = max_length

    @abstractmethod
    def padded_logits(self, input_ids: IntArray, attention_mask: IntArray) -> FloatArray:
        """(B, K) logits of (B, T) token numbers and their mask, 0 at padding."""

    def token_ids(self, texts: Sequence[str]) -> list[TokenIds]:
        """Token numbers of each text, cut to `max_length`."""
        if not texts:
            return []
        return self.tokenizer(list(texts), truncation=True, max_length=self.max_length)["input_ids"]

    def logits_of_tokens(self, sequences: Sequence[TokenIds]) -> FloatArray:
        """(N, K) logits of texts that are computed as one batch, padded to the longest of them."""
        return self.padded_logits(*padded(sequences, self.pad_id))

    def logits(self, texts: Sequence[str], batch_size: int = 32) -> FloatArray:
        """(N, K) logits of texts in their order, computed in batches of texts of similar length."""
        sequences = self.token_ids(texts)
        logits = np.zeros((len(texts), len(self.labels)), dtype=np.float32)
        for batch in by_length(sequences, batch_size):
            logits[batch] = self.logits_of_tokens([sequences[index] for index in batch])
        return logits

    def close(self) -> None:  # noqa: B027  # most hold nothing that has to be freed
        """Free what is held."""


def pad_id_of(tokenizer: PreTrainedTokenizerBase) -> int:
    """Number of the padding token; tokenizers without one are refused when they are read."""
    pad_id = tokenizer.pad_token_id
    assert isinstance(pad_id, int)
    return pad_id


def padded(sequences: Sequence[TokenIds], pad_id: int) -> tuple[IntArray, IntArray]:
    """Sequences of B texts -> `input_ids` and `attention_mask`, both (B, T) with T the longest of them."""
    longest = max(map(len, sequences))
    input_ids = np.full((len(sequences), longest), pad_id, dtype=np.int64)
    attention_mask = np.zeros_like(input_ids)
    for row, sequence in enumerate(sequences):
        input_ids[row, : len(sequence)] = sequence
        attention_mask[row, : len(sequence)] = 1
    return input_ids, attention_mask


def by_length(sequences: Sequence[TokenIds], batch_size: int) -> Iterator[list[int]]:
    """Indices of the sequences in batches, the shortest first: texts of similar length need little padding."""
    order = sorted(range(len(sequences)), key=lambda index: len(sequences[index]))
    for start in range(0, len(order), batch_size):
        yield order[start : start + batch_size]
