"""Blocks of measurements with chosen times, for tests."""

from model_optimization.benchmarking.idle_gate import Block, KeptBlock


def block(seconds: float = 1.0, *, calls: int = 1, cpu: float | None = None, machine: float | None = None) -> Block:
    """A block of `calls` calls of equal length; without more, one that had a processor to itself."""
    cpu = seconds if cpu is None else cpu
    return Block(
        calls=(seconds / calls,) * calls,
        passes=calls,
        wall=seconds,
        cpu=cpu,
        machine=cpu if machine is None else machine,
    )


def kept(seconds: float, *, noise: str | None = None, rejected: int = 0, cpu: float | None = None) -> KeptBlock:
    return KeptBlock(block=block(seconds, cpu=cpu), noise=noise, rejected=rejected)
