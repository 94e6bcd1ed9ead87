"""Decoding with an `EncoderDecoder`: a target for each source of a batch, greedily or by beam search.

The source is read once. Its keys and values for the cross-attention of each decoder block are computed at the
first step and kept, and so are those of the target tokens: a step feeds one token a row.

Shapes: B sources, S source tokens, R rows, V vocabulary.
"""

import torch
from torch import Tensor

from roadmap_shared.errors import UserError
from transformer_from_scratch.beam_search import Hypothesis, search
from transformer_from_scratch.decoder_cache import DecoderCache
from transformer_from_scratch.evaluation import evaluation_mode
from transformer_from_scratch.models import EncoderDecoder
from transformer_from_scratch.sampling import greedy


class TargetRows:
    """Targets that grow token by token, each beside its encoded source (`beam_search.Rows`).

    Args:
        source: (B, S) tokens.
        source_is_token: (B, S) False at padding; None: there is none.
        bos: token that every target begins with.
        max_length: target tokens at most, without `bos`.
    """

    def __init__(
        self, model: EncoderDecoder, source: Tensor, source_is_token: Tensor | None, bos: int, max_length: int
    ) -> None:
        context = model.config.context
        if not 1 <= max_length <= context or source.shape[1] > context:
            raise UserError(
                f"a source of {source.shape[1]} tokens or a target of up to {max_length} is outside the model's "
                f"context of 1 to {context}: shorten it, or train with a larger context"
            )
        self.model, self.source_is_token = model, source_is_token
        self.memory = model.encode(source, source_is_token)  # (B, S, C)
        self.newest = torch.full((len(source), 1), bos, device=source.device)
        self.source_of_row = torch.arange(len(source), device=source.device)
        self.cache = DecoderCache(
            model.config,
            len(source),
            max_length,
            n_source=source.shape[1],
            dtype=self.memory.dtype,
            device=source.device,
        )

    def logits(self) -> Tensor:
        """(R, V) logits of the token that comes next in each row."""
        return self.model.decode(self.newest, self.memory, self.source_is_token, cache=self.cache)[:, -1]

    def append(self, tokens: Tensor) -> None:
        """Add one of (R,) tokens to each row."""
        self.newest = tokens[:, None]

    def reorder(self, rows: Tensor) -> None:
        """Keep the given rows, in that order; one may be taken several times."""
        self.newest = self.newest[rows]
        source_of_row = self.source_of_row[rows]
        # Beams mostly change places with others of the same source, whose keys and values need not be moved
        # then.
        same_source = torch.equal(source_of_row, self.source_of_row)
        self.cache.reorder(rows, same_source=same_source)
        if not same_source:
            self.source_of_row, self.memory = source_of_row, self.memory[rows]
            self.source_is_token = None if self.source_is_token is None else self.source_is_token[rows]


@torch.inference_mode()
def translate_greedy(
    model: EncoderDecoder,
    source: Tensor,
    source_is_token: Tensor | None = None,
    *,
    bos: int,
    eos: int,
    max_length: int,
) -> list[list[int]]:
    """The most probable token at each step, for each of (B, S) sources.

    Args:
        source_is_token: (B, S) False at padding; None: there is none.
        bos, eos: tokens that begin and end a target; neither is part of the result.
        max_length: target tokens at most, `eos` included.

    Raises:
        UserError: source or `max_length` exceed the model's context.
    """
    with evaluation_mode(model):
        rows = TargetRows(model, source, source_is_token, bos, max_length)
        targets: list[list[int]] = [[] for _ in range(len(source))]
        running = list(range(len(source)))  # which target each row belongs to
        for _ in range(max_length):
            chosen = greedy(rows.logits())  # (R,)
            for target, token in zip(running, chosen.tolist(), strict=True):
                targets[target].append(token)
            going_on = [row for row, target in enumerate(running) if eos not in targets[target]]
            if not going_on:
                break
            rows.append(chosen)
            # Rows that have ended are computed on, until dropping them saves more than moving the others
            # costs.
            if len(going_on) <= len(running) // 2:
                rows.reorder(torch.tensor(going_on, device=source.device))
                running = [running[row] for row in going_on]
    return [target[: target.index(eos)] if eos in target else target for target in targets]


@torch.inference_mode()
def translate_beam(
    model: EncoderDecoder,
    source: Tensor,
    source_is_token: Tensor | None = None,
    *,
    bos: int,
    eos: int,
    max_length: int,
    n_beams: int = 4,
    length_penalty: float = 0.6,
) -> list[Hypothesis]:
    """The best target that beam search finds for each of (B, S) sources, without `bos` and `eos`.

    The defaults are those of Vaswani et al. (2017, §6.1). Arguments as in `translate_greedy` and
    `beam_search`.

    Raises:
        UserError: source or `max_length` exceed the model's context, or a setting is out of range.
    """
    with evaluation_mode(model):
        rows = TargetRows(model, source, source_is_token, bos, max_length)
        found = search(rows, len(source), n_beams, max_length, eos, length_penalty)
    best = [hypotheses[0] for hypotheses in found]
    return [h._replace(tokens=h.tokens[:-1]) if h.tokens[-1] == eos else h for h in best]
