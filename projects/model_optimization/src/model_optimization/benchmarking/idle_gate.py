"""Keeps blocks of measurements during which the machine did nothing else.

A time is a property of the program only where the program had the processor to itself. Two signs tell that it had not:
its own processor time falls behind the clock (it waited for a core), or all processes together used more processor
time than it did by itself (others shared the caches and the memory). Such a block is measured again, as long as the
time set aside for this lasts.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass

import psutil

_OWN_SHARE = 0.9  # of the clock: one that computes without a break has 1 or more, one for each thread
_PAUSE = 0.25  # seconds before a block is measured again: load comes in spells


@dataclass(frozen=True, kw_only=True)
class Usage:
    """Clock and processor time at one moment, in seconds from any zero."""

    wall: float
    cpu: float
    """Processor time of this process, all its threads together."""

    machine: float
    """Processor time of all processes, on all cores, and what a hypervisor gave to other machines."""


def usage_now() -> Usage:
    """Read the three clocks."""
    times = psutil.cpu_times()
    # Not "guest": Linux counts it in "user" already. Windows and macOS lack some of these.
    kinds = ("user", "nice", "system", "irq", "interrupt", "softirq", "dpc", "steal")
    return Usage(
        wall=time.perf_counter(), cpu=time.process_time(), machine=sum(getattr(times, kind, 0.0) for kind in kinds)
    )


@dataclass(frozen=True, kw_only=True)
class Block:
    """Some calls one after the other, and what the machine did meanwhile. Seconds."""

    calls: tuple[float, ...]
    """Duration of each call by the clock."""

    passes: int
    """How often all batches of the input were computed: blocks of one input are comparable by the pass."""

    wall: float
    cpu: float
    machine: float


@dataclass(frozen=True, kw_only=True)
class KeptBlock:
    """A block that stays, and what it took to get it."""

    block: Block
    noise: str | None
    """Why it would have been measured again, had there been time left; None where it was quiet."""

    rejected: int = 0
    """Noisy blocks that were thrown away before it."""


class IdleGate:
    """Repeats noisy blocks within a limit of time for all of them.

    The time is released evenly over the blocks that are to come: the first variants cannot use up what the last ones
    need.

    Args:
        busy_share: of the machine's processor time that others may take.
        patience: seconds for repetitions, in all.
        blocks: how many will be measured.
        cores: of the machine.
        pause: waits for some seconds.
    """

    def __init__(
        self,
        *,
        busy_share: float,
        patience: float,
        blocks: int,
        cores: int | None = None,
        pause: Callable[[float], None] = time.sleep,
    ) -> None:
        self.busy_share = busy_share
        self.patience = patience
        self.blocks = blocks
        self.cores = cores or psutil.cpu_count() or 1
        self.pause = pause
        self.spent = 0.0
        self.done = 0

    def noise(self, block: Block) -> str | None:
        """Why a block says nothing about the program alone; None where it does."""
        if self.busy_share >= 1:
            return None
        if block.cpu < _OWN_SHARE * block.wall:
            return f"it had the processor for {block.cpu / block.wall:.0%} of the time only"
        others = max(block.machine - block.cpu, 0.0) / (block.wall * self.cores)
        if others > self.busy_share:
            return f"other processes took {others:.0%} of the machine"
        return None

    def measure(self, run: Callable[[], Block]) -> KeptBlock:
        """Measure a block until it is quiet or the time is used up."""
        self.done += 1
        released = self.patience * min(self.done / self.blocks, 1.0)
        rejected = 0
        while True:
            block = run()
            noise = self.noise(block)
            cost = block.wall + _PAUSE
            if noise is None or self.spent + cost > released:
                return KeptBlock(block=block, noise=noise, rejected=rejected)
            self.spent += cost
            rejected += 1
            self.pause(_PAUSE)
