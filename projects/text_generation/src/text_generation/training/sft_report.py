"""The page and the figures of a `finetune` or `align` run."""

from collections.abc import Sequence
from typing import Any

from matplotlib.figure import Figure as Drawing

from roadmap_shared.report import (
    PALETTE,
    Block,
    Callout,
    Code,
    Figure,
    KeyFigure,
    KeyFigures,
    Report,
    Section,
    Table,
    Text,
    figure_style,
    render,
)
from roadmap_shared.runs import Run
from text_generation.config.finetuning import AlignConfig, FinetuneConfig
from text_generation.corpora.types import Reject
from text_generation.run_layout import PROJECT
from text_generation.training.demonstration_stages import Stage, stage_blocks, stage_figures
from text_generation.training.sft import Tuned

SHOWN_REJECTS = 20
_CURVES = ("loss", "pairs_right", "reward")


def tuning_summary(tuned: Tuned, stages: Sequence[Stage], n_rejected: int) -> dict[str, Any]:
    """The final figures under flat keys, the headline first: obedience where it was measured, else the loss."""
    last = tuned.history[-1] if tuned.history else {}
    figures: dict[str, Any] = {}
    if stages:
        rate, before = stages[-1].obedience.rate("obeyed"), stages[0].obedience.rate("obeyed")
        figures |= {
            "requests_obeyed": rate.estimate,
            "requests_obeyed_low": rate.low,
            "requests_obeyed_high": rate.high,
        }
        figures["baseline_requests_obeyed"] = before.estimate
    if tuned.val_after is not None:
        figures |= {"val_loss": tuned.val_after, "baseline_val_loss": tuned.val_before}
    figures |= {name: last[name] for name in _CURVES if name in last}
    figures |= {"n_rows": tuned.n_rows, "n_too_long": len(tuned.left_out), "n_rejected": n_rejected}
    return figures | stage_figures(stages)


def tuning_report(
    config: FinetuneConfig | AlignConfig,
    run: Run,
    tuned: Tuned,
    stages: Sequence[Stage],
    rejects: Sequence[Reject],
    origin: str,
) -> str:
    """The whole page as HTML; also saves its figures in the run folder."""
    command = f"text-generation {run.command} --config {run.folder / 'config.yaml'}"
    report = Report(
        title="Fine-tuning on conversations" if run.command == "finetune" else "Alignment with preferences",
        subtitle=f"{tuned.model.name}, {tuned.n_rows:,} rows.",
        project=PROJECT,
        command=command,
        facts={
            "model": tuned.model.name,
            "data": origin,
            "weights": config.adapter.method,
            "result": str(tuned.folder),
            "seed": str(run.seed),
            "seconds": round(run.seconds),
        },
        lead=[KeyFigures(key_figures(tuned, stages))],
        sections=[
            training_section(run, tuned),
            *([Section("Does it do what it is asked?", stage_blocks(stages))] if stages else []),
            *([rejects_section([*rejects, *tuned.left_out])] if rejects or tuned.left_out else []),
            next_section(run, tuned),
        ],
    )
    return render(report)


def key_figures(tuned: Tuned, stages: Sequence[Stage]) -> list[KeyFigure]:
    """The figures at the top of the page."""
    figures: list[KeyFigure] = [KeyFigure("rows", tuned.n_rows)]
    if tuned.val_after is not None:
        figures.append(KeyFigure("nats per answer token", f"{tuned.val_after:.3f}", f"before {tuned.val_before:.3f}"))
    if stages:
        before = stages[0].obedience.rate("obeyed").estimate
        rate = stages[-1].obedience.rate("obeyed")
        figures.append(KeyFigure("requests obeyed", rate, f"before {before:.2f}"))
    return figures


def training_section(run: Run, tuned: Tuned) -> Section:
    """The learning curves of what was logged."""
    blocks: list[Block] = []
    history = run.history()
    for name in _CURVES:
        points = [(line["step"], line[name]) for line in history if name in line]
        if points:
            figure = curve(points, name.replace("_", " "))
            run.log_figure(name, figure)
            blocks.append(
                Figure(figure, f"{name.replace('_', ' ').capitalize()} of each step.", alt="A curve by step.")
            )
    if tuned.val_after is not None:
        before, after = f"{tuned.val_before:.3f}", f"{tuned.val_after:.3f}"
        blocks.append(Text(f"On held-out conversations: {before} nats per answer token before, {after} after."))
    return Section("Training", blocks or [Text("No step was taken.")])


@figure_style()
def curve(points: Sequence[tuple[int, float]], name: str) -> Drawing:
    """One figure over the steps."""
    figure = Drawing(figsize=(7.2, 2.8))
    axis = figure.subplots()
    axis.plot([step for step, _ in points], [value for _, value in points], color=PALETTE[0], lw=0.9)
    axis.set_xlabel("step")
    axis.set_ylabel(name)
    axis.grid(True)
    return figure


def rejects_section(rejects: Sequence[Reject]) -> Section:
    """Rows that could not be used."""
    rows: list[list[Any]] = [[reject.source, reject.reason] for reject in rejects[:SHOWN_REJECTS]]
    return Section(
        "Rows left out",
        [Table(["row", "why"], rows, caption=f"{len(rejects):,} in all, the first {len(rows)} of them.")],
    )


def next_section(run: Run, tuned: Tuned) -> Section:
    """What can be done with the result."""
    folder = tuned.folder
    commands = f"text-generation serve --backend.model {folder}\ntext-generation run --model.name {folder}"
    if run.command == "finetune":
        commands += f"\ntext-generation align --model.name {folder}"
    return Section("What to try next", [Callout(f"The model lies in `{folder}`.", kind="tip"), Code(commands)])
