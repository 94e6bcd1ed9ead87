"""Continuous batching: one forward pass a step for all sequences, which join and leave between two steps.

A batch that is fixed until its longest answer is complete leaves rows idle and lets newcomers wait. Scheduling by
iteration (Yu et al. 2022, "Orca", section 3) decides anew before every step who is in the batch:

    step      1    2    3    4    5    6
    A         p.a  b    c    d    e    end         p  prefill: the whole prompt in one forward pass
    B         p.a  b    end                        a  first token, b second ...
    C                   p.a  b    c    d           C arrives during step 2 and waits for none to finish

`Scheduler.step` is the whole idea: drop who has finished or gone, advance the others by one token, prefill who has
come. The arithmetic of rows and columns is in `kv_rows`. Engines for production add pages of cache instead of padded
rows (Kwon et al. 2023, "PagedAttention") and prefill in chunks.
"""

import threading
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import replace

import torch
from torch import Tensor
from transformers import DynamicCache, PreTrainedModel

from text_generation.backends.answers import Answer
from text_generation.backends.batches import left_padded, positions_of
from text_generation.backends.decoding_loop import forward_options, uniform_draws
from text_generation.backends.types import Generation
from text_generation.config.decoding import DecodingConfig
from text_generation.decoding.logits import draw, shaped_logits
from text_generation.prompting.constrained_decoding import ConstraintState, masked
from text_generation.serving.kv_rows import join_rows, keep_rows, mask_of, rows_can_move

Ending = Generation | Exception | None
"""The finished answer, what went wrong, or None for an answer that was cancelled."""


class Sequence:
    """One answer in the making, with its own settings and random numbers, and who is told of it.

    `on_text(piece)` gets the text as it comes and `on_end(ending)` is called once and last. Both run in the
    scheduler's thread and must be quick.
    """

    def __init__(
        self,
        answer: Answer,
        decoding: DecodingConfig,
        seed: int,
        on_text: Callable[[str], None],
        on_end: Callable[[Ending], None],
        constraint: ConstraintState | None = None,
    ) -> None:
        """Raises:
        ValueError: the strategy is beam search, which needs several rows for one text.
        """
        if decoding.strategy == "beam_search":
            raise ValueError("a sequence is one row: greedy or sampling, not beam search")
        self.answer = answer
        self.shaping = replace(decoding, max_new_tokens=1, stop=())
        self.cancelled = threading.Event()
        self.ended = False
        self.constraint = constraint
        self._draws = uniform_draws(seed, 0, decoding.most_new_tokens)
        self._on_text, self._on_end = on_text, on_end

    @property
    def tokens(self) -> list[int]:
        """Prompt and answer so far."""
        return self.answer.prompt + self.answer.tokens

    @property
    def uniform(self) -> float:
        """The random number in [0, 1) that the next token is drawn by."""
        return float(self._draws[len(self.answer.tokens)])

    def take(self, token: int, logprob: float) -> None:
        """Add the next token and tell what text it brought. A failure ends this answer alone."""
        try:
            if self.constraint is not None:
                self.constraint.push(token)
            self.answer.push(token, logprob)
            if len(self.answer.tokens) == len(self._draws):
                self.answer.cut()
            if text := self.answer.take():
                self._on_text(text)
            if self.answer.finish_reason is not None:
                self.end(self.answer.generation())
        except Exception as error:
            self.end(error)

    def end(self, ending: Ending) -> None:
        """Tell how it ended, once."""
        if not self.ended:
            self.ended = True
            self._on_end(ending)


def can_batch(network: PreTrainedModel) -> bool:
    """Whether rows of this model can share a batch: it takes position ids, and its cache is plain keys and values."""
    return "position_ids" in forward_options(network) and rows_can_move(network.config)


class Scheduler:
    """Advances all submitted sequences together, in a thread of its own between `start` and `close`.

    The network belongs to that thread. An answer is the one that its prompt, settings and seed give alone, but for
    rounding.
    """

    def __init__(self, network: PreTrainedModel, *, pad_id: int = 0, prefill_tokens: int = 2048) -> None:
        """Args:
        network: in evaluation mode, one that `can_batch`.
        pad_id: any token id.
        prefill_tokens: newcomers' positions that one step takes in, padding included, so that those who are under
            way wait for a bounded time. A longer prompt is taken in alone.
        """
        self._network, self._pad_id, self._prefill_tokens = network, pad_id, prefill_tokens
        self._options = forward_options(network)
        self._waiting: deque[Sequence] = deque()
        self._running: list[Sequence] = []
        self._cache: DynamicCache | None = None
        self._changed = threading.Condition()
        self._closed = False
        self._thread = threading.Thread(target=self._run, name="scheduler", daemon=True)

    def start(self) -> None:
        """Start the thread. Tests call `step` instead."""
        self._thread.start()

    def submit(self, sequence: Sequence) -> None:
        """Let a sequence join at the next step. After `close` it ends as cancelled."""
        with self._changed:
            if not self._closed:
                self._waiting.append(sequence)
                self._changed.notify()
                return
        sequence.end(None)

    def close(self) -> None:
        """Cancel what is under way and wait for the step in progress."""
        with self._changed:
            self._closed = True
            self._changed.notify()
        if self._thread.is_alive():
            self._thread.join()

    @property
    def n_running(self) -> int:
        """Rows of the batch."""
        return len(self._running)

    @torch.inference_mode()
    def step(self) -> None:
        """Give one token to every sequence: newcomers their first, the others their next."""
        try:
            self._leave()
            self._advance()
            self._leave()
            self._join(self._newcomers())
        except Exception as error:  # out of memory, say: the cache may be half written
            self._fail(self._running, error)
            self._running, self._cache = [], None

    def _leave(self) -> None:
        """Take those who have ended, or whose reader has gone, out of the batch."""
        for sequence in self._running:
            if sequence.cancelled.is_set():
                sequence.end(None)
        stay = [row for row, sequence in enumerate(self._running) if not sequence.ended]
        if len(stay) == len(self._running):
            return
        self._running = [self._running[row] for row in stay]
        if self._cache is not None and stay:
            # The newest token of a row is not in the cache: the next step feeds it.
            keep_rows(self._cache, stay, max(len(sequence.tokens) for sequence in self._running) - 1)
        else:
            self._cache = None

    def _advance(self) -> None:
        """One forward pass with the newest token of every row."""
        if self._cache is not None:
            self._take_tokens(self._running, self._forward(self._running, self._cache))

    def _newcomers(self) -> list[Sequence]:
        """Take sequences from the queue, in their order, while they fit into this step's prefill."""
        chosen: list[Sequence] = []
        width = 0
        with self._changed:
            while self._waiting:
                width = max(width, len(self._waiting[0].tokens))
                if chosen and width * (len(chosen) + 1) > self._prefill_tokens:
                    break
                sequence = self._waiting.popleft()
                if sequence.cancelled.is_set():
                    sequence.end(None)
                else:
                    chosen.append(sequence)
        return chosen

    def _join(self, newcomers: list[Sequence]) -> None:
        """Prefill the newcomers' prompts in one forward pass, and append their rows to the batch."""
        if not newcomers:
            return
        cache = DynamicCache(config=self._network.config)
        try:
            logits = self._forward(newcomers, cache)  # (N, V)
        except Exception as error:
            self._fail(newcomers, error)
            return
        self._running += newcomers
        if self._cache is None:
            self._cache = cache
        else:
            join_rows(self._cache, cache)
        self._take_tokens(newcomers, logits)

    def _forward(self, sequences: list[Sequence], cache: DynamicCache) -> Tensor:
        """Feed every row what the cache has not: whole prompts to an empty one, otherwise a row's newest token.

        Returns:
            The logits (B, V) of the tokens that come next.
        """
        lengths = [len(sequence.tokens) for sequence in sequences]
        past = cache.get_seq_length()  # T
        width = 1 if past else max(lengths)  # S
        fed = [sequence.tokens[-width:] for sequence in sequences]
        ids, _ = left_padded(fed, self._pad_id, self._network.device)  # (B, S)
        mask = mask_of(lengths, past + width, self._network.device)  # (B, T + S)
        # A row's first real token is at position 0, however much padding lies before it.
        given = {"position_ids": positions_of(mask)[:, -width:], "logits_to_keep": 1}
        output = self._network(
            input_ids=ids,
            attention_mask=mask,
            past_key_values=cache,
            use_cache=True,
            **{name: given[name] for name in self._options},
        )
        return output.logits[:, -1].float()

    @staticmethod
    def _take_tokens(sequences: list[Sequence], raw: Tensor) -> None:
        """Choose each row's next token from its logits (B, V). Rows with the same settings are chosen for together."""
        broken = raw.isnan().any(dim=-1)  # (B,)
        raw = raw.masked_fill(broken[:, None], 0)  # a draw from such a row would find no token, and fail for all
        for group in _by_settings(sequences):
            rows = [sequences[row] for row in group]
            logits = shaped_logits(
                _permitted(raw[group], rows), [sequence.tokens for sequence in rows], rows[0].shaping
            )
            broken[group] |= ~logits.amax(dim=-1).isfinite()  # settings can make them overflow
            logits = logits.masked_fill(broken[group][:, None], 0)
            if rows[0].shaping.strategy == "greedy":
                tokens = logits.argmax(dim=-1)
            else:
                uniform = torch.tensor([sequence.uniform for sequence in rows], dtype=torch.float64)
                tokens = draw(logits, uniform.to(logits.device))
            logprobs = raw[group].gather(-1, tokens[:, None])[:, 0] - raw[group].logsumexp(dim=-1)
            for row, token, logprob in zip(group, tokens.tolist(), logprobs.tolist(), strict=True):
                if bool(broken[row]):
                    sequences[row].end(RuntimeError("the model's logits are not numbers"))
                elif not sequences[row].ended:
                    sequences[row].take(token, logprob)

    def _run(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._closed or self._waiting or self._running)
                if self._closed:
                    break
            self.step()
        for sequence in [*self._running, *self._waiting]:
            sequence.end(None)
        self._running, self._cache = [], None
        self._waiting.clear()

    @staticmethod
    def _fail(sequences: list[Sequence], error: Exception) -> None:
        for sequence in sequences:
            sequence.end(error)


def _permitted(logits: Tensor, sequences: list[Sequence]) -> Tensor:
    """(B, V) -> (B, V): minus infinity for what a row's constraint forbids. One that fails ends its own row alone."""
    if all(sequence.constraint is None for sequence in sequences):
        return logits
    rows = []
    for row, sequence in zip(logits, sequences, strict=True):
        try:
            rows.append(row if sequence.constraint is None else masked(row[None], [sequence.constraint])[0])
        except Exception as error:
            sequence.end(error)
            rows.append(row)
    return torch.stack(rows)


def _by_settings(sequences: list[Sequence]) -> Iterator[list[int]]:
    """Yield the rows that share their settings."""
    groups: dict[DecodingConfig, list[int]] = {}
    for row, sequence in enumerate(sequences):
        groups.setdefault(sequence.shaping, []).append(row)
    yield from groups.values()
