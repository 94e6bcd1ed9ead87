"""The decoding loop: one forward pass a step for a whole batch of answers, with a cache of keys and values.

It does what transformers' `generate` does for greedy search and sampling. What it leaves out makes it fast: nothing
is prepared anew at every step, the cache is not copied, and an answer that has ended leaves the batch.
"""

import inspect
from collections.abc import Iterator, Sequence
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor
from transformers import PreTrainedModel

from text_generation.backends.answers import Answer
from text_generation.backends.batches import left_padded, positions_of, preallocated_cache
from text_generation.config.decoding import DecodingConfig
from text_generation.decoding.logits import draw, shaped_logits


class LogitsHook(Protocol):
    """Sees the model's logits before anything else does, and may forbid tokens: how a grammar constrains an answer."""

    def __call__(self, rows: Sequence[int], new_tokens: Sequence[Sequence[int]], logits: Tensor) -> Tensor:
        """Args:
            rows: which prompts these are, as indices into those of the call.
            new_tokens: the tokens of each answer so far.
            logits: (len(rows), V) float32.

        Returns:
            Logits of the same shape; minus infinity forbids a token.
        """
        ...


def uniform_draws(seed: int, row: int, n: int) -> np.ndarray:
    """(n,) float64 in [0, 1): the random numbers of one prompt, the same in whatever batch it stands."""
    return np.random.default_rng([seed % 2**63, row]).random(n)


def forward_options(network: PreTrainedModel) -> frozenset[str]:
    """Which of `position_ids` and `logits_to_keep` the model's forward takes: not every architecture takes both."""
    return frozenset({"position_ids", "logits_to_keep"} & inspect.signature(network.forward).parameters.keys())


class DecodingLoop:
    """Iterate over it: after every step the answers hold one token more, until all have ended."""

    def __init__(
        self,
        network: PreTrainedModel,
        answers: Sequence[Answer],
        decoding: DecodingConfig,
        *,
        rows: Sequence[int],
        pad_id: int,
        seed: int = 0,
        hook: LogitsHook | None = None,
    ) -> None:
        """Args:
        network: in evaluation mode.
        answers: empty ones, which this fills, each up to its limit; where it has none, up to that of `decoding`.
        decoding: greedy or sampling.
        rows: index of each answer's prompt in the call, which chooses its random numbers.
        pad_id: any token id.
        seed: of the random numbers.
        hook: sees the logits first.
        """
        self._network, self._decoding, self._hook = network, decoding, hook
        self._answers, self._rows = list(answers), list(rows)
        # One answer may end before another: what is prepared here is for the longest.
        self._n_new = max((answer.limit or decoding.most_new_tokens for answer in answers), default=0)
        self._draws = {row: uniform_draws(seed, row, self._n_new) for row in rows}
        self._options = forward_options(network)
        self._ids, mask = left_padded([answer.prompt for answer in answers], pad_id, network.device)
        self._positions = positions_of(mask)
        B, T = mask.shape
        self._length = T
        # Written once: the tokens to come are never padding.
        self._mask = torch.cat([mask, mask.new_ones(B, self._n_new)], dim=1)
        self._cache = preallocated_cache(network.config, T + self._n_new)

    def __iter__(self) -> Iterator[None]:
        for step in range(self._n_new):
            if not self._answers:
                return
            self._step(step)
            yield
        for answer in self._answers:
            answer.cut()

    # Not around the loop: between its steps the caller's code runs, to which inference mode must not leak.
    @torch.inference_mode()
    def _step(self, step: int) -> None:
        raw = self._forward()
        chosen = self._choose(raw, step)
        logprobs = raw.gather(-1, chosen[:, None])[:, 0] - raw.logsumexp(dim=-1)  # (B,), under the model itself
        for answer, token, logprob in zip(self._answers, chosen.tolist(), logprobs.tolist(), strict=True):
            answer.push(token, logprob)
        self._ids, self._positions = chosen[:, None], self._positions[:, -1:] + 1
        self._length += 1
        self._drop_finished()

    def _forward(self) -> Tensor:
        """Logits (B, V) float32 for the next token of each row."""
        given: dict[str, Any] = {"position_ids": self._positions, "logits_to_keep": 1}
        output = self._network(
            input_ids=self._ids,
            attention_mask=self._mask[:, : self._length],
            past_key_values=self._cache,
            use_cache=True,
            **{name: given[name] for name in self._options},
        )
        return output.logits[:, -1].float()

    def _choose(self, raw: Tensor, step: int) -> Tensor:
        """(B,) token ids."""
        logits = raw
        if self._hook is not None:
            logits = self._hook(self._rows, [answer.tokens for answer in self._answers], raw.clone())
        logits = shaped_logits(logits, [answer.prompt + answer.tokens for answer in self._answers], self._decoding)
        if self._decoding.strategy == "greedy":
            return logits.argmax(dim=-1)
        uniform = [self._draws[row][step] for row in self._rows]
        return draw(logits, torch.tensor(uniform, dtype=torch.float64, device=logits.device))

    def _drop_finished(self) -> None:
        going_on = [index for index, answer in enumerate(self._answers) if answer.finish_reason is None]
        if len(going_on) == len(self._answers):
            return
        self._answers = [self._answers[index] for index in going_on]
        self._rows = [self._rows[index] for index in going_on]
        if going_on:
            kept = torch.tensor(going_on, device=self._ids.device)
            self._ids, self._positions, self._mask = self._ids[kept], self._positions[kept], self._mask[kept]
            self._cache.batch_select_indices(kept)
