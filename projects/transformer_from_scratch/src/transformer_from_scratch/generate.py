"""Decoding: one token after another from a `DecoderLM` or an `EncoderDecoder`, with a key/value cache.

`stream` yields tokens as they are made, `generate` collects them, `stream_text` turns them into text, and `translate_greedy`
writes a target for each source. Beam search is in `beam_search.py`, the choice of one token in `sampling.py`.

A model reads at most `config.context` tokens. While prompt and new tokens fit, each step feeds one token and takes earlier
keys and values from the cache. Beyond, the window slides: each step reads the last `context` tokens anew, as its positions
have all changed, so the cache is of no more use and a step costs a whole forward pass. Cached or not, alone or in a batch, a
row's next token is always chosen from `model(last context tokens of the row)`.

Shapes: B batch, T tokens, S source tokens, V vocabulary.
"""

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from roadmap_shared.errors import UserError
from transformer_from_scratch.config import GenerateConfig, SamplingConfig
from transformer_from_scratch.models import DecoderCache, DecoderLM, EncoderDecoder
from transformer_from_scratch.sampling import GREEDY, choose, greedy
from transformer_from_scratch.tokenizers import StreamDecoder, Tokenizer


@contextmanager
def evaluation_mode(model: nn.Module) -> Iterator[None]:
    """Switch dropout off inside the block, and back to what it was behind it."""
    was_training = model.training
    model.eval()
    try:
        yield
    finally:
        model.train(was_training)


def left_pad(prompts: Sequence[Sequence[int]], device: torch.device) -> tuple[Tensor, Tensor | None]:
    """(B, T) tokens that all end in the last column, and (B, T) True at real ones, None where nothing is padded.

    Padding stands left so that the next token of every row comes in the same column.
    """
    width = max(map(len, prompts))
    padded = [[0] * (width - len(prompt)) + list(prompt) for prompt in prompts]
    tokens = torch.tensor(padded, device=device)
    if all(len(prompt) == width for prompt in prompts):
        return tokens, None
    lengths = torch.tensor([len(prompt) for prompt in prompts], device=device)
    return tokens, torch.arange(width, device=device) >= width - lengths[:, None]


class TokenWindow:
    """The rows of tokens so far and what the model makes of the last `context` of them.

    Args:
        prompts: B prompts; each must have a token.
        max_new_tokens: how many tokens will be appended to each row at most.
        use_cache: keep keys and values while everything fits the context.
    """

    def __init__(
        self, model: DecoderLM, prompts: Sequence[Sequence[int]], max_new_tokens: int, *, use_cache: bool = True
    ) -> None:
        embedding = model.tokens.embedding.weight
        self.model = model
        self.tokens, self.is_token = left_pad(prompts, embedding.device)
        self.cache = None
        capacity = min(self.tokens.shape[1] + max_new_tokens, model.config.context)
        if use_cache and self.tokens.shape[1] <= capacity:
            self.cache = DecoderCache(
                model.config, len(prompts), capacity, dtype=embedding.dtype, device=embedding.device
            )

    def logits(self) -> Tensor:
        """(B, V) logits of the token that comes next in each row."""
        if self.cache is not None and self.tokens.shape[1] <= self.cache.capacity:
            start = self.cache.length
        else:
            self.cache = None
            start = max(0, self.tokens.shape[1] - self.model.config.context)
        # Every real token behind the prompt: the cache knows about the padding before it.
        is_token = None if self.is_token is None or (self.cache and start) else self.is_token[:, start:]
        hidden = self.model.hidden(self.tokens[:, start:], is_token=is_token, cache=self.cache)
        return self.model.tokens.logits(hidden[:, -1])

    def append(self, tokens: Tensor) -> None:
        """Add one of (B,) tokens to each row."""
        self.tokens = torch.cat((self.tokens, tokens[:, None]), dim=1)
        if self.is_token is not None:
            self.is_token = torch.cat((self.is_token, torch.ones_like(self.is_token[:, :1])), dim=1)

    def reorder(self, rows: Tensor) -> None:
        """Keep the given rows, in that order; a row may be taken several times."""
        self.tokens = self.tokens[rows]
        self.is_token = None if self.is_token is None else self.is_token[rows]
        if self.cache is not None:
            self.cache.reorder(rows)


def check_prompts(model: DecoderLM, prompts: Sequence[Sequence[int]], max_new_tokens: int) -> None:
    """Raise UserError for a prompt that no model could continue: empty, or made of tokens that this one has not."""
    if max_new_tokens < 1:
        raise UserError(f"max_new_tokens {max_new_tokens} must be at least 1")
    if not prompts:
        raise UserError("there is no prompt to continue: give at least one")
    for number, prompt in enumerate(prompts, start=1):
        if not prompt:
            raise UserError(f"prompt {number} is empty: it needs at least one token")
        if not 0 <= min(prompt) <= max(prompt) < model.vocab_size:
            raise UserError(
                f"prompt {number} has token {max(prompt) if min(prompt) >= 0 else min(prompt)}, which is outside the "
                f"model's vocabulary of {model.vocab_size}: was it made by another tokenizer?"
            )


def stream(
    model: DecoderLM,
    prompts: Sequence[Sequence[int]],
    *,
    max_new_tokens: int,
    sampling: SamplingConfig = GREEDY,
    end_token: int | None = None,
    generator: torch.Generator | None = None,
    use_cache: bool = True,
) -> Iterator[list[int | None]]:
    """Continue all prompts side by side, and yield each step's tokens as soon as they are made.

    Args:
        model: is in evaluation mode as long as the iterator lives.
        prompts: token ids of B texts, of any lengths; longer ones than `config.context` are read from their end.
        max_new_tokens: steps at most.
        sampling: how a token is drawn; `GREEDY` takes the most probable one.
        end_token: a row ends with this token; when all have ended, so does the iterator.
        generator: source of the draws, on the model's device; default: PyTorch's own. A row's draws depend on the
            batch it is in.
        use_cache: the result is the same without, only slower.

    Yields:
        B tokens a step, None for a row that has ended.

    Raises:
        UserError: no prompt, an empty one, or one with a token outside the vocabulary; at once, before the first step.
    """
    check_prompts(model, prompts, max_new_tokens)
    window = TokenWindow(model, prompts, max_new_tokens, use_cache=use_cache)
    return _steps(window, max_new_tokens, sampling, end_token, generator)


@torch.inference_mode()
def _steps(
    window: TokenWindow,
    max_new_tokens: int,
    sampling: SamplingConfig,
    end_token: int | None,
    generator: torch.Generator | None,
) -> Iterator[list[int | None]]:
    """The loop of `stream`, apart from it because a generator function would check its arguments only at the first step."""
    ended = [False] * len(window.tokens)
    with evaluation_mode(window.model):
        for step in range(max_new_tokens):
            if step > 0:
                window.append(chosen)
            chosen = choose(window.logits(), sampling, generator)  # (B,)
            tokens = chosen.tolist()
            yield [None if end else token for end, token in zip(ended, tokens, strict=True)]
            ended = [end or token == end_token for end, token in zip(ended, tokens, strict=True)]
            if all(ended):
                return


def generate(
    model: DecoderLM,
    prompts: Sequence[Sequence[int]],
    *,
    max_new_tokens: int,
    sampling: SamplingConfig = GREEDY,
    end_token: int | None = None,
    generator: torch.Generator | None = None,
    use_cache: bool = True,
) -> list[list[int]]:
    """The new tokens of each prompt, without the prompt and up to and including `end_token`. Arguments as in `stream`."""
    continuations: list[list[int]] = [[] for _ in prompts]
    steps = stream(
        model,
        prompts,
        max_new_tokens=max_new_tokens,
        sampling=sampling,
        end_token=end_token,
        generator=generator,
        use_cache=use_cache,
    )
    for tokens in steps:
        for continuation, token in zip(continuations, tokens, strict=True):
            if token is not None:
                continuation.append(token)
    return continuations
