"""Why a variant is as fast as it is: the roofline model of this machine against what was measured.

An operator needs at least the time of its arithmetic at the machine's peak, and at least the time of its bytes at the
machine's bandwidth; the longer of the two is the prediction (Williams, Waterman & Patterson 2009, "Roofline: An
Insightful Visual Performance Model for Multicore Architectures"). What a program takes beyond it is lost to small
matrices, exponentials, waiting threads and calls; where it takes less, what passes from one operator to the next never
left the cache. The model says which of two variants should be faster, by how much, and which part is in the way.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from model_optimization.benchmarking.environment import INT8_FLAGS, Environment
from model_optimization.benchmarking.graph_cost import PARTS, OperatorCost, Part, total, variant_cost
from model_optimization.benchmarking.peaks import Peaks
from model_optimization.benchmarking.speed import Speed

_WORTH_SAYING = 0.1  # of the predicted time


@dataclass(frozen=True, kw_only=True)
class Prediction:
    """The time of a batch by the roofline, in seconds, and of which parts it consists."""

    seconds: float
    by_part: dict[Part, float]
    memory_bound: float
    """Share of the time in operators that wait for bytes and not for arithmetic."""

    flops_fp32: float
    flops_int8: float
    bytes: float

    @property
    def intensity(self) -> float:
        """Operations for each byte moved."""
        return (self.flops_fp32 + self.flops_int8) / self.bytes


@dataclass(frozen=True, kw_only=True)
class Explained:
    """One variant at one batch size: predicted and measured."""

    name: str
    batch: int
    prediction: Prediction
    costs: Sequence[OperatorCost]
    measured_seconds: float
    """See `Speed.undisturbed_seconds`."""

    predicted_speedup: float
    measured_speedup: float
    reasons: tuple[str, ...] = ()


def operator_seconds(cost: OperatorCost, peaks: Peaks) -> float:
    """The roofline's bound for one operator: the longer of arithmetic and traffic."""
    return max(cost.flops / peaks.flops_per_second(cost.precision), cost.bytes / peaks.bytes_per_second)


def predict(costs: Sequence[OperatorCost], peaks: Peaks) -> Prediction:
    """The sum of the operators' bounds: they run one after the other."""
    bounds = [operator_seconds(cost, peaks) for cost in costs]
    waiting = [
        bound
        for cost, bound in zip(costs, bounds, strict=True)
        if cost.bytes / peaks.bytes_per_second > cost.flops / peaks.flops_per_second(cost.precision)
    ]
    by_part: dict[Part, float] = {
        part: sum(b for c, b in zip(costs, bounds, strict=True) if c.part == part) for part in PARTS
    }
    seconds = sum(bounds)
    return Prediction(
        seconds=seconds,
        by_part=by_part,
        memory_bound=sum(waiting) / seconds if seconds else 0.0,
        flops_fp32=total(costs, precision="fp32")[0],
        flops_int8=total(costs, precision="int8")[0],
        bytes=total(costs)[1],
    )


def explain(speeds: Sequence[Speed], peaks: Peaks, machine: Environment) -> list[Explained]:
    """Prediction and measurement of every variant that can be counted, each batch size by itself.

    Raises:
        UserError: a folder that was measured is gone or damaged.
    """
    found: list[Explained] = []
    for batch in speeds[0].latency if speeds else ():
        reference: tuple[float, float] | None = None  # predicted and measured
        for speed in speeds:
            costs = variant_cost(Path(speed.folder), batch, speed.tokens, peaks.threads)
            if costs is None:
                continue
            prediction, row = predict(costs, peaks), speed.latency[batch]
            measured = speed.undisturbed_seconds(batch)
            ratio = row.cpu_speedup if row.noise else row.speedup
            reference = reference or (prediction.seconds, measured)
            found.append(
                Explained(
                    name=speed.name,
                    batch=batch,
                    prediction=prediction,
                    costs=costs,
                    measured_seconds=measured,
                    predicted_speedup=reference[0] / prediction.seconds,
                    measured_speedup=ratio.estimate if ratio else reference[1] / measured,
                    reasons=(
                        *reasons(prediction, peaks, machine, tokens=speed.tokens),
                        f"it runs at {prediction.seconds / measured:.0%} of the roofline's speed: products this "
                        "small do not reach the peaks, and exponentials, threads and calls are not in the model",
                    ),
                )
            )
    return found


def reasons(prediction: Prediction, peaks: Peaks, machine: Environment, *, tokens: int) -> tuple[str, ...]:
    """What decides the speed of a variant, each with its number, the weightiest first."""
    share = {part: seconds / prediction.seconds for part, seconds in prediction.by_part.items()}
    found: list[tuple[float, str]] = [(0.0, _embeddings(share["embeddings"]))]
    if prediction.flops_int8:
        found.append((2.0, _bytes_multiplied(prediction, peaks, machine)))
    if prediction.flops_int8 and share["attention"] > _WORTH_SAYING / 2:
        found.append(
            (
                share["attention"],
                f"attention's products stay in floats: {share['attention']:.0%} of the time at {tokens} tokens, and "
                "their share grows with the length, so that bytes win less on longer texts",
            )
        )
    if share["quantising"] > _WORTH_SAYING / 2:
        found.append(
            (
                share["quantising"],
                f"changing floats to bytes and back takes {share['quantising']:.0%}, which has no counterpart in the "
                "original",
            )
        )
    if share["rest"] > _WORTH_SAYING:
        found.append(
            (
                share["rest"],
                f"softmax, GELU, normalisation and additions take {share['rest']:.0%}: no quantisation of weights "
                "makes them faster",
            )
        )
    if prediction.memory_bound > 1 / 2:
        found.append(
            (
                prediction.memory_bound,
                f"{prediction.memory_bound:.0%} of the time is traffic, not arithmetic: {prediction.intensity:.0f} "
                "operations a byte are too few to keep the multipliers busy",
            )
        )
    return tuple(text for _, text in sorted(found, key=lambda item: -item[0]))


def _bytes_multiplied(prediction: Prediction, peaks: Peaks, machine: Environment) -> str:
    share = prediction.flops_int8 / (prediction.flops_fp32 + prediction.flops_int8)
    gain = peaks.int8_gflops / peaks.fp32_gflops
    names = ", ".join(flag for flag in machine.flags if flag in INT8_FLAGS)
    why = f"by {names}" if names else "without instructions made for it"
    return f"{share:.0%} of the operations are on bytes, which this processor multiplies {gain:.1f} x as fast ({why})"


def _embeddings(share: float) -> str:
    return f"looking up embeddings takes {share:.1%}: quantising the table makes the file smaller, not the model faster"
