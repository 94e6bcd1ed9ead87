"""Prompt-lookup decoding: the greedy result in fewer passes (Saxena 2023; Yang et al. 2023, "LLMA").

At batch size 1 a step's time goes into reading the weights, and reading them for ten tokens takes hardly
longer than for one. So the next tokens are guessed, by copying what followed the last earlier occurrence of
the newest few, and one pass of the model checks the whole guess: the greedy choice behind each token is known
at once, and the guess counts as far as it agrees (speculative decoding; Leviathan et al. 2023). A wrong guess
costs only the time of its pass. It pays where a text repeats itself: code, tables, summaries, and most greedy
output.
"""

import torch

from transformer_from_scratch.decoder_cache import DecoderCache
from transformer_from_scratch.evaluation import evaluation_mode
from transformer_from_scratch.generate import check_prompts, generate
from transformer_from_scratch.models import DecoderLM
from transformer_from_scratch.sampling import greedy


class NgramIndex:
    """Where each n-gram of a growing text last ended."""

    def __init__(self, n: int) -> None:
        self.n = n
        self.tokens: list[int] = []
        self.followed_at: dict[tuple[int, ...], int] = {}

    def extend(self, tokens: list[int]) -> None:
        """Add tokens to the text. The n-gram at its very end is not looked up yet: nothing follows it."""
        for token in tokens:
            if len(self.tokens) >= self.n:
                self.followed_at[tuple(self.tokens[-self.n :])] = len(self.tokens)
            self.tokens.append(token)

    def guess(self, n_tokens: int) -> list[int]:
        """What followed the last earlier occurrence of the newest n-gram; nothing if there is none."""
        start = self.followed_at.get(tuple(self.tokens[-self.n :]))
        if start is None:
            return []
        # Copying past the end goes on in what was just copied, so a loop of any period is followed.
        period = len(self.tokens) - start
        return [self.tokens[start + i % period] for i in range(n_tokens)]


def generate_by_lookup(
    model: DecoderLM,
    prompt: list[int],
    *,
    max_new_tokens: int,
    end_token: int | None = None,
    n_match: int = 2,
    n_guessed: int = 10,
) -> list[int]:
    """The tokens that greedy `generate` makes of one prompt, a guess of several checked in each pass.

    Equal to it but for the rounding of sums, which can decide between two logits that agree to some six
    digits. Once prompt and new tokens fill the context, the rest is left to `generate`.

    Args:
        n_match: newest tokens that must have occurred before.
        n_guessed: tokens guessed at most.

    Raises:
        UserError: the prompt is empty or has a token outside the vocabulary.
    """
    check_prompts(model, [prompt], max_new_tokens)
    n_wanted = len(prompt) + max_new_tokens
    text = NgramIndex(n_match)
    text.extend(prompt)
    if len(prompt) < model.config.context:
        _fill_context(model, text, min(n_wanted, model.config.context), end_token, n_guessed)
    n_left = n_wanted - len(text.tokens)
    new_tokens = text.tokens[len(prompt) :]
    if n_left == 0 or end_token in new_tokens:
        return new_tokens
    return new_tokens + generate(model, [text.tokens], max_new_tokens=n_left, end_token=end_token)[0]


@torch.inference_mode()
def _fill_context(model: DecoderLM, text: NgramIndex, capacity: int, end_token: int | None, n_guessed: int) -> None:
    """Extend `text` up to `capacity` tokens, or to `end_token`."""
    weight = model.tokens.embedding.weight
    cache = DecoderCache(model.config, 1, capacity, dtype=weight.dtype, device=weight.device)
    unread = list(text.tokens)  # the cache does not hold these yet
    with evaluation_mode(model):
        while len(text.tokens) < capacity:
            # One more than the guess is made in this pass.
            guess = text.guess(min(n_guessed, capacity - len(text.tokens) - 1))
            fed = torch.tensor([unread + guess], device=weight.device)
            hidden = model.hidden(fed, cache=cache)[0, len(unread) - 1 :]  # (1 + len(guess), C)
            predicted = greedy(model.tokens.logits(hidden)).tolist()
            n_right = next((i for i, token in enumerate(guess) if token != predicted[i]), len(guess))
            made = predicted[: n_right + 1]
            if end_token in made:
                text.extend(made[: made.index(end_token) + 1])
                return
            text.extend(made)
            unread = made[-1:]
            # `unread` goes in with the next pass, and what was read of a wrong guess is forgotten.
            cache.rewind(torch.tensor([text.tokens[:-1]], device=weight.device))
