"""The arena's page."""

from typing import Any

import torch
import transformers

from bert_sentiment.arena.figures import accuracy_by_share_figure
from bert_sentiment.arena.standings import Standing, Standings, edge_of, edge_remark
from bert_sentiment.config import ArenaConfig
from bert_sentiment.data.types import Splits
from bert_sentiment.models.devices import find_device
from roadmap_shared.metrics import Interval
from roadmap_shared.report import (
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
    render,
)
from roadmap_shared.runs import Run


def arena_report(config: ArenaConfig, run: Run, splits: Splits, outcome: Standings, figures: dict[str, Any]) -> str:
    """The whole page as HTML; also saves its figure in the run folder."""
    best = outcome.ranked[0]
    report = Report(
        title="Fine-tuning methods in the arena",
        subtitle=f"{config.model.name} fine-tuned by {len(outcome.ranked)} methods, {best.steps:,} steps each.",
        project="bert_sentiment",
        command=f"bert-sentiment arena --config {run.folder / 'config.yaml'}",
        facts={
            "texts": splits.train.origin,
            "train / validation / test": f"{len(splits.train):,} / {len(splits.validation):,} / {len(splits.test):,}",
            "tuning seed": str(run.seed),
            "seeds per method": config.arena.n_seeds,
            "PyTorch, transformers": f"{torch.__version__}, {transformers.__version__}",
            "device": "GPU" if _on_gpu(config) else f"CPU, {torch.get_num_threads()} threads",
            "seconds": round(run.seconds),
        },
        lead=[headline(outcome)],
        sections=[
            accuracy_section(config, run, outcome, figures),
            cost_section(config, outcome),
            rates_section(config, outcome),
            next_section(run, outcome),
        ],
    )
    return render(report)


def headline(outcome: Standings) -> KeyFigures:
    """The best, and the smallest that is as good as far as these texts can tell."""
    best = outcome.ranked[0]
    smallest = min(outcome.indistinguishable, key=lambda standing: standing.trained)
    tiles = [
        KeyFigure("best accuracy", best.accuracy, f"{best.method}, mean over its seeds"),
        KeyFigure("trained by the smallest that is as good", f"{100 * smallest.share:.3g}", f"{smallest.method}", "%"),
        KeyFigure("not to be told from the best", len(outcome.indistinguishable) - 1, f"of {len(outcome.ranked) - 1}"),
    ]
    return KeyFigures(tiles)


def accuracy_section(config: ArenaConfig, run: Run, outcome: Standings, figures: dict[str, Any]) -> Section:
    """Accuracy beside the trained share; methods that could not be trained stand at the end with the reason."""
    rows: list[list[Any]] = [
        [
            standing.method,
            f"{100 * standing.share:.3g}\N{NO-BREAK SPACE}%",
            standing.accuracy,
            standing.accuracy_spread,
            standing.macro_f1,
            standing.macro_f1_spread,
            _difference(standing),
            verdict(standing),
        ]
        for standing in outcome.ranked
    ]
    rows += [[method, *[None] * 6, f"dead end: {reason}"] for method, reason in outcome.dead_ends.items()]
    columns = ["method", "trained", "accuracy", "± seeds", "macro-F1", "± seeds (F1)", "against the best", "verdict"]
    figure = accuracy_by_share_figure(outcome.ranked)
    run.log_figure("accuracy_by_share", figure)
    table = Table(
        columns,
        rows,
        caption=f"Means over {config.arena.n_seeds} seeds. Intervals are 95 % bootstrap intervals over the test texts, "
        "the difference paired on the same texts, each text's result averaged over the seeds; ± is the standard "
        "deviation over the seeds, which the intervals do not hold.",
        formats={name: ".3f" for name in ("± seeds", "macro-F1", "± seeds (F1)")},
    )
    text = Text(
        f"Without fine-tuning: the most frequent label has an accuracy of {figures['baseline_majority_accuracy']:.3f}, "
        f"TF-IDF and logistic regression {figures['baseline_tfidf_accuracy']:.3f}."
    )
    caption = (
        "Blue: cannot be told from the best. Orange: worse than it, on the same texts. The best was chosen on these "
        "texts too, and is a little flattered by that."
    )
    return Section("How good they are", [table, text, Figure(figure, caption, "Accuracy by share of trained weights")])


def verdict(standing: Standing) -> str:
    """What the paired difference allows to say."""
    if standing.against_best is None:
        return "the best"
    return "worse" if standing.is_told_apart else "cannot tell apart"


def _difference(standing: Standing) -> Interval | None:
    paired = standing.against_best
    return None if paired is None else Interval(paired.difference, paired.low, paired.high)


def cost_section(config: ArenaConfig, outcome: Standings) -> Section:
    """What each method takes and what it loses."""
    memory = "memory (MB)"
    rows: list[list[Any]] = [
        [
            standing.method,
            standing.trained,
            standing.seconds_per_step,
            standing.peak_memory_mb,
            standing.file_bytes / 1e6,
            standing.forgetting,
        ]
        for standing in outcome.ranked
    ]
    table = Table(
        ["method", "trained numbers", "seconds a step", memory, "file (MB)", "forgetting"],
        rows,
        caption="Seconds of the median step, without evaluations. "
        + (
            "Memory: what PyTorch allocated at most on the GPU."
            if _on_gpu(config)
            else "Memory: what the process had resident at most, Python and PyTorch included; a dash where all methods "
            "shared one process."
        ),
        highlight_best={"seconds a step": "min", memory: "min", "file (MB)": "min", "forgetting": "min"},
        formats={"seconds a step": ".3f", memory: ",.0f", "file (MB)": ".2f", "forgetting": ".2f"},
    )
    text = Text(
        "Forgetting is measured on paragraphs that have nothing to do with sentiment: the share of each paragraph's 10 "
        "nearest neighbours, by the encoder's mean hidden state, that are others after fine-tuning. The file is what "
        "has to be kept beside the pretrained encoder. Methods that add weights can be taken off again, and then "
        "nothing is forgotten; what `full` and `bitfit` overwrite is gone. `head` changes nothing in the encoder, so "
        "its value is 0."
    )
    return Section("What they cost", [table, text])


def rates_section(config: ArenaConfig, outcome: Standings) -> Section:
    """How much the choice of the learning rate matters."""
    metric = config.trainer.metric.replace("_", "-")
    rows: list[list[Any]] = []
    for method, scores in outcome.rates.items():
        for score in scores:
            edge = edge_of(score.rate, config.rates.of(method))
            chosen = f"chosen, the {edge} of its grid" if edge else "chosen"
            note = chosen if score.chosen else score.failure or ""
            rows.append([method, f"{score.rate:g}", score.validation, score.best_step, note])
    blocks: list[Block] = [
        Table(
            ["method", "learning rate", f"validation {metric}", "best step", "note"],
            rows,
            caption="One training per rate, all from one seed; the best evaluation of each.",
            formats={f"validation {metric}": ".3f"},
        )
    ]
    if remark := edge_remark(outcome.ranked):
        blocks.append(Callout(f"{remark}. Wider grids: `--config arena_full`, or `--rates.METHOD`.", "warning"))
    return Section("How much the learning rate matters", blocks)


def next_section(run: Run, outcome: Standings) -> Section:
    """Commands to go on with."""
    smallest = min(outcome.indistinguishable, key=lambda standing: standing.trained)
    command = f"bert-sentiment run --method.name {smallest.method} --trainer.learning_rate {smallest.rate:g}"
    again = f"bert-sentiment arena --config {run.folder / 'config.yaml'} --run.resume {run.folder}"
    return Section(
        "What to try next",
        [
            Text("Train the smallest method that is as good, and use it:"),
            Code(command),
            Text("Add rates to a grid; what is trained already is not trained again:"),
            Code(f"{again} --rates.{smallest.method} {smallest.rate / 2:g} {smallest.rate:g} {smallest.rate * 2:g}"),
        ],
    )


def _on_gpu(config: ArenaConfig) -> bool:
    return find_device(config.trainer.device).type == "cuda"
