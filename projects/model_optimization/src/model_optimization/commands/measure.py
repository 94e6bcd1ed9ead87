"""`model-optimization measure`: any variants side by side, each in a process of its own."""

import json
import shlex
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from model_optimization.benchmarking.environment import Environment, environment, facts
from model_optimization.benchmarking.harness import Failure, measure_variants, print_failure
from model_optimization.benchmarking.speed import LatencyRow, Speed
from model_optimization.config.benchmark import MeasureConfig
from model_optimization.variants import VARIANT_FILE, read_info
from roadmap_shared.errors import UserError
from roadmap_shared.files import atomic_write

if TYPE_CHECKING:
    from model_optimization.benchmarking.peaks import Peaks
    from model_optimization.benchmarking.roofline import Explained


def run(config: MeasureConfig) -> None:
    """Measure, print, and write what --output asks for.

    Raises:
        UserError: a folder is no variant, the text file is unusable, or nothing could be measured; what can be known
            before anything is measured is told before.
    """
    folders = folders_of(config)
    texts = None if config.texts is None else texts_of(config.texts)
    if config.output is not None:
        make_folder(config.output)
    if texts is not None and len(texts) < config.benchmark.realistic:
        config = replace(config, benchmark=replace(config.benchmark, realistic=len(texts)))
    failures: list[Failure] = []

    def failed(failure: Failure) -> None:
        print_failure(failure)
        failures.append(failure)

    speeds = measure_variants(folders, config.benchmark, texts=texts, on_failure=failed)
    if not speeds:
        raise UserError("no variant could be measured")
    measured = Measured(speeds, failures, environment(config.benchmark.threads))
    if config.roofline:
        add_roofline(measured, config.benchmark.threads)
    record = record_of(measured, config)
    print(json.dumps(record, ensure_ascii=False) if config.json else "\n".join(lines(speeds, measured.machine)))
    if config.output is not None:
        write_output(config.output, record, measured)


@dataclass
class Measured:
    """All that came of it."""

    speeds: Sequence[Speed]
    failures: Sequence[Failure]
    machine: Environment
    explained: "Sequence[Explained]" = ()
    peaks: "Peaks | None" = None


def add_roofline(measured: Measured, threads: int | None) -> None:
    """Measure the machine's peaks and predict from them."""
    from model_optimization.benchmarking.peaks import measure_peaks
    from model_optimization.benchmarking.roofline import explain

    print("measuring the machine's peaks", file=sys.stderr)
    measured.peaks = measure_peaks(threads)
    measured.explained = explain(measured.speeds, measured.peaks, measured.machine)


def record_of(measured: Measured, config: MeasureConfig) -> dict[str, Any]:
    """The results as plain values."""
    return {
        "environment": asdict(measured.machine),
        "benchmark": asdict(config.benchmark),
        "variants": [speed.as_json() for speed in measured.speeds],
        "failures": [asdict(failure) for failure in measured.failures],
        "peaks": asdict(measured.peaks) if measured.peaks else None,
        "roofline": [
            {
                "name": one.name,
                "batch": one.batch,
                "predicted_ms": 1000 * one.prediction.seconds,
                "measured_ms": 1000 * one.measured_seconds,
                "predicted_speedup": one.predicted_speedup,
                "measured_speedup": one.measured_speedup,
                "reasons": one.reasons,
            }
            for one in measured.explained
        ],
    }


def folders_of(config: MeasureConfig) -> list[Path]:
    """The folders in the order in which they are shown, the reference first.

    Raises:
        UserError: none is named, or one of them holds no model.
    """
    folders = list(config.folders)
    if not folders and config.reference is None:
        raise UserError("name at least one folder to measure")
    if config.reference is not None:
        folders = [config.reference, *(one for one in folders if one.resolve() != config.reference.resolve())]
    for folder in folders:
        if (folder / VARIANT_FILE).is_file():
            read_info(folder)
        elif not (folder / "config.json").is_file():
            what = "is no folder of a variant or a model" if folder.is_dir() else "there is no such folder"
            raise UserError(f"{folder}: {what}: give one with {VARIANT_FILE} or config.json in it")
    return folders


def texts_of(path: Path) -> list[str]:
    """The lines that are not blank. Raises UserError: there are none, or the file is no text."""
    try:
        found = [line.strip() for line in path.read_text(encoding="utf-8").splitlines()]
    except OSError as error:
        raise UserError(f"--texts {path}: cannot be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise UserError(f"--texts {path}: is no text in UTF-8 (byte {error.start})") from error
    texts = [text for text in found if text]
    if not texts:
        raise UserError(f"--texts {path}: holds no text: give one text a line")
    return texts


def make_folder(folder: Path) -> None:
    """Make the folder for the results. Raises UserError: it cannot be made."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"--output {folder}: cannot be made: {error.strerror}") from error


def lines(speeds: Sequence[Speed], machine: Environment) -> list[str]:
    """The tables for a terminal."""
    shown = [f"{name}: {value}" for name, value in facts(machine).items()]
    heading = ["variant", "input", "p50 ms", "p95 ms", "p99 ms", "CPU ms", "texts/s", "x", "x by CPU", "again"]
    rows = [heading]
    for speed in speeds:
        for batch, row in speed.latency.items():
            rows.append([speed.name, f"{batch} x {speed.tokens}", *_cells(row)])
        for batch, row in speed.realistic.items():
            rows.append([speed.name, f"{batch} texts", *_cells(row)])
    memory = [["variant", "weights MB", "load s", "peak MB", "before loading MB"]]
    memory += [
        [s.name, f"{s.size_mb:.1f}", f"{s.load_seconds:.2f}", f"{s.peak_mb:,.0f}", f"{s.base_mb:,.0f}"] for s in speeds
    ]
    noise = [f"{speed.name}: measured beside other work: trust x by CPU" for speed in speeds if speed.noisy]
    return [*shown, "", *_aligned(rows), "", *_aligned(memory), *noise]


def write_output(folder: Path, record: dict[str, Any], measured: Measured) -> None:
    """measure.json, report.html, latency.png and roofline.png."""
    from model_optimization.benchmarking.batching_section import batching_section
    from model_optimization.benchmarking.figures import latency_figure, roofline_figure
    from model_optimization.benchmarking.sections import roofline_section, speed_section
    from roadmap_shared.report import Report, figure_png, render

    speeds = measured.speeds
    sections = [speed_section(speeds, measured.machine, measured.failures)]
    atomic_write(folder / "measure.json", json.dumps(record, indent=2, ensure_ascii=False) + "\n")
    atomic_write(folder / "latency.png", figure_png(latency_figure(speeds)))
    if measured.explained and measured.peaks:
        sections.append(roofline_section(measured.explained, measured.peaks))
        atomic_write(folder / "roofline.png", figure_png(roofline_figure(measured.explained, measured.peaks)))
    if len(speeds[0].latency) > 1:
        sections.append(batching_section(speeds))
    command = shlex.join(["model-optimization", "measure", *(speed.folder for speed in speeds)])
    report = Report(title="Variants side by side", project="model_optimization", command=command, sections=sections)
    atomic_write(folder / "report.html", render(report))
    print(f"report: {folder / 'report.html'}", file=sys.stderr)


def _cells(row: LatencyRow) -> list[str]:
    ratios = [f"{r.estimate:.2f} ({r.low:.2f} to {r.high:.2f})" if r else "-" for r in (row.speedup, row.cpu_speedup)]
    figures = [f"{value:.1f}" for value in (row.p50_ms, row.p95_ms, row.p99_ms, row.cpu_ms)]
    return [*figures, f"{row.texts_per_second:,.0f}", *ratios, str(row.blocks_rejected)]


def _aligned(rows: Sequence[Sequence[str]]) -> list[str]:
    """Columns of equal width, the first two to the left and numbers to the right."""
    columns = []
    for place, column in enumerate(zip(*rows, strict=True)):
        width = max(map(len, column))
        columns.append([cell.ljust(width) if place < 2 else cell.rjust(width) for cell in column])
    return ["  ".join(cells).rstrip() for cells in zip(*columns, strict=True)]
