"""What a language model has to beat: n-grams with Kneser-Ney smoothing, and general-purpose compressors.

Each gives the bits per UTF-8 byte of held-out texts, as `perplexity_calculator` does for a neural model. A compressor
is a language model, too: its bits are those of an arithmetic coder that uses the model's probabilities (Shannon 1948).
"""

import gzip
import lzma
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal, Self

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import ArrayLike, NDArray

from roadmap_shared.metrics import bits_per_byte

IntArray = NDArray[np.int64]
FloatArray = NDArray[np.float64]

Encode = Callable[[str], Sequence[int]]
"""A text -> ids of its tokens, from which the text can be restored."""

N_BYTES = 256
_FALLBACK_DISCOUNT = 0.5  # where no n-gram occurs once; KenLM's --discount_fallback
_XZ_PRESET = 6 | lzma.PRESET_EXTREME  # 9 takes 700 MB of memory for a dictionary that few texts fill


@dataclass(frozen=True)
class NgramScore:
    """Likelihood of held-out texts, document by document, so that it can be resampled."""

    order: int
    nats: FloatArray  # (D,) summed over the tokens of a document
    n_bytes: IntArray  # (D,) UTF-8 length of a document

    @property
    def bits_per_byte(self) -> float:
        """Of all documents together."""
        return bits_per_byte(float(self.nats.sum()), int(self.n_bytes.sum()))


class NgramBaseline:
    """A Kneser-Ney model over the tokens of some texts.

    Every document is predicted whole, beginning with its first token, after a mark for the start of a document that
    counts as no token. Nothing is carried over from one document to the next.
    """

    def __init__(
        self, train: Sequence[str], *, order: int = 5, encode: Encode | None = None, vocab_size: int = N_BYTES
    ) -> None:
        """Args:
            train: texts to count n-grams in.
            order: n; the context is n - 1 tokens.
            encode: None takes the UTF-8 bytes.
            vocab_size: of `encode`; its ids are below.

        Raises:
            ValueError: there is no text or only empty ones, an id is outside the vocabulary, or order is below 1.
        """
        self._encode = encode or utf8_bytes
        self._start = vocab_size  # one id more than the tokenizer has
        stream = [token for text in train for token in (self._start, *self._encode(text))]
        if len(stream) == len(train):
            raise ValueError("an n-gram model needs training texts that are not empty")
        self._model = KneserNey(order).fit(stream, vocab_size + 1)

    def score(self, held_out: Sequence[str]) -> NgramScore:
        """Measure the model on other texts.

        Raises:
            ValueError: there is no text or only empty ones, or an id is outside the vocabulary.
        """
        n_bytes = np.array([len(text.encode()) for text in held_out], dtype=np.int64)
        if not n_bytes.sum():
            raise ValueError("an n-gram model needs held-out texts that are not empty")
        losses = (self._model.losses([self._start, *self._encode(text)])[1:] for text in held_out)
        return NgramScore(self._model.order, np.array([each.sum() for each in losses]), n_bytes)


def utf8_bytes(text: str) -> Sequence[int]:
    """The UTF-8 bytes of a text as ids from 0 to 255."""
    return text.encode()


def compressed_bits_per_byte(text: str, compressor: Literal["gzip", "xz"], primed_with: str = "") -> float:
    """Bits that a compressor needs per UTF-8 byte of a text.

    Args:
        text: what is compressed.
        compressor: gzip -9 (LZ77 over 32 KiB and Huffman codes) or xz -6e (LZMA over 8 MiB).
        primed_with: a text that stands before it and whose compressed size is taken off: what a compressor has that
            has seen the training texts. The file's header and trailer fall away with it.

    Raises:
        ValueError: the text is empty.
    """
    content, prefix = text.encode(), primed_with.encode()
    if not content:
        raise ValueError("bits per byte need a text that is not empty")
    size = _compressed_size(prefix + content, compressor)
    if prefix:
        size -= _compressed_size(prefix, compressor)
    return 8 * size / len(content)


def _compressed_size(content: bytes, compressor: Literal["gzip", "xz"]) -> int:
    return len(gzip.compress(content, 9) if compressor == "gzip" else lzma.compress(content, preset=_XZ_PRESET))


@dataclass(frozen=True)
class _Level:
    """The k-grams of the training tokens for one k.

    A k-gram is named by its row in `keys`, and its key is r * V + w: w its last token, r the row of the tokens before
    at the level below. It is found by k sorted look-ups, and keys fit 64 bits however large the vocabulary V.
    """

    keys: IntArray  # (G,) sorted
    counts: IntArray  # (G,) occurrences at the highest level, distinct tokens to the left at the others
    totals: NDArray[Any]  # (C,) sum of the counts of the k-grams that share their first k-1 tokens
    types: IntArray  # (C,) number of those with a count above 0
    discount: float

    def find(self, contexts: IntArray, tokens: IntArray, vocab_size: int) -> IntArray:
        """Rows of the k-grams `context + token`, -1 for those that never occur. All shapes (B,)."""
        wanted = contexts * vocab_size + tokens  # negative, and so never found, for the context -1
        rows = np.minimum(np.searchsorted(self.keys, wanted), len(self.keys) - 1)
        return np.where(self.keys[rows] == wanted, rows, -1)


class KneserNey:
    """Interpolated Kneser-Ney language model over token ids (Kneser & Ney 1995; Chen & Goodman 1999, §2.7).

    With h the last k-1 tokens before w, h' the same without its first, and D the discount of level k:

        p_k(w | h) = max(c(h w) - D, 0) / c(h .) + D * N1+(h .) / c(h .) * p_{k-1}(w | h')

    where c counts occurrences at the highest level and distinct tokens to the left at the others, c(h .) sums it over
    all w, N1+(h .) is the number of w with a count, and D = n1 / (n1 + 2 n2), with n1 and n2 the numbers of k-grams
    counted once and twice. A context that was never seen hands over to p_{k-1}; below the unigrams stands the uniform
    distribution, so that nothing has probability 0.
    """

    def __init__(self, order: int = 5) -> None:
        if order < 1:
            raise ValueError(f"order must be at least 1, got {order}")
        self.order = order
        self.vocab_size = 0
        self._levels: list[_Level] = []

    def fit(self, train_ids: ArrayLike, vocab_size: int) -> Self:
        """Count the n-grams of `train_ids`, (N,), values in [0, vocab_size). Fewer than `order` tokens lower the order.

        Raises:
            ValueError: no ids, or one outside the vocabulary.
        """
        ids = _checked(train_ids, vocab_size)
        if not len(ids):
            raise ValueError("an n-gram model needs at least one token to learn from")
        self.vocab_size = vocab_size
        starts = [np.zeros(len(ids) + 1, dtype=np.int64)]  # starts[k][i] names the k-gram at position i
        keys: list[IntArray] = []
        for k in range(1, min(self.order, len(ids)) + 1):
            unique_keys, grams = np.unique(starts[-1][:-1] * vocab_size + ids[k - 1 :], return_inverse=True)
            keys.append(unique_keys)
            starts.append(grams)
        self._levels = []
        for k, level_keys in enumerate(keys, start=1):
            highest = k == len(keys)
            counts = np.bincount(starts[k]) if highest else _continuation_counts(starts[k], starts[k + 1])
            self._levels.append(self._level(level_keys, counts))
        return self

    def losses(self, ids: ArrayLike) -> FloatArray:
        """-ln p(token | the up to order-1 tokens before it) of each token, (len(ids),), in nats.

        Raises:
            ValueError: an id is outside the vocabulary.
        """
        ids = _checked(ids, self.vocab_size)
        order = len(self._levels)
        n_short = min(order - 1, len(ids))
        probabilities = [self._last_token_probability(ids[None, : i + 1]) for i in range(n_short)]
        if len(ids) > n_short:
            probabilities.append(self._last_token_probability(sliding_window_view(ids, order)))
        return -np.log(np.concatenate(probabilities)) if probabilities else np.zeros(0)

    def _level(self, keys: IntArray, counts: IntArray) -> _Level:
        contexts = keys // self.vocab_size
        n_contexts = len(self._levels[-1].keys) if self._levels else 1
        n1, n2 = np.count_nonzero(counts == 1), np.count_nonzero(counts == 2)
        return _Level(
            keys=keys,
            counts=counts,
            totals=np.bincount(contexts, weights=counts, minlength=n_contexts),
            types=np.bincount(contexts[counts > 0], minlength=n_contexts),
            discount=n1 / (n1 + 2 * n2) if n1 else _FALLBACK_DISCOUNT,
        )

    def _last_token_probability(self, windows: IntArray) -> FloatArray:
        """p(last token | those before it) of each row, (B, at most order) -> (B,)."""
        n_rows, width = windows.shape
        probability = np.full(n_rows, 1 / self.vocab_size)
        for k in range(1, width + 1):
            context = np.zeros(n_rows, dtype=np.int64)
            for level, tokens in zip(self._levels, windows[:, width - k : -1].T, strict=False):
                context = level.find(context, tokens, self.vocab_size)
            level = self._levels[k - 1]
            gram = level.find(context, windows[:, -1], self.vocab_size)
            total = np.where(context >= 0, level.totals[context], 0)
            count = np.where(gram >= 0, level.counts[gram], 0)
            kept = np.maximum(count - level.discount, 0)
            handed_down = level.discount * level.types[context] * probability
            probability = np.where(total > 0, (kept + handed_down) / np.maximum(total, 1), probability)
        return probability


def _continuation_counts(grams: IntArray, longer_grams: IntArray) -> IntArray:
    """N1+(. g) of every k-gram g: how many distinct tokens come before it.

    "Francisco" is frequent, but comes after "San" alone, and so is unlikely elsewhere. `grams` (N-k+1,) and
    `longer_grams` (N-k,) name the k-gram and the (k+1)-gram at each position.
    """
    _, first_at = np.unique(longer_grams, return_index=True)
    return np.bincount(grams[first_at + 1], minlength=int(grams.max()) + 1)


def _checked(ids: ArrayLike, vocab_size: int) -> IntArray:
    array = np.asarray(ids, dtype=np.int64)
    if array.ndim != 1:
        raise ValueError(f"token ids must be one sequence, got shape {array.shape}")
    if len(array) and not (array.min() >= 0 and array.max() < vocab_size):
        raise ValueError(f"token ids must be in [0, {vocab_size}), got {array.min()} to {array.max()}")
    return array
