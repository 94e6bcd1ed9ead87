"""Decoding under a constraint: the mask before every token, for this project's loop and for transformers.

Shapes: B rows, V tokens of the vocabulary.
"""

from collections.abc import Sequence
from typing import Any

import llguidance.hf
import numpy as np
import torch
from llguidance import LLMatcher
from torch import Tensor
from transformers import LogitsProcessor, PreTrainedTokenizerBase

from roadmap_shared.errors import UserError, one_line
from text_generation.prompting.structured import Constraint


class ConstraintEngine:
    """A tokenizer, prepared for llguidance. Takes about a second for a large vocabulary: make one for a model."""

    def __init__(self, tokenizer: PreTrainedTokenizerBase, end_tokens: Sequence[int] | None = None) -> None:
        """Args:
        tokenizer: a fast one (of the tokenizers library).
        end_tokens: tokens that end a text. None: the tokenizer's own.

        Raises:
            UserError: the tokenizer is not a fast one, or no token ends a text.
        """
        own: Any = tokenizer.eos_token_id
        ends: list[int] = list(end_tokens) if end_tokens is not None else [] if own is None else [own]
        if not ends:
            raise UserError(
                "the tokenizer has no end token, so that a constrained text could never end. Set its eos_token."
            )
        try:
            self._tokenizer = llguidance.hf.from_tokenizer(tokenizer, eos_token=ends)  # type: ignore[arg-type]
        except ValueError as error:
            raise UserError(
                f"{one_line(error)}: constrained decoding needs a tokenizer with a tokenizer.json."
            ) from error
        self.end_tokens = frozenset(ends)

    def start(self, constraint: Constraint) -> "ConstraintState":
        """The state before the first token.

        Raises:
            UserError: the constraint cannot be compiled or, as with a schema that holds itself, not begun.
        """
        matcher = LLMatcher(self._tokenizer, constraint.grammar)
        if matcher.is_error():
            raise UserError(f"the constraint cannot be compiled: {one_line(matcher.get_error())}")
        state = ConstraintState(matcher, self.end_tokens)
        state.allowed(1)
        return state


class ConstraintState:
    """How far one text has come."""

    def __init__(self, matcher: LLMatcher, end_tokens: frozenset[int]) -> None:
        self._matcher, self._end_tokens = matcher, end_tokens
        self.ended = False

    @property
    def complete(self) -> bool:
        """Whether the text so far is valid as it stands."""
        return self.ended or self._matcher.is_accepting()

    def allowed(self, n_vocabulary: int) -> Tensor:
        """(V,) bool: tokens that may follow. Where the text is complete and nothing may follow, the end tokens.

        Raises:
            UserError: llguidance gives up, as with a schema that holds itself or one that takes too much work.
        """
        bits = np.unpackbits(np.frombuffer(self._matcher.compute_bitmask(), dtype=np.uint8), bitorder="little")
        if self._matcher.is_error():  # the mask then lets nothing but the end through, whether the text is valid or not
            reason = one_line(self._matcher.get_error()).partition(" <state>")[0]
            raise UserError(f"the constraint cannot be enforced ({reason}): make it simpler")
        mask = torch.zeros(n_vocabulary, dtype=torch.bool)
        # The model's vocabulary may be larger than the tokenizer's, padded for speed: those rows mean nothing.
        n_known = min(n_vocabulary, len(bits))
        mask[:n_known] = torch.from_numpy(bits[:n_known].astype(np.bool_))
        return mask

    def push(self, token: int) -> None:
        """Take the next token.

        Raises:
            ValueError: it is not among the allowed ones.
        """
        if self.ended:
            return
        if token in self._end_tokens and self._matcher.is_accepting():
            self.ended = True
            return
        if not self._matcher.consume_token(token):
            raise ValueError(f"token {token} is not allowed here: {one_line(self._matcher.get_error())}")

    def copy(self) -> "ConstraintState":
        """A state of its own, for a text that branches."""
        state = ConstraintState(self._matcher.deep_copy(), self._end_tokens)
        state.ended = self.ended
        return state


def masked(logits: Tensor, states: Sequence[ConstraintState]) -> Tensor:
    """(B, V) -> (B, V): minus infinity for what each row's constraint forbids; an ended row is left as it is."""
    n_vocabulary = logits.shape[-1]
    rows = [
        torch.ones(n_vocabulary, dtype=torch.bool) if state.ended else state.allowed(n_vocabulary) for state in states
    ]
    return logits.masked_fill(~torch.stack(rows).to(logits.device), float("-inf"))


class ConstraintHook:
    """A `LogitsHook` for `HuggingFaceBackend.generate` and `stream`: every answer of a call obeys the constraint.

    An answer that reaches `max_new_tokens` is cut in the middle, and its `finish_reason` is "length": it is then not
    valid, and must not be used as if it were. Bounds in the schema (`maxLength`, `maxItems`) say how much room is
    needed.
    """

    def __init__(self, engine: ConstraintEngine, constraint: Constraint) -> None:
        self._start = engine.start(constraint)
        self._states: dict[int, tuple[int, ConstraintState]] = {}

    def __call__(self, rows: Sequence[int], new_tokens: Sequence[Sequence[int]], logits: Tensor) -> Tensor:
        """Mask the logits: (B, V) -> (B, V). A row without tokens begins anew."""
        return masked(logits, [self._state(row, tokens) for row, tokens in zip(rows, new_tokens, strict=True)])

    def _state(self, row: int, tokens: Sequence[int]) -> ConstraintState:
        n_seen, state = self._states.get(row, (0, self._start)) if tokens else (0, self._start)
        if n_seen == 0:
            state = self._start.copy()
        for token in tokens[n_seen:]:
            state.push(token)
        self._states[row] = len(tokens), state
        return state


class ConstraintProcessor(LogitsProcessor):
    """The same for transformers' own `generate(logits_processor=[…])`, beam search included: a beam that branches
    takes a copy of its state along. Use a new one for every call; what is said of `max_new_tokens` above holds here
    too."""

    def __init__(self, engine: ConstraintEngine, constraint: Constraint, prompt_length: int) -> None:
        """Args:
        engine: of the model's tokenizer.
        constraint: what the new text must be.
        prompt_length: tokens of the prompts, padding included.
        """
        self._prompt_length = prompt_length
        self._states: dict[tuple[int, ...], ConstraintState] = {(): engine.start(constraint)}

    def __call__(self, input_ids: Any, scores: Any) -> Any:
        """(B, T), (B, V) -> (B, V)."""
        texts = [tuple(row) for row in input_ids[:, self._prompt_length :].tolist()]
        states: dict[tuple[int, ...], ConstraintState] = {}
        for text in texts:
            if text not in states:
                states[text] = self._states[text].copy() if text in self._states else self._states[text[:-1]].copy()
                if text not in self._states:
                    self._push(states[text], text[-1])
        self._states = states
        return masked(scores, [states[text] for text in texts])

    @staticmethod
    def _push(state: ConstraintState, token: int) -> None:
        try:
            state.push(token)
        except ValueError:
            # Beam search fills its beams with tokens of probability 0 where too few are allowed. Such a beam is lost.
            state.ended = True
