"""Pairs of a source and a target text, as token ids, in batches of like length.

Shapes: B batch, S source tokens, T target tokens.
"""

import functools
import random
import sys
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from roadmap_shared.errors import UserError
from roadmap_shared.ranks import is_main_process
from transformer_from_scratch.corpus import random_seed
from transformer_from_scratch.models import IGNORED
from transformer_from_scratch.tokenizers import Tokenizer

PAD, BOS, EOS = SPECIAL_TOKENS = ("<pad>", "<bos>", "<eos>")

Pair = tuple[str, str]
"""Source and target."""


@dataclass(frozen=True, kw_only=True)
class SequencePairs:
    """Pairs to train on, to measure the loss on while training, and to test on at the end."""

    train: list[Pair]
    validation: list[Pair]
    test: list[Pair]
    origin: str
    """Where they come from, for the report."""


@dataclass(frozen=True)
class EncodedPair:
    """Token ids of a source that ends with <eos>, and of a target between <bos> and <eos>."""

    source: list[int]
    target: list[int]

    @property
    def length(self) -> int:
        """Tokens that the model reads of the longer side: of the target, all but the last."""
        return max(len(self.source), len(self.target) - 1)


def encode_source(text: str, tokenizer: Tokenizer) -> list[int]:
    """Token ids of a source: those of the text, then <eos>."""
    return [*tokenizer.encode(text), tokenizer.special_id(EOS)]


def encode_pair(pair: Pair, tokenizer: Tokenizer) -> EncodedPair:
    """Token ids of a pair, with <bos> and <eos> around the target."""
    source, target = pair
    return EncodedPair(
        encode_source(source, tokenizer),
        [tokenizer.special_id(BOS), *tokenizer.encode(target), tokenizer.special_id(EOS)],
    )


def encode_fitting(pairs: Sequence[Pair], part: str, tokenizer: Tokenizer, context: int) -> list[EncodedPair]:
    """The pairs that fit a context of so many tokens, as token ids; those that do not are counted on stderr.

    Args:
        part: what the pairs are for, in the message.

    Raises:
        UserError: none fits.
    """
    encoded = [encode_pair(pair, tokenizer) for pair in pairs]
    fitting = [pair for pair in encoded if pair.length <= context]
    n_too_long = len(encoded) - len(fitting)
    if not fitting:
        raise UserError(f"--model.context {context}: not one of the {n_too_long} {part} pairs is that short; raise it")
    if n_too_long:
        say(f"{n_too_long} of {len(pairs)} {part} pairs are longer than --model.context {context} tokens and left out")
    return fitting


def hold_out(pairs: Sequence[Pair], shares: Sequence[float], seed: int) -> list[list[Pair]]:
    """Cut pairs into what is left and one part for each share; pairs of one source all go to the same part.

    Each part gets its share of the distinct sources, at least one. The pairs of a part keep their order.

    Raises:
        UserError: too few distinct sources for every part to get one.
    """
    sources = list(dict.fromkeys(source for source, _ in pairs))
    random.Random(seed).shuffle(sources)
    sizes = [max(1, round(share * len(sources))) for share in shares]
    if sum(sizes) >= len(sources):
        raise UserError(
            f"{len(sources)} different source sentences are too few to train on and to hold out {len(shares)} parts: "
            "give more pairs"
        )
    part_of, start = {}, 0
    for part, size in enumerate(sizes, start=1):
        part_of |= dict.fromkeys(sources[start : start + size], part)
        start += size
    parts: list[list[Pair]] = [[] for _ in range(len(shares) + 1)]
    for pair in pairs:
        parts[part_of.get(pair[0], 0)].append(pair)
    return parts


def pad(rows: Sequence[Sequence[int]], value: int) -> Tensor:
    """(B, longest) rows, filled up with `value` behind their end."""
    width = max(map(len, rows))
    return torch.tensor([[*row, *[value] * (width - len(row))] for row in rows])


def pad_sources(sources: Sequence[Sequence[int]], pad_id: int) -> tuple[Tensor, Tensor]:
    """(B, S) sources, padded behind their end, and (B, S) True at their real tokens."""
    tokens = pad(sources, pad_id)
    lengths = torch.tensor([len(source) for source in sources])
    return tokens, torch.arange(tokens.shape[1]) < lengths[:, None]


def collate(pairs: Sequence[EncodedPair], pad_id: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """One batch: (B, S) sources, (B, S) True at their real tokens, (B, T) target inputs and (B, T) targets.

    The inputs are the target without its last token, the targets are it without <bos>: at each place, the next token.
    Padding of the targets is `IGNORED`.
    """
    return (
        *pad_sources([pair.source for pair in pairs], pad_id),
        pad([pair.target[:-1] for pair in pairs], pad_id),
        pad([pair.target[1:] for pair in pairs], IGNORED),
    )


class LengthBuckets:
    """Which items stand together in a step's batch: items of like length, for little padding, within a token budget.

    An epoch shows every item once (a few of the shortest twice, where the number of items is not a multiple of
    `multiple`), in batches that differ from epoch to epoch among items of equal length and come in a new order each.
    Which items a step gets is a function of its number.

    Args:
        lengths: of the items, in tokens.
        batch_tokens: bounds items × longest length of a batch. The caller makes sure that `multiple` items always fit.
        seed: of the run.
    """

    def __init__(self, lengths: Sequence[int], batch_tokens: int, seed: int) -> None:
        self.lengths, self.batch_tokens, self.seed = np.array(lengths), batch_tokens, seed
        self.layout = functools.lru_cache(maxsize=1)(self._layout)
        self.epoch_items = functools.lru_cache(maxsize=1)(self._epoch_items)

    def batch(self, step: int, multiple: int) -> list[int]:
        """The items of this step; their number is a multiple of `multiple`."""
        _, borders = self.layout(multiple)
        epoch, place = divmod(step, len(borders) - 1)
        items, order = self.epoch_items(epoch, multiple)
        bucket = order[place]
        return items[borders[bucket] : borders[bucket + 1]].tolist()

    def _layout(self, multiple: int) -> tuple[np.ndarray, list[int]]:
        """The items of an epoch, and where each batch ends once they are sorted by length: the same in every epoch."""
        shortest_first = np.argsort(self.lengths, kind="stable")
        n_repeated = -len(self.lengths) % multiple
        items = np.concatenate((np.resize(shortest_first, n_repeated), np.arange(len(self.lengths))))
        longest = np.sort(self.lengths[items])[multiple - 1 :: multiple]  # of each `multiple` items in turn
        borders = [0]
        for group, length in enumerate(longest):
            if ((group + 1) * multiple - borders[-1]) * length > self.batch_tokens:
                borders.append(group * multiple)
        return items, [*borders, len(items)]

    def _epoch_items(self, epoch: int, multiple: int) -> tuple[np.ndarray, np.ndarray]:
        """The items of an epoch by length, equal ones shuffled, and the order of its batches."""
        items, borders = self.layout(multiple)
        generator = np.random.default_rng(random_seed(self.seed, epoch))
        by_length = np.lexsort((generator.random(len(items)), self.lengths[items]))
        return items[by_length], generator.permutation(len(borders) - 1)


def say(line: str) -> None:
    """Print a line to stderr, once for all processes."""
    if is_main_process():
        print(line, file=sys.stderr)
