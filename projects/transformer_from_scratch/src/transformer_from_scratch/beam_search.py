"""Beam search: keep several candidates a step to find a more probable text than greedy (Graves 2012, §2.4).

Each step extends every beam by every token and keeps the best. A candidate that ends is set aside, ranked by
its score: log-probability divided by a length penalty (Wu et al. 2016, §7). The search stops when as many
candidates as there are beams have ended and no running one, at its present length, scores better than the
worst of them; this is Hugging Face's rule too. With so many beams that nothing is dropped, the result is the
exact optimum; with one beam it is greedy.

Shapes: B searches side by side, N beams each, R = B * N rows, V vocabulary.
"""

from collections.abc import Sequence
from typing import NamedTuple, Protocol

import torch
from torch import Tensor

from roadmap_shared.errors import UserError
from transformer_from_scratch.evaluation import evaluation_mode
from transformer_from_scratch.generate import TokenWindow, check_prompts
from transformer_from_scratch.models import DecoderLM


class Hypothesis(NamedTuple):
    """One finished candidate."""

    tokens: list[int]
    """New tokens, up to and including the end token where there is one."""

    log_prob: float
    """Sum of the tokens' log-probabilities, in nats."""

    score: float
    """`log_prob` divided by the length penalty."""


class Rows(Protocol):
    """What beam search needs of a model: rows of tokens that grow and change places."""

    def logits(self) -> Tensor:
        """(R, V) logits of each row's next token."""
        ...

    def append(self, tokens: Tensor) -> None:
        """Add one of (R,) tokens to each row."""
        ...

    def reorder(self, rows: Tensor) -> None:
        """Keep the given rows, in that order; one may be taken several times."""
        ...


def length_divisor(n_tokens: int, alpha: float) -> float:
    """((5 + n) / 6)^alpha, by which log-probabilities of n tokens are divided (Wu et al. 2016, eq. 14)."""
    return ((5 + n_tokens) / 6) ** alpha


def beam_search(
    model: DecoderLM,
    prompt: Sequence[int],
    *,
    n_beams: int,
    max_new_tokens: int,
    end_token: int | None = None,
    length_penalty: float = 0.0,
) -> list[Hypothesis]:
    """The best continuations of one prompt, best first, at most `n_beams` of them.

    Args:
        end_token: a candidate ends with it; None: only at `max_new_tokens`.
        length_penalty: alpha of Wu et al. (2016), at least 0; the higher, the longer the winners.

    Raises:
        UserError: the prompt is empty or has a token outside the vocabulary, or a setting is out of range.
    """
    check_prompts(model, [prompt], max_new_tokens)
    with evaluation_mode(model), torch.inference_mode():
        rows = TokenWindow(model, [prompt], max_new_tokens)
        return search(rows, 1, n_beams, max_new_tokens, end_token, length_penalty)[0]


def search(
    rows: Rows, n_searches: int, n_beams: int, max_new_tokens: int, end_token: int | None, alpha: float
) -> list[list[Hypothesis]]:
    """Beam search in each of `n_searches` rows; the hypotheses of each, best first.

    Searches that are settled leave the batch, so that the others go on faster.
    """
    if n_beams < 1:
        raise UserError(f"n_beams {n_beams} must be at least 1")
    if not 0 <= alpha < torch.inf:
        raise UserError(f"length_penalty {alpha} must be a finite number of at least 0")
    pools = [Pool(n_beams, alpha) for _ in range(n_searches)]
    running = list(range(n_searches))  # the search that each group of N rows belongs to
    logits = rows.logits()  # (B, V)
    copies = torch.arange(n_searches, device=logits.device).repeat_interleave(n_beams)
    rows.reorder(copies)
    logits = logits[copies]  # (R, V)
    history = torch.empty(len(copies), 0, dtype=torch.long, device=logits.device)  # (R, new tokens)
    log_probs = torch.full((n_searches, n_beams), -torch.inf, device=logits.device)
    log_probs[:, 0] = 0.0  # the beams of a search are alike at first, so only one of them counts

    for length in range(1, max_new_tokens + 1):
        best, parent, token = best_extensions(log_probs, logits, 2 * n_beams)  # enough when N of them end
        ends = torch.full_like(token, length == max_new_tokens, dtype=torch.bool)  # (B, 2N)
        if end_token is not None:
            ends |= token == end_token
        # Only the N best may end: a worse one would have been dropped, had none of them ended.
        for group, rank in (ends & best.isfinite())[:, :n_beams].nonzero().tolist():
            tokens = [*history[parent[group, rank]].tolist(), int(token[group, rank])]
            pools[running[group]].add(tokens, float(best[group, rank]))
        log_probs, kept = best.masked_fill(ends, -torch.inf).topk(n_beams)  # (B, N)

        leaders = log_probs[:, 0].tolist()
        groups = [g for g, s in enumerate(running) if not pools[s].is_settled(leaders[g], length)]
        if length == max_new_tokens or not groups:
            break
        running = [running[group] for group in groups]
        chosen, token = (
            parent.gather(1, kept)[groups].flatten(),
            token.gather(1, kept)[groups].flatten(),
        )  # (R,)
        log_probs = log_probs[groups]
        history = torch.cat((history[chosen], token[:, None]), dim=1)
        rows.reorder(chosen)
        rows.append(token)
        logits = rows.logits()
    return [pool.hypotheses for pool in pools]


def best_extensions(log_probs: Tensor, logits: Tensor, n_wanted: int) -> tuple[Tensor, Tensor, Tensor]:
    """The most probable one-token extensions of the beams of each search, best first.

    Args:
        log_probs: (B, N) of the beams so far.
        logits: (B * N, V) of their next tokens.
        n_wanted: how many; with a tiny vocabulary there are fewer.

    Returns:
        Log-probability, row that is extended, and new token, (B, candidates) each.
    """
    (n_groups, n_beams), vocab_size = log_probs.shape, logits.shape[-1]
    extended = log_probs.view(-1, 1) + logits.float().log_softmax(dim=-1)  # (R, V)
    best, index = extended.view(n_groups, -1).topk(min(n_wanted, n_beams * vocab_size))
    first_row = torch.arange(0, n_groups * n_beams, n_beams, device=logits.device)[:, None]  # (B, 1)
    return best, first_row + index // vocab_size, index % vocab_size


class Pool:
    """The best hypotheses of one search that have ended, best first."""

    def __init__(self, size: int, alpha: float) -> None:
        self.size, self.alpha = size, alpha
        self.hypotheses: list[Hypothesis] = []

    def add(self, tokens: list[int], log_prob: float) -> None:
        """Take the candidate in if it is among the best."""
        score = log_prob / length_divisor(len(tokens), self.alpha)
        self.hypotheses.append(Hypothesis(tokens, log_prob, score))
        self.hypotheses.sort(key=lambda hypothesis: -hypothesis.score)  # stable: of equals the earlier one leads
        del self.hypotheses[self.size :]

    def is_settled(self, best_running: float, length: int) -> bool:
        """Whether the pool is full and the best running log-probability would not enter it at its present
        length.
        """
        full = len(self.hypotheses) == self.size
        return full and best_running / length_divisor(length, self.alpha) <= self.hypotheses[-1].score
