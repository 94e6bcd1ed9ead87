"""The report of a run."""

from dataclasses import dataclass
from functools import cached_property

from model_optimization.benchmarking.environment import environment
from model_optimization.benchmarking.figures import ParetoRow, pareto_figure
from model_optimization.benchmarking.harness import Failure
from model_optimization.benchmarking.peaks import measure_peaks
from model_optimization.benchmarking.roofline import explain
from model_optimization.benchmarking.sections import roofline_section, speed_section
from model_optimization.config.run import OptimizationConfig
from model_optimization.ledger.rows import Ledger, LedgerRow
from model_optimization.ledger.sections import (
    behaviour_section,
    flips_section,
    ledger_table,
    mixed_section,
    recipes_section,
    student_section,
)
from model_optimization.run_layout import VARIANTS
from model_optimization.types import Splits
from model_optimization.workshop import Workshop
from roadmap_shared.metrics import Interval
from roadmap_shared.report import Block, Callout, Code, Figure, KeyFigure, KeyFigures, Report, Section, Text, render
from roadmap_shared.runs import Run

KEPT_ACCURACY = 0.97
"""Share of the original's accuracy that the headline variant keeps at least."""


@dataclass(frozen=True, kw_only=True)
class Findings:
    """All that the report shows."""

    config: OptimizationConfig
    run: Run
    splits: Splits
    shop: Workshop
    ledger: Ledger
    chosen: LedgerRow
    """The variant that is served."""

    @cached_property
    def best(self) -> LedgerRow:
        """The fastest that keeps most of the accuracy: the headline."""
        return self.ledger.fastest(self.batch, keeps=KEPT_ACCURACY)

    @property
    def batch(self) -> int:
        """The batch size of the headline."""
        return self.config.benchmark.batch_sizes[0]


def ledger_report(found: Findings) -> str:
    """The whole page as HTML; also saves its figures in the run folder."""
    report = Report(
        title="The compression ledger",
        subtitle=f"{len(found.ledger.rows)} variants of one classifier: what each saves, and what it costs.",
        project="model_optimization",
        command=f"model-optimization run --config {found.run.folder / 'config.yaml'}",
        facts={
            "texts": f"{found.splits.origin}: {len(found.splits.train):,} to train, {len(found.splits.test):,} to test",
            "original": str(found.config.model.path or found.config.model.name),
            "seed": str(found.run.seed),
            "seconds": round(found.run.seconds),
        },
        lead=[headline(found)],
        sections=[
            ledger_section(found),
            *speed_sections(found),
            flips_section(found.ledger, list({row.name: row for row in (found.chosen, found.best)}.values())),
            behaviour_section(found.ledger),
            *precision_sections(found),
            student_section(found.ledger, found.splits.test),
            recipes_section(found.ledger),
            next_section(found),
        ],
    )
    return render(report)


def headline(found: Findings) -> KeyFigures:
    """The figures at the top of the page."""
    best, chosen, original = found.best, found.chosen, found.ledger.original
    figures = [
        KeyFigure("speed-up", best.speedup(found.batch) or 1.0, f"{best.name}, batch {found.batch}", "×"),
        KeyFigure("its accuracy", best.quality.accuracy, f"the original's: {original.quality.accuracy.estimate:.3f}"),
        KeyFigure("its size", best.size_mb, f"the original's: {original.size_mb:.1f} MB", "MB"),
        KeyFigure("served", chosen.speedup(found.batch) or 1.0, f"{chosen.name}, batch {found.batch}", "×"),
    ]
    if chosen.quality.flips is not None:
        figures.append(
            KeyFigure("its flips", _percent(chosen.quality.flips.share), "labels unlike the original's", "%")
        )
    return KeyFigures(figures)


def _percent(share: Interval) -> Interval:
    return Interval(100 * share.estimate, 100 * share.low, 100 * share.high)


def ledger_section(found: Findings) -> Section:
    """The table, and the trade as a figure."""
    rows = [
        ParetoRow(name=row.name, size_mb=row.size_mb, latency_ms=latency.p50_ms, accuracy=row.quality.accuracy)
        for row in found.ledger.rows
        if (latency := row.latency(found.batch)) is not None
    ]
    blocks: list[Block] = [ledger_table(found.ledger, found.config.benchmark.batch_sizes)]
    if rows:
        figure = pareto_figure(rows)
        found.run.log_figure("pareto", figure)
        blocks.append(Figure(figure, "Accuracy against size and latency. The line joins what no other variant beats."))
    return Section(
        "The ledger",
        blocks,
        f"Every variant on the same {len(found.splits.test):,} test texts, and on the same inputs for speed. **Flips** "
        "are texts that get another label than from the original: two models of equal accuracy may still differ on "
        "many texts. **Behaviour** is the share of authored pairs of texts that are told apart as they should be.",
    )


def speed_sections(found: Findings) -> list[Section]:
    """Latency and memory, and why they are so; nothing where no variant could be measured."""
    speeds = [row.speed for row in found.ledger.rows if row.speed is not None]
    failures = [Failure(name, reason) for name, reason in found.ledger.failures.items()]
    if not speeds:
        return [Section("Speed", [Callout(str(failure), "warning") for failure in failures])]
    machine = environment(found.config.benchmark.threads)
    peaks = measure_peaks(found.config.benchmark.threads)
    explained = explain(speeds, peaks, machine)
    sections = [speed_section(speeds, machine, failures)]
    return [*sections, roofline_section(explained, peaks)] if explained else sections


def precision_sections(found: Findings) -> list[Section]:
    """How the matrices that stay in fp32 were chosen."""
    mixed = found.shop.mixed
    if mixed is None:
        return []
    return [mixed_section(mixed, found.config.mixed)]


def next_section(found: Findings) -> Section:
    """What to do with the variants."""
    folder = found.run.folder / VARIANTS / found.chosen.name
    return Section(
        "What next",
        [
            Code(
                f"model-optimization serve --serve.variant {folder}\n"
                f"model-optimization predict --variant {folder} --texts 'A film to remember.'\n"
                f"model-optimization measure {found.run.folder / VARIANTS}/*\n"
                f"model-optimization docker --variant {folder} --output deployment"
            ),
            Text(
                "Try it on a model of your own: `model-optimization run --model.path FOLDER --data.path FILE`. The "
                "folder may hold any sequence classifier of transformers."
            ),
        ],
        f"**{found.chosen.name}** is the fastest variant within the limits: at most "
        f"{found.config.choice.max_flips:.0%} flips, at most {found.config.choice.max_accuracy_loss:.0%} of the texts "
        "lost.",
    )
