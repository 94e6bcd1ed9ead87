"""Perplexity of texts of any length under a causal language model of Hugging Face.

A model sees at most its context at a time, so a long text is scored in windows that overlap:

    window 4, stride 2      S 1 2 3                  S: start token; predicted here: 1 2 3
                                2 3 4 5                                               4 5
                                    4 5 6 7                                           6 7

Every token is predicted exactly once, with all the tokens before it or at least `window - stride` of them as context. A
smaller stride gives more context and costs more time; without overlap, the first tokens of each window would be
predicted from next to nothing, and the model would look worse than it is.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray

from roadmap_shared.errors import UserError
from roadmap_shared.metrics import Interval, bits_per_byte, bootstrap_ratio, perplexity

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

LARGEST_DEFAULT_WINDOW = 1024
"""Tokens of a window where none is given and the model could see more: memory grows with it."""


@dataclass(frozen=True)
class TextLoss:
    """The loss of one text, and how long that text is by each measure."""

    nats: float
    """-ln p(text), summed over its tokens."""

    n_tokens: int
    n_words: int
    """Runs without blanks (`str.split`), as lm-evaluation-harness counts them. Means little for Chinese."""

    n_characters: int
    n_bytes: int
    """UTF-8 length."""

    n_unknown: int
    """Tokens that stand for what the tokenizer cannot write. Above 0, the figures per byte are too good."""


@dataclass(frozen=True)
class Perplexity:
    """What `measure_perplexity` finds. Only the figures per word, character and byte compare tokenizers."""

    texts: tuple[TextLoss, ...]
    """In the order that they were given in."""

    window: int
    stride: int
    start_token_id: int

    @property
    def nats(self) -> float:
        """-ln p, summed over all tokens of all texts."""
        return math.fsum(text.nats for text in self.texts)

    @property
    def per_token(self) -> float:
        """exp(nats / tokens): the usual perplexity."""
        return self._per("n_tokens")

    @property
    def per_word(self) -> float:
        """exp(nats / words)."""
        return self._per("n_words")

    @property
    def per_byte(self) -> float:
        """exp(nats / UTF-8 bytes)."""
        return self._per("n_bytes")

    @property
    def bits_per_byte(self) -> float:
        """nats / ln 2 / UTF-8 bytes (Gao et al. 2020, "The Pile", §3.1)."""
        return bits_per_byte(self.nats, self._total("n_bytes"))

    @property
    def bits_per_character(self) -> float:
        """nats / ln 2 / Unicode characters."""
        return self.nats / math.log(2) / self._total("n_characters")

    def bits_per_byte_interval(self, n_resamples: int = 2000, seed: int = 0) -> Interval:
        """Bits per byte with its 95 % bootstrap interval over the texts, a long one weighing more.

        Raises:
            ValueError: fewer than two texts.
        """
        if len(self.texts) < 2:
            raise ValueError("an interval over texts needs at least two of them")
        bits = [text.nats / math.log(2) for text in self.texts]
        return bootstrap_ratio(bits, [text.n_bytes for text in self.texts], n_resamples=n_resamples, seed=seed)

    def _total(self, unit: str) -> int:
        return sum(getattr(text, unit) for text in self.texts)

    def _per(self, unit: str) -> float:
        units = self._total(unit)
        return perplexity(self.nats / units) if units else math.nan


@dataclass(frozen=True)
class Span:
    """A window over a text's tokens, of which it predicts the last ones."""

    text: int
    """Index of the text."""

    begin: int
    end: int
    first_scored: int
    """Tokens from here to `end` are predicted in this window."""


def measure_perplexity(
    model: "PreTrainedModel",
    tokenizer: "PreTrainedTokenizerBase",
    texts: Sequence[str],
    *,
    window: int | None = None,
    stride: int | None = None,
    batch_size: int = 8,
    start_token_id: int | None = None,
) -> Perplexity:
    """The perplexity of a model on texts, each by itself.

    The start of a text is marked with one token that is context only, so that the text's own first token is predicted
    like the others: the tokenizer's BOS token, or its EOS token where it has no BOS, or `start_token_id`. The tokenizer
    adds no special tokens of its own.

    Args:
        model: causal language model, in eval mode or not; it is left as it was.
        tokenizer: the one that the model was trained with.
        texts: none of them empty; of any length.
        window: tokens that the model sees at a time, the start token included. None: the model's context, at most
            1,024.
        stride: tokens by which the window moves on. None: half the window.
        batch_size: windows a forward pass.
        start_token_id: in place of BOS or EOS.

    Raises:
        UserError: no texts or an empty one, a window longer than the model's context, a stride that does not fit the
            window, or a tokenizer with neither BOS nor EOS.
    """
    if isinstance(texts, str):
        raise ValueError("give a list of texts, not one string")
    window, stride = _window_and_stride(window, stride, context_length(model))
    start = _start_token(tokenizer, start_token_id)
    ids = [_token_ids(tokenizer, text, number) for number, text in enumerate(texts, start=1)]
    if not ids:
        raise UserError("perplexity needs at least one text")
    losses = token_losses(model, [[start, *tokens] for tokens in ids], window, stride, batch_size)
    unknown = _unknown_token(tokenizer)
    measured = (_text_loss(*each, unknown) for each in zip(texts, ids, losses, strict=True))
    return Perplexity(tuple(measured), window, stride, start)


def _text_loss(text: str, tokens: list[int], losses: NDArray[np.float64], unknown: int | None) -> TextLoss:
    return TextLoss(
        nats=float(losses.sum()),
        n_tokens=len(tokens),
        n_words=len(text.split()),
        n_characters=len(text),
        n_bytes=len(text.encode()),
        n_unknown=tokens.count(unknown) if unknown is not None else 0,
    )


def _unknown_token(tokenizer: "PreTrainedTokenizerBase") -> int | None:
    """The token for what cannot be written; None for GPT-2's, which knows every byte and gives its end-of-text token
    this name, too."""
    unknown: Any = tokenizer.unk_token_id
    return None if unknown in (tokenizer.bos_token_id, tokenizer.eos_token_id) else unknown


def token_losses(
    model: "PreTrainedModel",
    sequences: Sequence[Sequence[int]],
    window: int,
    stride: int,
    batch_size: int = 8,
) -> list[NDArray[np.float64]]:
    """-ln p of every token but the first of each sequence, (len(sequence) - 1,), in nats.

    Windows of about the same length share a batch. The shorter are filled up at their end, where a causal model cannot
    see it from the tokens that count.
    """
    losses = [np.zeros(max(0, len(sequence) - 1)) for sequence in sequences]
    spans = [span for index, s in enumerate(sequences) for span in window_spans(len(s), window, stride, index)]
    spans.sort(key=lambda span: span.end - span.begin, reverse=True)  # the largest first: what fits once always fits
    was_training = model.training
    model.eval()
    try:
        for start in range(0, len(spans), batch_size):
            batch = spans[start : start + batch_size]
            tokens = [sequences[span.text][span.begin : span.end] for span in batch]
            scored = [span.first_scored - span.begin for span in batch]
            for span, values in zip(batch, _batch_losses(model, tokens, scored), strict=True):
                losses[span.text][span.first_scored - 1 : span.end - 1] = values
    finally:
        model.train(was_training)
    return losses


def window_spans(length: int, window: int, stride: int, text: int = 0) -> list[Span]:
    """The windows over `length` tokens; together they predict every token but the first, each once.

    Raises:
        ValueError: stride is not at least 1 and below window.
    """
    if not 1 <= stride < window:
        raise ValueError(f"stride {stride} must be at least 1 and below window {window}")
    spans: list[Span] = []
    begin, scored = 0, 1
    while scored < length:
        end = min(begin + window, length)
        spans.append(Span(text, begin, end, scored))
        begin, scored = begin + stride, end
    return spans


def context_length(model: "PreTrainedModel") -> int | None:
    """Tokens that the model can see at a time; None where its config sets no limit."""
    config: Any = model.config.get_text_config()
    length = getattr(config, "max_position_embeddings", None)
    return length if isinstance(length, int) and length > 0 else None


@torch.inference_mode()
def _batch_losses(
    model: "PreTrainedModel", tokens: Sequence[Sequence[int]], first_scored: Sequence[int]
) -> list[NDArray[np.float64]]:
    """-ln p of the tokens from `first_scored` on, of each window."""
    longest = max(map(len, tokens))
    ids = torch.zeros(len(tokens), longest, dtype=torch.long)  # (B, T)
    mask = torch.zeros_like(ids)
    for row, window in enumerate(tokens):
        ids[row, : len(window)] = torch.tensor(window)
        mask[row, : len(window)] = 1
    logits = model(input_ids=ids.to(model.device), attention_mask=mask.to(model.device), use_cache=False).logits
    losses = []
    for row, (window, first) in enumerate(zip(tokens, first_scored, strict=True)):
        # Row by row: a copy of all logits in 32 bits would be the largest tensor by far.
        predictions = logits[row, first - 1 : len(window) - 1]  # (scored, V): the token after each position
        predictions = predictions if predictions.dtype == torch.float64 else predictions.float()
        targets = ids[row, first : len(window)].to(predictions.device)
        losses.append(F.cross_entropy(predictions, targets, reduction="none").double().cpu().numpy())
    return losses


def _window_and_stride(window: int | None, stride: int | None, context: int | None) -> tuple[int, int]:
    if window is None:
        window = min(context or LARGEST_DEFAULT_WINDOW, LARGEST_DEFAULT_WINDOW)
    if context is not None and window > context:
        raise UserError(f"window {window} is longer than the model's context of {context} tokens: give at most that")
    if window < 2:
        raise UserError(f"window {window} must be at least 2 tokens: one to predict, and one before it")
    if stride is None:
        stride = window // 2
    if not 1 <= stride < window:
        raise UserError(f"stride {stride} must be at least 1 and below the window of {window} tokens")
    return window, stride


def _start_token(tokenizer: "PreTrainedTokenizerBase", given: int | None) -> int:
    candidates: tuple[Any, ...] = (given, tokenizer.bos_token_id, tokenizer.eos_token_id)
    start = next((token for token in candidates if token is not None), None)
    if start is None:
        raise UserError(
            "the tokenizer has neither a BOS nor an EOS token to stand before a text: give one as start_token_id"
        )
    return start


def _token_ids(tokenizer: "PreTrainedTokenizerBase", text: str, number: int) -> list[int]:
    if not text:
        raise UserError(f"text {number} is empty: leave it out")
    try:
        text.encode()
    except UnicodeEncodeError:
        raise UserError(f"text {number} holds half of a surrogate pair, which has no UTF-8 form: mend it") from None
    ids: Any = tokenizer(text, add_special_tokens=False, verbose=False)[
        "input_ids"
    ]  # not verbose: longer than the context
    if not ids:
        raise UserError(f"text {number} has no token: the tokenizer drops all of it")
    return [int(token) for token in ids]
