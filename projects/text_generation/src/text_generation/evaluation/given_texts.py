"""Given texts, measured: how probable a model finds them, beside baselines, and how varied they are.

```python
texts = [document.text for document in documents]
known = measure_known(backend, texts)
varied = measure_variety(texts)
```
"""

import math
import random
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from roadmap_shared.metrics import Interval, bootstrap_ratio
from text_generation.evaluation.diversity_metrics import (
    Tokens,
    compression_ratio,
    distinct_n,
    distinct_n_per_document,
    self_bleu,
    seq_rep_n,
    words,
)

if TYPE_CHECKING:
    from text_generation.backends.hf import HuggingFaceBackend
    from text_generation.evaluation.ngram_baseline import NgramScore
    from text_generation.evaluation.perplexity_calculator import Perplexity

ORDERS = (1, 2, 3)
"""n of the distinct-n."""


@dataclass(frozen=True)
class Known:
    """How probable a model finds texts."""

    perplexity: "Perplexity"
    bits_per_byte: Interval | None
    """95 % bootstrap interval over the texts. None: of one text there is none."""

    ngram: "NgramScore | None"
    """An n-gram model over the same tokens; None where there are no training texts for it."""

    saved: Interval | None
    """Bits per byte by which the model is better than the n-gram model, resampled over the texts. None: fewer than two
    texts, or no n-gram model."""

    n_seen: int
    """Texts that stand as they are among the n-gram model's training texts, which makes it look better."""


@dataclass(frozen=True)
class Variety:
    """How varied texts are, on words. NaN: too short, or too few, to tell."""

    n_words: int
    """Words and signs (`diversity_metrics.words`) of all texts."""

    distinct: dict[int, float]
    """distinct-n of all texts pooled, by n."""

    distinct_per_document: dict[int, float]
    """The mean over the texts of each one's distinct-n, by n."""

    self_bleu: float
    n_self_bleu: int
    """Texts that self-BLEU is measured on."""

    seq_rep_4: float
    compression_ratio: float


def measure_known(
    backend: "HuggingFaceBackend",
    texts: Sequence[str],
    *,
    train: Sequence[str] | None = None,
    order: int = 5,
    window: int | None = None,
    stride: int | None = None,
) -> Known:
    """Perplexity and bits per byte of a model on texts, beside an n-gram model.

    Args:
        backend: a local model; its batch size is the number of windows a forward pass.
        texts: none of them empty.
        train: what n-grams are counted in. None: no n-gram model.
        order: n of that model.
        window: tokens; None for the model's context, 1,024 at most.
        stride: tokens; None for half the window.

    Raises:
        UserError: as for `measure_perplexity`.
    """
    from text_generation.evaluation.ngram_baseline import NgramBaseline
    from text_generation.evaluation.perplexity_calculator import measure_perplexity

    def encode(text: str) -> list[int]:
        # Without the special tokens that some tokenizers add, as the model itself is measured.
        return list(backend.tokenizer(text, add_special_tokens=False, verbose=False)["input_ids"])

    found = measure_perplexity(
        backend.network, backend.tokenizer, texts, window=window, stride=stride, batch_size=backend.batch_size
    )
    several, seen = len(texts) > 1, set(train or ())
    ngram = saved = None
    if train is not None:
        counted = NgramBaseline(train, order=order, encode=encode, vocab_size=len(backend.tokenizer))
        ngram = counted.score(texts)
        saved = _saved(found, ngram) if several else None
    return Known(
        perplexity=found,
        bits_per_byte=found.bits_per_byte_interval() if several else None,
        ngram=ngram,
        saved=saved,
        n_seen=sum(text in seen for text in texts),
    )


def _saved(model: "Perplexity", ngram: "NgramScore") -> Interval:
    """The n-gram model's bits per byte minus the model's, over all texts together, as their own difference is."""
    bits = [(theirs - ours.nats) / math.log(2) for ours, theirs in zip(model.texts, ngram.nats.tolist(), strict=True)]
    return bootstrap_ratio(bits, [text.n_bytes for text in model.texts])


def measure_variety(texts: Sequence[str], *, self_bleu_documents: int = 500, seed: int = 0) -> Variety:
    """How varied texts are; self-BLEU on at most `self_bleu_documents` of them, drawn by the seed.

    Raises:
        ValueError: one string instead of a list of them.
    """
    if isinstance(texts, str):
        raise ValueError("give a list of texts, not one string")
    documents: list[Tokens] = [words(text) for text in texts]
    compared = documents
    if len(documents) > self_bleu_documents:
        compared = random.Random(seed).sample(documents, self_bleu_documents)
    return Variety(
        n_words=sum(map(len, documents)),
        distinct={n: distinct_n(documents, n) for n in ORDERS},
        distinct_per_document={n: _mean(distinct_n_per_document(documents, n)) for n in ORDERS},
        self_bleu=self_bleu(compared),
        n_self_bleu=len(compared),
        seq_rep_4=seq_rep_n(documents, 4),
        compression_ratio=compression_ratio(texts),
    )


def _mean(values: Sequence[float]) -> float:
    known = [value for value in values if not math.isnan(value)]
    return math.fsum(known) / len(known) if known else math.nan
