"""Beam search written out, with everything that it considered: what the microscope shows.

It finds what transformers' beam search finds, which the back end uses; the tests hold both beside each other.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor
from transformers import PreTrainedModel

from text_generation.backends.batches import preallocated_cache
from text_generation.config.decoding import DecodingConfig
from text_generation.decoding.logits import shaped_logits

Fate = Literal["kept", "ended", "dropped"]


@dataclass(frozen=True)
class BeamCandidate:
    """A beam and one token more."""

    parent: int
    """Which beam of the step before it continues, counted from 0, the best."""

    token: int
    logprob: float
    """Sum of ln p over all its new tokens."""

    fate: Fate
    """kept: it is a beam of the next step; ended: it is complete and waits for the end of the search; dropped."""


@dataclass(frozen=True)
class BeamTrace:
    """A whole beam search."""

    steps: tuple[tuple[BeamCandidate, ...], ...]
    """Of each step the best 2 · num_beams candidates (more where several tokens end an answer), best first. Those kept
    are, in this order, the beams of the next step."""

    best: tuple[int, ...]
    """Token ids of the answer that won, with the end token where it came to its end."""

    score: float
    """Its log-probability divided by its length to the power of `length_penalty`."""


@torch.inference_mode()
def trace_beam_search(
    network: PreTrainedModel, prompt: Sequence[int], decoding: DecodingConfig, end_tokens: Iterable[int]
) -> BeamTrace:
    """Search for one prompt.

    Every step continues each beam with every token and keeps the `num_beams` most probable continuations. One that
    ends is set aside. The search is over when `num_beams` are set aside (early stopping), when no running beam can
    beat them, or at the limit of new tokens, where all that run are taken as complete.
    """
    ends = set(end_tokens)
    width = decoding.num_beams
    n_candidates = max(2, 1 + len(ends)) * width  # at least `width` of them do not end
    beams: list[tuple[float, tuple[int, ...]]] = [(0.0, ())]
    complete: list[tuple[float, tuple[int, ...]]] = []
    steps: list[tuple[BeamCandidate, ...]] = []
    model = _CachedModel(network, prompt, decoding)
    while True:
        length = len(steps) + 1
        totals = model.logprobs([tokens for _, tokens in beams]) + torch.tensor([[total] for total, _ in beams]).to(
            network.device
        )
        found = _best(totals, n_candidates)
        at_limit = length == decoding.max_new_tokens
        kept = [item for item in found if item[1] not in ends][:width]
        step: list[BeamCandidate] = []
        for rank, (parent, token, total) in enumerate(found):
            over = at_limit or token in ends
            fate: Fate = "ended" if over and rank < width else "kept" if (parent, token, total) in kept else "dropped"
            step.append(BeamCandidate(parent, token, total, "dropped" if at_limit and fate == "kept" else fate))
            if fate == "ended":
                complete.append((total / length**decoding.length_penalty, (*beams[parent][1], token)))
        steps.append(tuple(step))
        complete = sorted(complete, key=lambda item: -item[0])[:width]
        beams = [(total, (*beams[parent][1], token)) for parent, token, total in kept]
        if at_limit or _is_over(beams, complete, length, decoding):
            score, best = complete[0]
            return BeamTrace(tuple(steps), best, score)
        model.follow([parent for parent, _, _ in kept])


def _best(totals: Tensor, n: int) -> list[tuple[int, int, float]]:
    """The n highest of (beams, V) sums as (beam, token, sum), best first."""
    values, places = totals.flatten().topk(min(n, totals.numel()))
    vocabulary = totals.shape[1]
    return [
        (place // vocabulary, place % vocabulary, value)
        for place, value in zip(places.tolist(), values.tolist(), strict=True)
    ]


def _is_over(
    beams: Sequence[tuple[float, tuple[int, ...]]],
    complete: Sequence[tuple[float, tuple[int, ...]]],
    length: int,
    decoding: DecodingConfig,
) -> bool:
    if len(complete) < decoding.num_beams:
        return False
    return decoding.early_stopping or beams[0][0] / length**decoding.length_penalty <= complete[-1][0]


class _CachedModel:
    """The model with the keys and values of the running beams."""

    def __init__(self, network: PreTrainedModel, prompt: Sequence[int], decoding: DecodingConfig) -> None:
        self._network, self._prompt, self._decoding = network, list(prompt), decoding
        self._cache: Any = preallocated_cache(network.config, len(prompt) + decoding.most_new_tokens)

    def logprobs(self, beams: Sequence[tuple[int, ...]]) -> Tensor:
        """(beams, V) ln p of the next token, after the penalties for repetition."""
        new = [list(tokens[-1:]) if tokens else self._prompt for tokens in beams]
        output = self._network(
            input_ids=torch.tensor(new, device=self._network.device), past_key_values=self._cache, use_cache=True
        )
        logprobs = output.logits[:, -1].float().log_softmax(dim=-1)
        return shaped_logits(logprobs, [self._prompt + list(tokens) for tokens in beams], self._decoding)

    def follow(self, parents: Sequence[int]) -> None:
        """Give each beam of the next step the keys and values of the beam that it continues."""
        self._cache.batch_select_indices(torch.tensor(parents, device=self._network.device))
