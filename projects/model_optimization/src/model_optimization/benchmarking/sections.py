"""What a report says of speed: tables, figures and the page that says why."""

from collections.abc import Sequence

from model_optimization.benchmarking.environment import Environment, facts
from model_optimization.benchmarking.figures import latency_figure, roofline_figure
from model_optimization.benchmarking.graph_cost import PARTS
from model_optimization.benchmarking.harness import Failure
from model_optimization.benchmarking.peaks import Peaks
from model_optimization.benchmarking.roofline import Explained
from model_optimization.benchmarking.speed import Speed
from roadmap_shared.report import Block, Callout, Figure, Section, Table, Text

_FEW_CALLS = 100


def speed_section(speeds: Sequence[Speed], machine: Environment, failures: Sequence[Failure] = ()) -> Section:
    """Latency, throughput, memory, and on what they were measured."""
    blocks: list[Block] = [
        Figure(latency_figure(speeds), "Median of a batch, and up to which the slowest twentieth goes."),
        latency_table(speeds),
    ]
    if any(speed.realistic for speed in speeds):
        blocks.append(latency_table(speeds, realistic=True))
    blocks += [memory_table(speeds), *noise_callout(speeds)]
    blocks += [Callout(str(failure), "warning") for failure in failures]
    blocks.append(Text("Measured on:\n\n" + "\n".join(f"- {name}: {value}" for name, value in facts(machine).items())))
    return Section(
        "Speed",
        blocks,
        "Every variant ran in a process of its own; they took turns in short blocks, so that load met all alike, and "
        "blocks beside other work were measured again. The ratio is to the first variant, with its 95 % interval over "
        "paired blocks.",
    )


def latency_table(speeds: Sequence[Speed], *, realistic: bool = False) -> Table:
    """Percentiles, throughput and ratios, one line a variant and batch size."""
    rows = []
    for speed in speeds:
        for batch, row in (speed.realistic if realistic else speed.latency).items():
            rows.append(
                [
                    speed.name,
                    batch,
                    row.p50_ms,
                    row.p95_ms,
                    row.p99_ms,
                    row.cpu_ms,
                    row.texts_per_second,
                    row.speedup,
                    row.cpu_speedup,
                    row.calls,
                    row.blocks_rejected,
                ]
            )
    rows.sort(key=lambda row: row[1])
    tokens = f"exactly {speeds[0].tokens} tokens" if not realistic else "their own length, tokenisation included"
    few = any(row[9] < _FEW_CALLS for row in rows)
    return Table(
        columns=("variant", "batch", "p50, ms", "p95, ms", "p99, ms", "CPU, ms", "texts/s", "x", "x by CPU", "calls",
                 "measured again"),
        rows=rows,
        caption=f"Texts of {tokens}; milliseconds are of one batch."
        + (f" A p99 of fewer than {_FEW_CALLS} calls is next to the slowest of them." if few else ""),
        formats={"p50, ms": ".1f", "p95, ms": ".1f", "p99, ms": ".1f", "CPU, ms": ".1f", "texts/s": ",.0f"},
    )  # fmt: skip


def memory_table(speeds: Sequence[Speed]) -> Table:
    """Disk, memory and time to load, one line a variant."""
    return Table(
        columns=("variant", "weights, MB", "load, s", "peak memory, MB", "of it before loading, MB"),
        rows=[[s.name, s.size_mb, s.load_seconds, s.peak_mb, s.base_mb] for s in speeds],
        caption="Before loading, a process holds Python and the libraries, the same for all variants.",
        highlight_best={"weights, MB": "min", "peak memory, MB": "min"},
        formats={"weights, MB": ".1f", "load, s": ".2f", "peak memory, MB": ",.0f", "of it before loading, MB": ",.0f"},
    )


def noise_callout(speeds: Sequence[Speed]) -> list[Block]:
    """A warning where the machine was busy all the time; nothing where it was not."""
    noisy = [speed.name for speed in speeds if speed.noisy]
    if not noisy:
        return []
    reason = next(row.noise for s in speeds for row in (*s.latency.values(), *s.realistic.values()) if row.noise)
    return [
        Callout(
            f"The machine was busy with other work while {', '.join(noisy)} ran ({reason}), longer than the time for "
            "measuring again. Trust the ratios by CPU time, and repeat the run on an idle machine.",
            "warning",
        )
    ]


def roofline_section(explained: Sequence[Explained], peaks: Peaks) -> Section:
    """Why the variants are as fast as they are: predicted against measured."""
    blocks: list[Block] = [
        Figure(roofline_figure(explained, peaks), "Roofs of this machine, and what each variant reached."),
        explained_table(explained),
        parts_table(explained),
        Text("\n\n".join(_reasons(one) for one in explained if one.batch == explained[0].batch)),
    ]
    return Section(
        "Why: the roofline",
        blocks,
        f"This machine multiplies {peaks.fp32_gflops:.0f} · 10⁹ floats or {peaks.int8_gflops:.0f} · 10⁹ bytes a second "
        f"and copies {peaks.gigabytes_per_second:.0f} GB/s (threads: {peaks.threads}), measured in the same run. An "
        "operator takes the longer of its arithmetic and its traffic; a variant takes the sum over its operators.",
    )


def explained_table(explained: Sequence[Explained]) -> Table:
    """Operations, bytes, time and speed-up: predicted beside measured."""
    rows = [
        [
            one.name,
            one.batch,
            one.prediction.flops_fp32 / 1e9,
            one.prediction.flops_int8 / 1e9,
            one.prediction.bytes / 1e6,
            1000 * one.prediction.seconds,
            1000 * one.measured_seconds,
            one.predicted_speedup,
            one.measured_speedup,
        ]
        for one in explained
    ]
    return Table(
        columns=("variant", "batch", "GFLOP, floats", "GFLOP, bytes", "MB moved", "predicted, ms", "measured, ms",
                 "predicted x", "measured x"),
        rows=rows,
        caption="Predicted by the roofline, and measured: the median, or processor time where the machine was busy.",
        formats={"GFLOP, floats": ".2f", "GFLOP, bytes": ".2f", "MB moved": ",.0f", "predicted, ms": ".1f",
                 "measured, ms": ".1f", "predicted x": ".2f", "measured x": ".2f"},
    )  # fmt: skip


def parts_table(explained: Sequence[Explained]) -> Table:
    """Milliseconds of the parts of a batch: predicted, and as ONNX Runtime's profiler saw them."""
    rows = []
    for one in explained:
        rows.append([f"{one.name}, predicted", one.batch, *(1000 * one.prediction.by_part[part] for part in PARTS)])
        profiled = [[c.seconds for c in one.costs if c.part == part and c.seconds is not None] for part in PARTS]
        if any(profiled):
            rows.append([f"{one.name}, profiled", one.batch, *(1000 * sum(seconds) for seconds in profiled)])
    return Table(
        columns=("variant", "batch", *PARTS),
        rows=rows,
        caption="Milliseconds of each part: products with weights, attention's products, look-up of embeddings, "
        "changing floats to bytes, and the rest. A fused operator is profiled with its larger part.",
        formats=dict.fromkeys(PARTS, ".2f"),
    )


def _reasons(one: Explained) -> str:
    return f"**{one.name}**, batch {one.batch}:\n\n" + "\n".join(f"- {reason}" for reason in one.reasons)
