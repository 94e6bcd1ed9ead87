from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.text import Annotation

from model_optimization.benchmarking.batching_section import batch_seconds, batching_section
from model_optimization.benchmarking.environment import environment
from model_optimization.benchmarking.figures import (
    ParetoRow,
    frontier,
    latency_figure,
    pareto_figure,
    roofline_figure,
    spread,
)
from model_optimization.benchmarking.graph_cost import OperatorCost
from model_optimization.benchmarking.harness import Failure
from model_optimization.benchmarking.peaks import Peaks
from model_optimization.benchmarking.roofline import Explained, predict
from model_optimization.benchmarking.sections import latency_table, memory_table, roofline_section, speed_section
from model_optimization.benchmarking.speed import LatencyRow, Speed
from roadmap_shared.metrics import Interval
from roadmap_shared.report import Report, figure_png, render

PEAKS = Peaks(fp32_gflops=100, int8_gflops=400, gigabytes_per_second=10, threads=1)


def row(ms: float, ratio: float | None = None, noise: str | None = None, calls: int = 200) -> LatencyRow:
    interval = None if ratio is None else Interval(ratio, 0.9 * ratio, 1.1 * ratio)
    return LatencyRow(
        p50_ms=ms, p95_ms=1.2 * ms, p99_ms=1.3 * ms, cpu_ms=ms, texts_per_second=1000 / ms, calls=calls, blocks=5,
        blocks_rejected=1, noise=noise, speedup=interval, cpu_speedup=interval,
    )  # fmt: skip


def speed(name: str, ms: float, ratio: float | None, **more: str | int) -> Speed:
    latency = {1: row(ms, ratio, **more), 16: row(13 * ms, ratio, **more)}  # type: ignore[arg-type]
    return Speed(
        name=name, folder=f"variants/{name}", size_mb=2 * ms, load_seconds=0.2, peak_mb=500, base_mb=400, threads=1,
        tokens=128, latency=latency, realistic={1: row(ms / 2, ratio)},
    )  # fmt: skip


SPEEDS = [speed("torch $fp32$", 20, 1.0), speed("int8 <b>", 8, 2.5), speed("slow_er", 22, 0.9)]


def explained(name: str, batch: int) -> Explained:
    costs = [
        OperatorCost(operator="MatMul", part="layers", precision="fp32", flops=3e9 * batch, bytes=8e7, seconds=0.01)
    ]
    prediction = predict(costs, PEAKS)
    return Explained(
        name=name, batch=batch, prediction=prediction, costs=costs, measured_seconds=0.05 * batch,
        predicted_speedup=1.0, measured_speedup=1.0, reasons=("because",),
    )  # fmt: skip


EXPLAINED = [explained(name, batch) for batch in (1, 16) for name in ("torch $fp32$", "int8 <b>")]


@given(st.lists(st.tuples(st.integers(0, 5), st.integers(0, 5)), max_size=12))
def test_the_frontier_holds_what_no_other_beats(items: list[tuple[int, int]]) -> None:
    costs, scores = [float(cost) for cost, _ in items], [float(score) for _, score in items]

    def beats(one: int, other: int) -> bool:
        no_worse = costs[one] <= costs[other] and scores[one] >= scores[other]
        better = costs[one] < costs[other] or scores[one] > scores[other]
        return no_worse and (better or one < other)

    expected = {k for k in range(len(items)) if not any(beats(j, k) for j in range(len(items)) if j != k)}
    found = frontier(costs, scores)
    assert set(found) == expected
    assert [costs[k] for k in found] == sorted(costs[k] for k in found)


@given(st.lists(st.floats(0, 1), max_size=30), st.floats(0.01, 0.2))
def test_spread_places_keep_their_order_and_their_distance(places: list[float], gap: float) -> None:
    moved = spread(places, gap, 0.0, 1.0)
    room = min(gap, 1 / (len(places) - 1)) if len(places) > 1 else gap
    order = sorted(range(len(places)), key=lambda index: places[index])
    steps = np.diff([moved[index] for index in order])
    assert (steps >= room - 1e-9).all()
    assert all(-1e-9 <= place <= 1 + 1e-9 for place in moved)


def test_places_that_are_far_apart_stay() -> None:
    assert spread([0.9, 0.1, 0.5], 0.1, 0.0, 1.0) == [0.9, 0.1, 0.5]
    assert spread([0.5, 0.5], 0.2, 0.0, 1.0) == pytest.approx([0.5, 0.7])


@pytest.mark.parametrize("n", [1, 3, 14])
def test_no_label_of_the_pareto_figure_overlaps_another(n: int) -> None:
    rows = [
        ParetoRow(
            name=f"variant number {k}", size_mb=90 - k, latency_ms=20 - k / 9, accuracy=Interval(0.84, 0.82, 0.86)
        )
        for k in range(n)
    ]
    figure = pareto_figure(rows)
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    for axes in figure.axes:
        labels = [item for item in axes.texts if isinstance(item, Annotation)]
        assert [label.get_text() for label in labels] == [one.name for one in rows]
        boxes = [super(Annotation, label).get_window_extent(canvas.get_renderer()) for label in labels]
        edges = sorted((box.y0, box.y1) for box in boxes)
        assert all(above[0] >= below[1] - 1 for below, above in pairwise(edges))
        assert all(box.x1 <= figure.bbox.x1 for box in boxes)


def test_figures_can_be_drawn_whatever_the_names_hold() -> None:
    for figure in (latency_figure(SPEEDS), roofline_figure(EXPLAINED, PEAKS)):
        assert figure_png(figure, dpi=40).startswith(b"\x89PNG")
    shown = [label.get_text() for label in latency_figure(SPEEDS).axes[0].get_yticklabels()]
    assert shown == ["torch $fp32$", "int8 <b>", "slow_er"]


def test_the_tables_hold_what_was_measured() -> None:
    table = latency_table(SPEEDS)
    assert [tuple(line[:3]) for line in table.rows] == [
        ("torch $fp32$", 1, 20), ("int8 <b>", 1, 8), ("slow_er", 1, 22),
        ("torch $fp32$", 16, 260), ("int8 <b>", 16, 104), ("slow_er", 16, 286),
    ]  # fmt: skip
    assert table.caption == "Texts of exactly 128 tokens; milliseconds are of one batch."
    few = latency_table([speed("a", 1, None, calls=7)])
    assert few.caption.endswith("A p99 of fewer than 100 calls is next to the slowest of them.")
    assert memory_table(SPEEDS).rows[1] == ["int8 <b>", 16, 0.2, 500, 400]


def test_the_report_says_what_failed_and_what_was_noisy() -> None:
    noisy = [SPEEDS[0], speed("busy", 9, 2.0, noise="other processes took 40% of the machine")]
    page = render(
        Report(
            title="t",
            project="model_optimization",
            command="c",
            sections=[
                speed_section(noisy, environment(1), [Failure("gone", "its process was ended by SIGKILL")]),
                roofline_section(EXPLAINED, PEAKS),
                batching_section(SPEEDS),
            ],
        )
    )
    assert "gone: not measured: its process was ended by SIGKILL" in page
    assert "The machine was busy with other work while busy ran (other processes took 40% of the machine)" in page
    assert "int8 &lt;b&gt;" in page
    assert "multiplies 100 · 10⁹ floats or 400 · 10⁹ bytes a second and copies 10 GB/s (threads: 1)" in page
    assert speed_section(SPEEDS, environment(1)).blocks[-2] == memory_table(SPEEDS)  # without noise, no warning


def test_a_noisy_time_is_replaced_by_processor_time() -> None:
    assert SPEEDS[0].undisturbed_seconds(16) == pytest.approx(0.26)
    noisy = speed("busy", 9, 2.0, noise="other processes took 40% of the machine")
    noisy.latency[1].__dict__["p50_ms"] = 30.0
    assert noisy.undisturbed_seconds(1) == pytest.approx(0.009)


def test_the_line_through_two_medians() -> None:
    line = batch_seconds({1: 0.012, 16: 0.042})
    assert (line.per_text, line.fixed) == pytest.approx((0.002, 0.010))
    steep = batch_seconds({1: 0.010, 10: 0.200})  # one text costs less alone: the line would start below 0
    assert steep.fixed == 0
    assert steep.per_text == pytest.approx((0.010 + 10 * 0.2) / 101)
    with pytest.raises(ValueError, match=r"a line needs two batch sizes, got \[1\]"):
        batch_seconds({1: 0.012})
