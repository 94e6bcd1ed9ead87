"""The decoding loop that a mask stands in, written out in full, and what a constraint costs, measured with it."""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from text_generation.prompting.constrained_decoding import ConstraintEngine, ConstraintState, masked
from text_generation.prompting.structured import Constraint, Kind, longest_valid_prefix


@dataclass(frozen=True)
class ConstrainedText:
    """A text that was written token by token."""

    text: str
    tokens: tuple[int, ...]
    complete: bool
    """False: the limit of tokens came in the middle, and the text is not valid."""

    logprob: float
    """ln p(tokens) under the model itself."""

    forbidden_nats: float
    """-sum of ln(probability that the constraint left) over the steps: what the masks took away. 0 without one."""

    seconds: float


@torch.inference_mode()
def write_constrained(
    network: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    prompt: str,
    state: ConstraintState | None,
    *,
    max_new_tokens: int,
    temperature: float = 1.0,
    generator: torch.Generator | None = None,
    end_tokens: frozenset[int] = frozenset(),
) -> ConstrainedText:
    """Write a text under a constraint: the loop that a mask stands in, in full.

    Args:
        network: in evaluation mode.
        tokenizer: the one that it was trained with.
        prompt: to go on with; at least one token.
        state: the constraint's. None: free.
        max_new_tokens: tokens at most. Where they end in the middle, the text is returned with `complete` False.
        temperature: of the sampling; 0 takes the most probable token.
        generator: of the random numbers, on the CPU.
        end_tokens: what ends a free text.
    """
    start = time.perf_counter()
    tokens: list[int] = []
    logprob, forbidden, ended = 0.0, 0.0, False
    logprobs, cache = _next_logprobs(network, tokenizer(prompt)["input_ids"])
    while True:
        allowed = logprobs if state is None else masked(logprobs[None], [state])[0]
        forbidden -= float(allowed.logsumexp(dim=-1))
        token = _draw(allowed, temperature, generator)
        logprob += float(logprobs[token])
        if state is not None:
            state.push(token)
        ended = token in end_tokens if state is None else state.ended
        tokens.append(token)
        if ended or len(tokens) == max_new_tokens:
            break
        logprobs, cache = _next_logprobs(network, [token], cache)
    text = tokenizer.decode(
        tokens[:-1] if ended else tokens, skip_special_tokens=True, clean_up_tokenization_spaces=False
    )
    complete = ended or (state is not None and state.complete)
    seconds = time.perf_counter() - start
    return ConstrainedText(str(text), tuple(tokens), complete, logprob, max(forbidden, 0.0), seconds)


def _next_logprobs(network: PreTrainedModel, tokens: Sequence[int], cache: Any = None) -> tuple[Tensor, Any]:
    """ln p of each token that may come after those in the cache and these, (V,) float32; and the cache with these."""
    ids = torch.tensor([tokens], device=network.device)  # (1, T)
    output = network(input_ids=ids, past_key_values=cache, use_cache=True)
    return output.logits[0, -1].float().cpu().log_softmax(dim=-1), output.past_key_values


def _draw(logits: Tensor, temperature: float, generator: torch.Generator | None) -> int:
    if temperature == 0:
        return int(logits.argmax())
    return int(torch.multinomial((logits / temperature).softmax(dim=-1), 1, generator=generator))


@dataclass(frozen=True)
class ConstraintCost:
    """Free and constrained texts of one model for the same prompts."""

    kind: Kind
    free: tuple[ConstrainedText, ...]
    constrained: tuple[ConstrainedText, ...]
    free_valid: tuple[bool, ...]
    """Of each text as it stands."""

    constrained_valid: tuple[bool, ...]
    free_cut_valid: tuple[bool, ...]
    """Whether something valid is left of a text once it is cut back to its last whole statement (`usable`)."""

    constrained_cut_valid: tuple[bool, ...]

    @staticmethod
    def tokens_per_second(texts: Sequence[ConstrainedText]) -> float:
        """New tokens by wall-clock second, one text at a time."""
        return sum(len(text.tokens) for text in texts) / sum(text.seconds for text in texts)

    @staticmethod
    def nats_per_token(texts: Sequence[ConstrainedText]) -> float:
        """-ln p by token, under the model itself."""
        return -sum(text.logprob for text in texts) / sum(len(text.tokens) for text in texts)

    @property
    def forbidden_nats_per_token(self) -> float:
        """What the masks took away, by token of the constrained texts."""
        return sum(text.forbidden_nats for text in self.constrained) / sum(
            len(text.tokens) for text in self.constrained
        )


def constraint_cost(
    network: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    prompts: Sequence[str],
    constraint: Constraint,
    *,
    max_new_tokens: int = 64,
    temperature: float = 1.0,
    seed: int = 0,
) -> ConstraintCost:
    """Write every prompt's text freely and under a constraint, by the same loop, and judge both.

    Whether a text is valid is decided without llguidance: by `jsonschema`, `re` or Python's compiler.

    Raises:
        UserError: see `ConstraintEngine`.
    """
    engine = ConstraintEngine(tokenizer)
    texts: dict[bool, list[ConstrainedText]] = {False: [], True: []}
    for with_constraint, written in texts.items():
        generator = torch.Generator().manual_seed(seed)
        for prompt in prompts:
            state = engine.start(constraint) if with_constraint else None
            written.append(
                write_constrained(
                    network,
                    tokenizer,
                    prompt,
                    state,
                    max_new_tokens=max_new_tokens,
                    temperature=temperature,
                    generator=generator,
                    end_tokens=engine.end_tokens,
                )
            )
    return judged(constraint, texts[False], texts[True])


def judged(
    constraint: Constraint, free: Sequence[ConstrainedText], constrained: Sequence[ConstrainedText]
) -> ConstraintCost:
    """Free and constrained texts with what is valid among them."""
    return ConstraintCost(
        constraint.kind,
        tuple(free),
        tuple(constrained),
        free_valid=tuple(constraint.is_valid(text.text) for text in free),
        constrained_valid=tuple(constraint.is_valid(text.text) for text in constrained),
        free_cut_valid=tuple(usable(text, constraint) for text in free),
        constrained_cut_valid=tuple(usable(text, constraint) for text in constrained),
    )


def usable(text: ConstrainedText, constraint: Constraint) -> bool:
    """Whether a text is valid or, where the limit of tokens cut it, leaves whole statements that are. A text that came
    to its end is taken as it stands: what is wrong in it is the model's doing."""
    if text.complete:
        return constraint.is_valid(text.text)
    return longest_valid_prefix(text.text, constraint) is not None
