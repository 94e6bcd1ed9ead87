"""Which texts go into which batch."""

from collections.abc import Iterator, Sequence

import torch
from torch.utils.data import Sampler

POOL = 50
"""Batches whose texts are drawn together and then sorted by length."""


class BucketSampler(Sampler[int]):
    """Random order in which neighbours are of similar length, so that a batch needs little padding.

    All texts are shuffled and cut into pools of 50 batches; each pool is sorted by length, cut into batches, and all
    batches are shuffled. The order depends on the seed and the epoch alone: a resumed run, or one spread over several
    processes, goes through the same batches.

    Args:
        lengths: tokens of each text.
        batch_size: texts an optimiser step, over all processes.
        seed: of the run.
        bucket: False leaves the texts as shuffled.
    """

    def __init__(self, lengths: Sequence[int], batch_size: int, seed: int, *, bucket: bool = True) -> None:
        self.lengths, self.batch_size, self.seed, self.bucket = lengths, batch_size, seed, bucket
        self.epoch = 0

    def __len__(self) -> int:
        return len(self.lengths)

    def set_epoch(self, epoch: int) -> None:
        """The Trainer calls it at the beginning of each epoch."""
        self.epoch = epoch

    def __iter__(self) -> Iterator[int]:
        generator = torch.Generator().manual_seed((self.seed << 16) + self.epoch)
        order = torch.randperm(len(self.lengths), generator=generator).tolist()
        if not self.bucket:
            return iter(order)
        size = self.batch_size
        batches: list[list[int]] = []
        for start in range(0, len(order), POOL * size):
            pool = sorted(order[start : start + POOL * size], key=lambda index: self.lengths[index])
            batches += [pool[first : first + size] for first in range(0, len(pool), size)]
        # Only the last pool can end in a smaller batch; it stays at the end, or all behind it would shift.
        smaller = [batches.pop()] if len(batches[-1]) < size else []
        mixed = torch.randperm(len(batches), generator=generator).tolist()
        return iter([index for batch in [*(batches[position] for position in mixed), *smaller] for index in batch])
