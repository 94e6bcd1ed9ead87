"""Which waiting texts share a batch, and whether to wait for more: decisions without threads or clocks."""

from collections.abc import Sequence

from model_optimization.deployment.latency_model import LatencyModel


def worth_waiting(n: int, gap: float, fixed: float) -> bool:
    """Whether n texts should wait for one more.

    It is expected after `gap` seconds, for which n texts would wait longer: n * gap seconds in all. Computed apart, it
    would cost a run of its own, whose fixed part is `fixed` seconds.
    """
    return n * gap < fixed


def choose(lengths: Sequence[int], oldest: int, model: LatencyModel, max_batch: int) -> range:
    """The texts of the next batch, as places in the waiting ones.

    The text that waits for longest is always among them, so that none is passed over for ever, whatever its length.
    Beside it come texts of its class of lengths, and, where there is room, shorter ones for which padding costs less
    than a run of their own.

    Args:
        lengths: tokens of the waiting texts, ascending.
        oldest: place of the one that waits for longest.
        model: what batches cost.
        max_batch: texts at most.
    """
    classes = [model.class_of(length) for length in lengths]
    own = classes[oldest]
    room = model.useful_batch(lengths[oldest], max_batch)
    start, stop = classes.index(own), len(classes) - classes[::-1].index(own)
    if stop - start > room:
        start = max(start, min(oldest, stop - room))
        return range(start, start + room)
    a_long, _ = model.coefficients(lengths[oldest])
    while start > 0 and stop - start < room:
        first = classes.index(classes[start - 1])
        n = min(start - first, room - (stop - start))
        a_short, b_short = model.coefficients(lengths[start - 1])
        if n * a_long > n * a_short + b_short:
            break
        start -= n
    return range(start, stop)
