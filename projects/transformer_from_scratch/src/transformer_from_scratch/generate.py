"""Decoding: one token after another from a `DecoderLM`, with a key/value cache.

`stream` yields tokens as they are made, `generate` collects them, and `stream_text` turns them into text. The
choice of one token is in `sampling.py`, the search for the most probable text in `beam_search.py`, decoding
of an encoder-decoder in `translate.py`, and a faster way to the greedy result in `prompt_lookup.py`.

A model reads at most `config.context` tokens. While prompt and new tokens fit, each step feeds one token and
takes earlier keys and values from the cache. Beyond, the window slides: each step reads the last `context`
tokens anew, as its positions have all changed, so the cache is of no more use and a step costs a whole
forward pass. Cached or not, alone or in a batch, a row's next token is always chosen from `model(last context
tokens of the row)`.

Shapes: B batch, T tokens, V vocabulary.
"""

from collections.abc import Iterable, Iterator, Sequence

import torch
from torch import Tensor

from roadmap_shared.errors import UserError
from transformer_from_scratch.config import GenerateConfig, SamplingConfig
from transformer_from_scratch.decoder_cache import DecoderCache
from transformer_from_scratch.evaluation import evaluation_mode
from transformer_from_scratch.models import DecoderLM
from transformer_from_scratch.sampling import GREEDY, choose
from transformer_from_scratch.tokenizers import StreamDecoder, Tokenizer


def left_pad(prompts: Sequence[Sequence[int]], device: torch.device) -> tuple[Tensor, Tensor | None]:
    """(B, T) tokens that all end in the last column, and (B, T) False at padding, None if there is none.

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
        self,
        model: DecoderLM,
        prompts: Sequence[Sequence[int]],
        max_new_tokens: int,
        *,
        use_cache: bool = True,
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
        is_token = None if self.is_token is None else self.is_token[:, start:]
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
    """Raise UserError for a prompt that cannot be continued: empty, or with tokens that the model has not."""
    if max_new_tokens < 1:
        raise UserError(f"max_new_tokens {max_new_tokens} must be at least 1")
    if not prompts:
        raise UserError("there is no prompt to continue: give at least one")
    for number, prompt in enumerate(prompts, start=1):
        if not prompt:
            raise UserError(f"prompt {number} is empty: it needs at least one token")
        if not 0 <= min(prompt) <= max(prompt) < model.vocab_size:
            raise UserError(
                f"prompt {number} has tokens {min(prompt)} to {max(prompt)}, but the model knows 0 to "
                f"{model.vocab_size - 1}: was the prompt made by another tokenizer?"
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
        prompts: token ids of B texts of any lengths; of one longer than `config.context` the end is read.
        max_new_tokens: steps at most.
        sampling: how a token is drawn; `GREEDY` takes the most probable one.
        end_token: a row ends with this token; when all have ended, so does the iterator.
        generator: source of the draws, on the model's device; default: PyTorch's own. A row's draws depend on
            the batch it is in.
        use_cache: the result is the same without, only slower.

    Yields:
        B tokens a step, None for a row that has ended.

    Raises:
        UserError: no prompt, an empty one, or one with a token outside the vocabulary; raised before the
            first step.
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
    """The loop of `stream`; within it, the checks of the arguments would wait for the first step."""
    ended = [False] * len(window.tokens)
    with evaluation_mode(window.model):
        for _ in range(max_new_tokens):
            chosen = choose(window.logits(), sampling, generator)  # (B,)
            tokens = chosen.tolist()
            yield [None if end else token for end, token in zip(ended, tokens, strict=True)]
            ended = [end or token == end_token for end, token in zip(ended, tokens, strict=True)]
            if all(ended):
                return
            window.append(chosen)


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
    """The new tokens of each prompt, `end_token` included, the prompt not. Arguments as in `stream`."""
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


def stream_text(
    model: DecoderLM,
    tokenizer: Tokenizer,
    prompt: str,
    config: GenerateConfig,
    *,
    end_token: int | None = None,
    generator: torch.Generator | None = None,
) -> Iterator[str]:
    """The continuation of one prompt as text, piece by piece, up to `config.length` tokens or `config.stop`.

    Joined, the pieces are the decoded continuation, without the prompt and the stop text. It is sampled as
    `config` says; `config.beams` is not looked at.

    Raises:
        UserError: the prompt cannot be written in the tokenizer's vocabulary; raised before the first piece.
    """
    steps = stream(
        model,
        [tokenizer.encode(prompt)],
        max_new_tokens=config.length,
        sampling=config,
        end_token=end_token,
        generator=generator,
    )
    pieces = _decode(steps, tokenizer)
    return pieces if config.stop is None else until(pieces, config.stop)


def _decode(steps: Iterable[list[int | None]], tokenizer: Tokenizer) -> Iterator[str]:
    decoder = StreamDecoder(tokenizer)
    for (token,) in steps:
        if token is not None:
            yield decoder.feed(token)
    yield decoder.flush()


def until(pieces: Iterable[str], stop: str) -> Iterator[str]:
    """The pieces of a text up to the first `stop`, which may span several of them.

    The end of a piece is held back as long as it could be the beginning of `stop`.
    """
    held = ""
    for piece in pieces:
        held += piece
        if stop in held:
            yield held.partition(stop)[0]
            return
        n_held = max(n for n in range(min(len(stop), len(held)) + 1) if held.endswith(stop[:n]))
        yield held[: len(held) - n_held]
        held = held[len(held) - n_held :]
    yield held
