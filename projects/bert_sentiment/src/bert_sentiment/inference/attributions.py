"""Which words speak for a label: integrated gradients, and leaving out one word as a second opinion.

What is explained is the log-odds of a label, f = log p / (1 - p), p being its calibrated probability. Not the
probability: it is flat where the classifier is sure, and the gradients vanish. Not the label's logit alone: adding
a constant to all logits changes no probability, but it would change every score. In log-odds the scores of words add
up, and the sum can be checked against the probability that is shown.

Shapes: T tokens, C embedding width, M points on the path, K labels.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from bert_sentiment.inference.words import Alignment, align
from bert_sentiment.models.bert_classifier import SentimentModel, evaluating

STEPS = 32
"""Points on the path to begin with."""

MAX_STEPS = 256
TOLERANCE = 0.02
"""Error of the sum, in log-odds, above which the number of points is doubled."""


@dataclass(frozen=True)
class Word:
    """A word of the original text, `text[start:end]`, and its score: above 0 it speaks for the label, below against
    it. None: the model does not see the word, because the text is cut before."""

    text: str
    start: int
    end: int
    score: float | None


@dataclass(frozen=True)
class Attribution:
    """The words of a text with their scores for one label, in log-odds."""

    text: str
    label: str
    words: tuple[Word, ...]
    log_odds: float
    """f of the text."""

    baseline: float | None = None
    """f of the text without its words. None where the method has none."""

    steps: int = 0
    """Points on the path at which gradients were taken."""

    @property
    def error(self) -> float:
        """Sum of the scores minus (f of the text - f of the baseline): 0 for exact integrated gradients."""
        if self.baseline is None:
            raise ValueError("only integrated gradients promise a sum")
        return sum(word.score or 0.0 for word in self.words) - (self.log_odds - self.baseline)


def log_odds(logits: Tensor, label: int, temperature: float) -> Tensor:
    """log p / (1 - p) of one label, p = softmax(logits / temperature): (..., K) -> (...)."""
    scaled = logits.to(torch.promote_types(logits.dtype, torch.float32)) / temperature
    others = torch.cat([scaled[..., :label], scaled[..., label + 1 :]], dim=-1)
    return scaled[..., label] - others.logsumexp(dim=-1)


def integrated_gradients(
    model: SentimentModel, text: str, label: str | None = None, *, steps: int | None = None, batch_size: int = 16
) -> Attribution:
    """Score each word by Sundararajan, Taly & Yan (2017), "Axiomatic Attribution for Deep Networks".

    The score of token i is (x_i - x'_i) · ∫₀¹ ∂f/∂x_i (x' + α (x - x')) dα, with x the token embeddings and x' those of
    the same text whose tokens are all padding; special tokens stay, so that x' is a text without words and not an
    input that the model has never met. A word's score is the sum over its tokens. The scores add up to f(x) - f(x').

    Args:
        model: the classifier.
        text: what is explained.
        label: for or against which the words speak. None: the most probable one.
        steps: points on the path. None: as many as bring the error of the sum below `TOLERANCE`, at most `MAX_STEPS`.
        batch_size: points a forward pass.
    """
    alignment = align(text, model.tokenizer, model.preprocessing)
    padding: Any = model.tokenizer.pad_token_id
    without_words = [
        token if word is None else padding
        for token, word in zip(alignment.token_ids, alignment.word_of_token, strict=True)
    ]
    embed = model.network.get_input_embeddings()
    token_ids = torch.tensor(alignment.token_ids, device=model.device)  # (T,)
    with torch.no_grad():
        x = embed(token_ids)  # (T, C)
        baseline = embed(torch.tensor(without_words, device=model.device))  # (T, C)
    with evaluating(model.network):
        with torch.no_grad():
            logits = _logits(model, token_ids, torch.stack([x, baseline]))  # (2, K)
        target = int(logits[0].argmax()) if label is None else model.labels.index(label)

        def f(points: Tensor) -> Tensor:
            return log_odds(_logits(model, token_ids, points), target, model.temperature)  # (M,)

        f_x, f_baseline = log_odds(logits, target, model.temperature).tolist()
        n_steps = steps or STEPS
        tokens = path_integral(f, x, baseline, n_steps, batch_size)  # (T,)
        while steps is None and n_steps < MAX_STEPS and abs(float(tokens.sum()) - f_x + f_baseline) > TOLERANCE:
            n_steps *= 2
            tokens = path_integral(f, x, baseline, n_steps, batch_size)
    words = _scored(text, alignment, _sum_by_word(alignment, tokens.tolist()))
    return Attribution(text, model.labels[target], words, f_x, f_baseline, n_steps)


def path_integral(
    f: Callable[[Tensor], Tensor], x: Tensor, baseline: Tensor, steps: int, batch_size: int = 16
) -> Tensor:
    """(x - x') · ∫₀¹ ∇f(x' + α (x - x')) dα for each token: (T, C), (T, C) -> (T,).

    The integral is taken by the Gauss-Legendre rule, which is exact for polynomials in α up to degree 2 · steps - 1.
    """
    nodes, weights = np.polynomial.legendre.leggauss(steps)
    # From the rule's interval [-1, 1] to [0, 1].
    alphas = torch.as_tensor((nodes + 1) / 2, dtype=x.dtype, device=x.device)  # (M,)
    shares = torch.as_tensor(weights / 2, dtype=x.dtype, device=x.device)  # (M,)
    mean_gradient = torch.zeros_like(x)
    for alpha, share in zip(alphas.split(batch_size), shares.split(batch_size), strict=True):
        points = (baseline + alpha[:, None, None] * (x - baseline)).requires_grad_()  # (M, T, C)
        (gradients,) = torch.autograd.grad(f(points).sum(), points)  # (M, T, C)
        mean_gradient += torch.einsum("m,mtc->tc", share, gradients)
    return ((x - baseline) * mean_gradient).sum(dim=-1)


def leave_one_word_out(
    model: SentimentModel, text: str, label: str | None = None, *, batch_size: int = 32
) -> Attribution:
    """Score each word by f(text) - f(text without the word): one forward pass a word, no gradients.

    It asks another question than integrated gradients, so the scores have no given sum: of two words that say the
    same, each can be left out without loss, and both get 0.
    """
    alignment = align(text, model.tokenizer, model.preprocessing)
    seen = sorted({word for word in alignment.word_of_token if word is not None})
    shortened = [f"{text[: place.start]} {text[place.end :]}" for place in (alignment.words[index] for index in seen)]
    logits = torch.from_numpy(model.logits([text, *shortened], batch_size))  # (1 + words, K)
    target = int(logits[0].argmax()) if label is None else model.labels.index(label)
    values = log_odds(logits, target, model.temperature).tolist()
    scores = {index: values[0] - value for index, value in zip(seen, values[1:], strict=True)}
    return Attribution(text, model.labels[target], _scored(text, alignment, scores), values[0])


def _logits(model: SentimentModel, token_ids: Tensor, embeddings: Tensor) -> Tensor:
    """(T,), (M, T, C) -> (M, K). All rows have the same length: nothing is masked.

    The network is given the tokens, and its embedding layer's answer is replaced. Given `inputs_embeds` instead, some
    networks compute otherwise: RoBERTa numbers its positions from the tokens, those behind a prefix too.
    """
    inputs = token_ids.expand(len(embeddings), -1)  # (M, T)
    hook = model.network.get_input_embeddings().register_forward_hook(lambda *_: embeddings)
    try:
        return model.network(input_ids=inputs, attention_mask=torch.ones_like(inputs)).logits
    finally:
        hook.remove()


def _sum_by_word(alignment: Alignment, tokens: list[float]) -> dict[int, float]:
    """Scores of tokens -> scores of the words that they make up."""
    scores: dict[int, float] = {}
    for word, score in zip(alignment.word_of_token, tokens, strict=True):
        if word is not None:
            scores[word] = scores.get(word, 0.0) + score
    return scores


def _scored(text: str, alignment: Alignment, scores: dict[int, float]) -> tuple[Word, ...]:
    return tuple(
        Word(text[place.start : place.end], place.start, place.end, scores.get(index))
        for index, place in enumerate(alignment.words)
    )
