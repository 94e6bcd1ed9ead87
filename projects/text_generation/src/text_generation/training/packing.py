"""Documents as windows of a fixed number of tokens, in two ways.

- `StreamWindows`: all documents in one stream, cut anywhere. No position is spent on padding, most documents are cut,
  and each token attends to the documents before its own as well (Brown et al. 2020, appendix B).
- `DocumentWindows`: best-fit packing (Ding et al. 2024, "Fewer Truncations Improve Language Modeling"), of documents
  that do not see each other (Llama 3, Grattafiori et al. 2024, section 3.2). A document that fits into a window is
  never cut, and its positions count from 0 wherever it lies: a story's header is where a prompt has it.
"""

from bisect import bisect_left, insort
from collections.abc import Iterable, Sequence
from functools import lru_cache
from typing import Literal, NamedTuple, Protocol

import numpy as np
import torch
from torch import Tensor

Packing = Literal["documents", "stream"]

IGNORED = -100
"""Target of a position that the loss leaves out, as PyTorch's cross-entropy has it."""


class Batch(NamedTuple):
    """Rows of tokens to predict from, (B, T) int64 each."""

    inputs: Tensor
    """Token ids."""

    targets: Tensor
    """The tokens that follow them, or `IGNORED`."""

    positions: Tensor
    """Of each token in its document. Where they do not rise by one, another document begins: transformers' causal mask
    then hides what is before it."""

    def rows(self, index: Tensor | slice) -> "Batch":
        """Some of the rows."""
        return Batch(*(tensor[index] for tensor in self))

    def to(self, device: torch.device) -> "Batch":
        """The same on `device`."""
        return Batch(*(tensor.to(device) for tensor in self))

    def parts(self, n_parts: int) -> list["Batch"]:
        """The rows in `n_parts` parts, or in as many as there are rows."""
        return [Batch(*tensors) for tensors in zip(*(tensor.chunk(n_parts) for tensor in self), strict=True)]


class Windows(Protocol):
    """Training windows in an order that depends on a seed and the step alone."""

    def batch(self, step: int, batch_size: int) -> Batch:
        """The rows of a step, counted from 0."""
        ...


def pack(documents: Iterable[Sequence[int]], end: int) -> np.ndarray:
    """All documents in one row of token ids, (N,) int64, each followed by `end`."""
    parts = [part for document in documents for part in (np.asarray(document, dtype=np.int64), np.array([end]))]
    return np.concatenate(parts) if parts else np.zeros(0, dtype=np.int64)


class StreamWindows:
    """Windows of `context` tokens from a packed stream.

    An epoch visits every window once. Each epoch cuts the stream at another offset, so that a token is not always
    predicted from the same place in its window.
    """

    def __init__(self, tokens: np.ndarray, context: int, seed: int) -> None:
        """Raises ValueError if the stream holds no whole window with one token to predict after it."""
        if len(tokens) < 2 * context + 1:
            raise ValueError(f"{len(tokens):,} tokens are too few for windows of {context}")
        self.tokens, self.context, self.seed = torch.from_numpy(tokens), context, seed
        self.starts_of_epoch = lru_cache(maxsize=2)(self._draw_starts)

    @property
    def per_epoch(self) -> int:
        """Windows in one pass; what remains at the ends is less than one window."""
        return (len(self.tokens) - 1) // self.context - 1

    def batch(self, step: int, batch_size: int) -> Batch:
        """See `Windows`; no target is ignored."""
        places = [divmod(place, self.per_epoch) for place in range(step * batch_size, (step + 1) * batch_size)]
        starts = torch.tensor([self.starts_of_epoch(epoch)[position] for epoch, position in places])
        rows = self.tokens[starts[:, None] + torch.arange(self.context + 1)]  # (B, T + 1)
        return Batch(rows[:, :-1], rows[:, 1:], torch.arange(self.context).expand(batch_size, -1))

    def _draw_starts(self, epoch: int) -> np.ndarray:
        """Where each window of the epoch begins, (per_epoch,)."""
        generator = np.random.default_rng([self.seed, epoch])
        offset = generator.integers(self.context)
        return offset + self.context * generator.permutation(self.per_epoch)


class DocumentWindows:
    """Windows that hold whole documents, each with `end` behind it; what is left of a window is padding.

    Every fourth document begins with `end` too, which stands for the start of a text where nothing is given; the others
    begin with their first token, as a prompt does. An epoch visits every window once. Which documents share a window is
    drawn once.
    """

    def __init__(self, documents: Iterable[Sequence[int]], context: int, end: int, seed: int) -> None:
        """Raises ValueError if there is nothing to predict."""
        whole = [[*[end] * (number % 4 == 3), *document, end] for number, document in enumerate(documents)]
        pieces = [piece for document in whole for piece in pieces_of(document, context + 1)]
        order = np.random.default_rng(seed).permutation(len(pieces))
        pieces = [torch.tensor(pieces[index]) for index in order]
        bins = best_fit([len(piece) - 1 for piece in pieces], context)
        if not bins:
            raise ValueError("there is no token to predict")
        self.seed = seed
        shape = (len(bins), context)
        self.all = Batch(torch.full(shape, end), torch.full(shape, IGNORED), torch.zeros(shape, dtype=torch.int64))
        for row, members in enumerate(bins):
            start = 0
            for piece in (pieces[member] for member in members):
                stop = start + len(piece) - 1
                self.all.inputs[row, start:stop], self.all.targets[row, start:stop] = piece[:-1], piece[1:]
                self.all.positions[row, start:stop] = torch.arange(stop - start)
                start = stop
            self.all.positions[row, start:] = torch.arange(context - start)
        self.order_of_epoch = lru_cache(maxsize=2)(self._draw_order)

    @property
    def per_epoch(self) -> int:
        """Windows in one pass."""
        return len(self.all.inputs)

    @property
    def filled(self) -> float:
        """Share of the positions that are no padding."""
        return float((self.all.targets != IGNORED).float().mean())

    def batch(self, step: int, batch_size: int) -> Batch:
        """See `Windows`."""
        places = [divmod(place, self.per_epoch) for place in range(step * batch_size, (step + 1) * batch_size)]
        rows = torch.tensor([self.order_of_epoch(epoch)[position] for epoch, position in places])
        return self.all.rows(rows)

    def _draw_order(self, epoch: int) -> np.ndarray:
        """The windows in the order of the epoch, (per_epoch,)."""
        return np.random.default_rng([self.seed, epoch]).permutation(self.per_epoch)


def pieces_of(tokens: Sequence[int], capacity: int) -> list[Sequence[int]]:
    """Cut a document that is longer than a window. Pieces share one token, so that each token but the first is
    predicted once; a piece of one token would predict nothing and is left out."""
    starts = range(0, max(len(tokens) - 1, 0), capacity - 1)
    return [tokens[start : start + capacity] for start in starts]


def best_fit(lengths: Sequence[int], capacity: int) -> list[list[int]]:
    """Best-fit decreasing: the longest first, each into the bin that it leaves the least room in.

    Args:
        lengths: of the items, at most `capacity` each.
        capacity: of a bin.

    Returns:
        The items of each bin by their numbers, the longest first. Of equals, those that stand first come first.
    """
    bins: list[list[int]] = []
    by_room: dict[int, list[int]] = {}  # bins by the room that is left
    rooms: list[int] = []  # those that occur, ascending
    for item in sorted(range(len(lengths)), key=lambda index: -lengths[index]):
        place = bisect_left(rooms, lengths[item])
        if place == len(rooms):
            room, number = capacity, len(bins)
            bins.append([])
        else:
            room = rooms[place]
            number = by_room[room].pop()
            if not by_room[room]:
                del by_room[room], rooms[place]
        bins[number].append(item)
        left = room - lengths[item]
        if left:
            if left not in by_room:
                insort(rooms, left)
            by_room.setdefault(left, []).append(number)
    return bins
