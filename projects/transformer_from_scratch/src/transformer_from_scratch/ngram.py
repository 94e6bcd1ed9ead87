"""N-gram language models over token ids: the baselines that a neural language model has to beat.

`KneserNey` is interpolated Kneser-Ney smoothing (Kneser & Ney 1995; in its interpolated form Chen & Goodman
1999 §2.7), the classical model to beat; `unigram_losses` knows token frequencies and no context at all.
"""

from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import ArrayLike

# Where no n-gram occurs once the discount cannot be estimated; KenLM's `--discount_fallback` takes 0.5.
FALLBACK_DISCOUNT = 0.5


def unigram_losses(train_ids: ArrayLike, ids: ArrayLike, vocab_size: int) -> np.ndarray:
    """-ln p(token) for each of `ids`, shape (len(ids),), in nats, whatever the context.

    p is the add-one estimate from `train_ids` (Chen & Goodman 1999 §2.1): every token of the vocabulary is
    counted once more than it occurs. Raises ValueError for ids outside the vocabulary.
    """
    train_ids, ids = as_ids(train_ids, vocab_size), as_ids(ids, vocab_size)
    counts = np.bincount(train_ids, minlength=vocab_size) + 1
    return -np.log(counts / counts.sum())[ids]


def absolute_discount(counts: np.ndarray) -> float:
    """D = n1 / (n1 + 2 n2), with n1 and n2 the number of n-grams counted once and twice (Ney et al. 1994)."""
    n1, n2 = np.count_nonzero(counts == 1), np.count_nonzero(counts == 2)
    return n1 / (n1 + 2 * n2) if n1 else FALLBACK_DISCOUNT


@dataclass(frozen=True)
class Level:
    """All k-grams of the training text for one k, and what the model needs to know of each.

    A k-gram is named by its row in `keys`. Its key is r * V + w, with w its last token and r the row of the
    tokens before it at the level of the (k-1)-grams. So a k-gram is found by k sorted look-ups, one a level,
    and keys fit 64 bits however large the vocabulary.
    """

    keys: np.ndarray  # (G,) sorted
    counts: np.ndarray  # (G,) occurrences at the highest level, distinct tokens to the left at the others
    context_totals: np.ndarray  # (C,) sum of counts over the k-grams that share their first k-1 tokens
    context_types: np.ndarray  # (C,) number of those k-grams with a count above 0
    discount: float

    def find(self, contexts: np.ndarray, tokens: np.ndarray, vocab_size: int) -> np.ndarray:
        """Rows of the k-grams `context + token`, -1 where the training text has none. All shapes (B,)."""
        # The key of a context -1 is negative and matches none.
        wanted = contexts * vocab_size + tokens
        rows = np.minimum(np.searchsorted(self.keys, wanted), len(self.keys) - 1)
        return np.where(self.keys[rows] == wanted, rows, -1)


def continuation_counts(grams: np.ndarray, longer_grams: np.ndarray) -> np.ndarray:
    """N1+(. g) for every k-gram g: how many distinct tokens come before it in the training text.

    `grams` (N-k+1,) and `longer_grams` (N-k,) name the k-gram and the (k+1)-gram that start at each position.
    A k-gram counts once for each distinct (k+1)-gram that ends with it, however often that occurs:
    "Francisco" is frequent, but follows "San" alone, and is unlikely elsewhere (Chen & Goodman 1999 §2.7).
    """
    _, first_at = np.unique(longer_grams, return_index=True)
    return np.bincount(grams[first_at + 1], minlength=int(grams.max()) + 1)


class KneserNey:
    """Interpolated Kneser-Ney language model (Chen & Goodman 1999 §2.7); order 5 sees 4 tokens of context.

    With h the last k-1 tokens before w, h' the same without its first, and D the discount of level k:

        p_k(w | h) = max(c(h w) - D, 0) / c(h .) + D * N1+(h .) / c(h .) * p_{k-1}(w | h')

    where c counts occurrences at the highest level and distinct left neighbours at the others
    (`continuation_counts`), c(h .) sums it over all w, and N1+(h .) is the number of w with a count. A
    context that was never seen hands over to the shorter one, p_{k-1}; below the unigrams stands the uniform
    distribution, so nothing has probability 0.
    """

    def __init__(self, order: int = 5) -> None:
        if order < 1:
            raise ValueError(f"order must be at least 1, got {order}")
        self.order = order
        self.vocab_size = 0
        self.levels: list[Level] = []

    def fit(self, train_ids: ArrayLike, vocab_size: int) -> Self:
        """Count the n-grams of `train_ids`, shape (N,), values in [0, vocab_size).

        Raises ValueError for ids outside the vocabulary or fewer than `order` of them.
        """
        ids = as_ids(train_ids, vocab_size)
        if len(ids) < self.order:
            raise ValueError(f"a model of order {self.order} needs at least that many tokens, got {len(ids)}")
        self.vocab_size = vocab_size
        # starts[k][i] names the k-gram that starts at position i; there is one 0-gram.
        starts = [np.zeros(len(ids) + 1, dtype=np.int64)]
        keys = []
        for k in range(1, self.order + 1):
            gram_keys = starts[-1][:-1] * vocab_size + ids[k - 1 :]
            unique_keys, grams = np.unique(gram_keys, return_inverse=True)
            keys.append(unique_keys)
            starts.append(grams)
        self.levels = []
        for k in range(1, self.order + 1):
            highest = k == self.order
            counts = np.bincount(starts[k]) if highest else continuation_counts(starts[k], starts[k + 1])
            self.levels.append(self._level(keys[k - 1], counts, n_contexts=int(starts[k - 1].max()) + 1))
        return self

    def losses(self, ids: ArrayLike) -> np.ndarray:
        """-ln p(token | the up to order-1 tokens before it) for each of `ids`, shape (len(ids),), in nats.

        The first tokens have less context and are predicted by the lower levels. Raises ValueError for ids
        outside the vocabulary.
        """
        ids = as_ids(ids, self.vocab_size)
        n_short = min(self.order - 1, len(ids))
        probabilities = [self._last_token_probability(ids[None, : i + 1]) for i in range(n_short)]
        if len(ids) > n_short:
            probabilities.append(self._last_token_probability(sliding_window_view(ids, self.order)))
        return -np.log(np.concatenate(probabilities)) if probabilities else np.zeros(0)

    def next_token_probabilities(self, context: ArrayLike) -> np.ndarray:
        """p(w | context) for every token w, shape (V,); only the last order-1 tokens of `context` matter."""
        context = as_ids(context, self.vocab_size)
        context = context[max(0, len(context) - self.order + 1) :]
        every_token = np.arange(self.vocab_size)
        windows = np.column_stack([np.tile(context, (self.vocab_size, 1)), every_token])
        return self._last_token_probability(windows)

    def _level(self, keys: np.ndarray, counts: np.ndarray, n_contexts: int) -> Level:
        contexts = keys // self.vocab_size
        return Level(
            keys=keys,
            counts=counts,
            context_totals=np.bincount(contexts, weights=counts, minlength=n_contexts),
            context_types=np.bincount(contexts[counts > 0], minlength=n_contexts),
            discount=absolute_discount(counts),
        )

    def _last_token_probability(self, windows: np.ndarray) -> np.ndarray:
        """p(last token | the tokens before it) of each row of `windows`, shape (B, at most order) -> (B,)."""
        n_rows, width = windows.shape
        probability = np.full(n_rows, 1 / self.vocab_size)
        for k in range(1, width + 1):
            context = np.zeros(n_rows, dtype=np.int64)
            for level, tokens in zip(self.levels, windows[:, width - k : -1].T, strict=False):
                context = level.find(context, tokens, self.vocab_size)
            level = self.levels[k - 1]
            gram = level.find(context, windows[:, -1], self.vocab_size)
            total = np.where(context >= 0, level.context_totals[context], 0)
            count = np.where(gram >= 0, level.counts[gram], 0)
            kept = np.maximum(count - level.discount, 0)
            handed_down = level.discount * level.context_types[context] * probability
            probability = np.where(total > 0, (kept + handed_down) / np.maximum(total, 1), probability)
        return probability


def as_ids(ids: ArrayLike, vocab_size: int) -> np.ndarray:
    """`ids` as an int64 vector. Raises ValueError unless all are in [0, vocab_size)."""
    array = np.asarray(ids, dtype=np.int64)
    if array.ndim != 1:
        raise ValueError(f"token ids must be one sequence, got shape {array.shape}")
    if len(array) and not (array.min() >= 0 and array.max() < vocab_size):
        raise ValueError(f"token ids must be in [0, {vocab_size}), got {array.min()} to {array.max()}")
    return array
