import numpy as np
import pytest

from model_optimization.benchmarking.idle_gate import Block, KeptBlock
from model_optimization.benchmarking.speed import latency_row, speedup
from roadmap_shared.metrics import Interval, bootstrap_ratio

from .benchmark_blocks import kept


def blocks(*rows: list[float]) -> list[KeptBlock]:
    return [
        KeptBlock(
            block=Block(calls=tuple(row), passes=len(row), wall=sum(row), cpu=2 * sum(row), machine=2 * sum(row)),
            noise=None,
        )
        for row in rows
    ]


def test_a_row_by_hand() -> None:
    row = latency_row(blocks([0.010, 0.020], [0.030, 0.040], [0.050]), None, texts_per_pass=16)
    assert row.p50_ms == pytest.approx(30)
    assert row.p95_ms == pytest.approx(48)  # linear between the 4th and the 5th of 5
    assert row.cpu_ms == pytest.approx(60)  # two threads: twice the mean of 30
    assert row.texts_per_second == pytest.approx(5 * 16 / 0.150)
    assert (row.calls, row.blocks, row.blocks_rejected, row.noise, row.speedup) == (5, 3, 0, None, None)


def test_a_pass_of_several_calls_counts_its_texts_once() -> None:
    one = KeptBlock(block=Block(calls=(0.1, 0.3) * 2, passes=2, wall=0.8, cpu=0.8, machine=0.8), noise=None)
    assert latency_row([one], None, texts_per_pass=20).texts_per_second == pytest.approx(40 / 0.8)


def test_noisy_blocks_are_left_out_while_half_are_quiet() -> None:
    row = latency_row([kept(1.0), kept(9.0, noise="busy", rejected=3), kept(1.0, rejected=1)], None, texts_per_pass=1)
    assert (row.p50_ms, row.blocks, row.noise, row.blocks_rejected) == (1000, 2, None, 4)


def test_where_most_are_noisy_all_count_and_the_row_is_marked() -> None:
    row = latency_row([kept(1.0), kept(3.0, noise="busy"), kept(2.0, noise="busier")], None, texts_per_pass=1)
    assert (row.p50_ms, row.blocks, row.noise) == (2000, 3, "busy")


def test_load_that_slows_a_pair_alike_leaves_the_ratio_certain() -> None:
    load = [1.0, 3.0, 1.5, 2.0]
    ratio = speedup([kept(2 * slow) for slow in load], [kept(slow) for slow in load], "wall")
    assert ratio == Interval(2.0, 2.0, 2.0)


def test_the_ratio_is_the_shared_bootstrap_over_pairs() -> None:
    tops, bottoms = [1.0, 1.1, 0.9, 1.3], [0.5, 0.6, 0.4, 0.5]
    found = speedup([kept(top) for top in tops], [kept(bottom) for bottom in bottoms], "wall")
    assert found == bootstrap_ratio(tops, bottoms)
    assert found is not None
    assert found.low < found.estimate < found.high


def test_pairs_count_only_where_both_are_quiet() -> None:
    reference = [kept(2.0), kept(2.0, noise="busy"), kept(2.0), kept(2.0)]
    other = [kept(1.0), kept(1.0), kept(5.0, noise="busy"), kept(1.0)]
    assert speedup(reference, other, "wall") == Interval(2.0, 2.0, 2.0)


def test_processor_time_has_a_ratio_of_its_own_and_none_where_the_clock_is_too_coarse() -> None:
    reference, other = [kept(2.0, cpu=6.0)] * 3, [kept(1.0, cpu=2.0)] * 3
    assert speedup(reference, other, "cpu") == Interval(3.0, 3.0, 3.0)
    assert speedup(reference, [kept(1.0, cpu=0.0)] * 3, "cpu") is None


def test_a_variant_compared_with_itself() -> None:
    same = [kept(float(seconds)) for seconds in np.random.default_rng(0).uniform(1, 2, 5)]
    row = latency_row(same, same, texts_per_pass=1)
    assert row.speedup == row.cpu_speedup == Interval(1.0, 1.0, 1.0)
