import pytest

from model_optimization.benchmarking.idle_gate import Block, IdleGate, usage_now

from .benchmark_blocks import block


def gate(patience: float = 100.0, blocks: int = 1, busy_share: float = 0.1) -> tuple[IdleGate, list[float]]:
    pauses: list[float] = []
    made = IdleGate(busy_share=busy_share, patience=patience, blocks=blocks, cores=2, pause=pauses.append)
    return made, pauses


@pytest.mark.parametrize(
    ("measured", "noise"),
    [
        (block(1.0), None),
        (block(1.0, cpu=2.0), None),  # two threads
        (block(1.0, cpu=0.95), None),
        (block(1.0, cpu=0.5), "it had the processor for 50% of the time only"),
        (block(1.0, cpu=1.0, machine=1.15), None),
        (block(1.0, cpu=1.0, machine=1.5), "other processes took 25% of the machine"),
        # Where the system's clock lags behind the process's own, nobody else was there.
        (block(1.0, cpu=1.0, machine=0.9), None),
    ],
)
def test_noise_by_hand(measured: Block, noise: str | None) -> None:
    assert gate()[0].noise(measured) == noise


def test_the_gate_can_be_switched_off() -> None:
    assert gate(busy_share=1.0)[0].noise(block(1.0, cpu=0.1, machine=2.0)) is None


def test_a_noisy_block_is_measured_again_after_a_pause() -> None:
    made, pauses = gate()
    blocks = iter([block(1.0, cpu=0.5), block(1.1, machine=2.0), block(1.2)])
    kept = made.measure(lambda: next(blocks))
    assert (kept.block.wall, kept.noise, kept.rejected) == (1.2, None, 2)
    assert pauses == [0.25, 0.25]
    assert made.spent == pytest.approx(1.0 + 1.1 + 2 * 0.25)


def test_when_the_time_is_used_up_the_block_is_kept_and_marked() -> None:
    made, _ = gate(patience=3.0)
    kept = made.measure(lambda: block(1.0, cpu=0.5))
    assert kept.noise == "it had the processor for 50% of the time only"
    assert kept.rejected == 2  # each costs 1.25 s, and a third would exceed 3 s
    assert made.spent == pytest.approx(2.5)


def test_the_time_is_released_evenly_so_that_the_last_block_has_as_much_as_the_first() -> None:
    made, _ = gate(patience=12.5, blocks=10)
    rejected = [made.measure(lambda: block(1.0, cpu=0.5)).rejected for _ in range(10)]
    assert rejected == [1] * 10


def test_the_clocks_of_this_machine_move_forwards() -> None:
    before = usage_now()
    assert sum(range(10_000))
    after = usage_now()
    assert after.wall > before.wall
    assert after.cpu >= before.cpu > 0
    assert after.machine >= before.machine
