"""The report of `drift` as one self-contained page."""

import matplotlib.figure

from model_optimization.monitoring.drift_report import DriftReport
from model_optimization.monitoring.performance_metrics import Performance
from roadmap_shared.report import Figure, Report, Section, Table, Text, figure_style, render


def drift_page(report: DriftReport, figures: Performance, log: str) -> str:
    """HTML of the report."""
    first = report.first_alarm
    said = (
        f"None of {len(report.windows)} windows is off."
        if first is None
        else f"The first window that is off ends at request {first.end:,}: {first.largest} stands out."
    )
    return render(
        Report(
            title="Drift of the requests",
            project="model_optimization",
            command=f"model-optimization drift --log {log}",
            lead=[Text(said)],
            sections=[
                Section("Windows in their order", [_windows(report)]),
                Section("The whole log", [_findings(report)]),
                Section("Answers", [_answers(figures)]),
            ],
        )
    )


def _windows(report: DriftReport) -> Figure:
    with figure_style():
        figure = matplotlib.figure.Figure(figsize=(7.2, 3.2))
        axes = figure.subplots()
        ends = [window.end for window in report.windows]
        largest = [window.scores[window.largest] for window in report.windows]
        axes.plot(ends, largest, marker="o")
        axes.axhline(report.threshold, linestyle="--", color="C1", label="threshold")
        axes.set_yscale("symlog", linthresh=10)
        axes.set_xlabel("requests")
        axes.set_ylabel("standard deviations")
        axes.legend()
    off = sum(window.drift for window in report.windows)
    return Figure(
        figure,
        f"The largest score of all detectors in each window of {report.monitor.window} requests.",
        alt=f"{off} of {len(report.windows)} windows lie above the threshold.",
    )


def _findings(report: DriftReport) -> Table:
    rows = [
        [
            finding.feature,
            finding.test,
            finding.statistic,
            f"{finding.corrected:.2g}",
            "drift" if finding.drift else "",
            finding.reference,
            finding.current,
        ]
        for finding in report.findings
    ]
    header = ["feature", "test", "statistic", "p, corrected (Holm)", "", "reference", "log"]
    return Table(header, rows, "Each test once, over all answers of the log.")


def _answers(figures: Performance) -> Table:
    rows = [
        ["answers and errors", figures.n_records],
        ["latency p50, ms", figures.p50_ms],
        ["latency p95, ms", figures.p95_ms],
        ["latency p99, ms", figures.p99_ms],
        ["mean confidence", figures.mean_confidence],
        ["share of errors", figures.error_share],
    ]
    return Table(["figure", "value"], rows, "What the log holds, the reference included where it is its beginning.")
