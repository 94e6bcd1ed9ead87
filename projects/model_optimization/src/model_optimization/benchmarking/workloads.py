"""What a variant computes while it is timed. Shapes: B texts of a batch, T tokens of each.

Two kinds of input. Exact ones have T tokens in every text, so that figures of different models and days compare, and
hold words of real texts, so that the embedding table is read where real texts read it. Realistic ones are texts as
they come, from string to logits.
"""

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from model_optimization.types import Classifier, FloatArray, TokenIds

Call = Callable[[], FloatArray]


@dataclass(frozen=True, kw_only=True)
class Workload:
    """One kind of input at one batch size."""

    batch: int
    tokens: int | None
    """Of every text; None for realistic texts."""

    @property
    def name(self) -> str:
        """For messages and for the worker: `16 x 128 tokens`, `16 texts`."""
        return f"{self.batch} texts" if self.tokens is None else f"{self.batch} x {self.tokens} tokens"


def workloads(batch_sizes: Sequence[int], tokens: int, realistic: int) -> list[Workload]:
    """All inputs that are measured: the exact ones first."""
    exact = [Workload(batch=batch, tokens=tokens) for batch in batch_sizes]
    return exact + [Workload(batch=batch, tokens=None) for batch in batch_sizes if realistic]


def calls_of(workload: Workload, classifier: Classifier, texts: Sequence[str], seed: int) -> list[Call]:
    """One pass over the input: each call computes one batch."""
    if workload.tokens is not None:
        sequences = exact_sequences(classifier, texts, workload.batch, workload.tokens, seed)
        return [lambda: classifier.logits_of_tokens(sequences)]
    starts = range(0, len(texts), workload.batch)
    batches = [list(texts[at : at + workload.batch]) for at in starts]
    return [_text_call(classifier, batch) for batch in batches]


def exact_sequences(classifier: Classifier, texts: Sequence[str], batch: int, tokens: int, seed: int) -> list[TokenIds]:
    """B sequences of exactly T tokens, or of the model's own limit where that is lower.

    Each is the words of the texts in an order of its own, cut; the token that ends every text of this model stays its
    last one.

    Raises:
        ValueError: the texts hold no word that the tokenizer makes tokens of.
    """
    wanted = min(tokens, classifier.max_length)
    words = " ".join(texts).split()
    rows = []
    for row in range(batch):
        shuffled = random.Random(f"{seed} {row}").sample(words, len(words))
        ids = classifier.token_ids([" ".join(shuffled)])[0]
        while len(ids) < wanted:
            longer = classifier.token_ids([" ".join(shuffled := shuffled * 2)])[0]
            if len(longer) <= len(ids):
                raise ValueError(f"the texts make no more than {len(ids)} tokens, but {wanted} are wanted")
            ids = longer
        rows.append(ids[: wanted - 1] + ids[-1:])
    return rows


def _text_call(classifier: Classifier, batch: list[str]) -> Any:
    return lambda: classifier.logits(batch, batch_size=len(batch))
