"""The report of a masked language model."""

from collections.abc import Sequence
from typing import Any

import torch

from roadmap_shared.metrics import Interval
from roadmap_shared.report import (
    Code,
    Figure,
    KeyFigure,
    KeyFigures,
    Report,
    Sample,
    Section,
    Text,
    figure_style,
    render,
)
from roadmap_shared.runs import Run
from transformer_from_scratch import figures
from transformer_from_scratch.config import MaskedLMConfig
from transformer_from_scratch.corpus import Corpus
from transformer_from_scratch.models import MaskedLM, count_parameters


def masked_lm_report(
    model: MaskedLM,
    corpus: Corpus,
    config: MaskedLMConfig,
    scores: dict[str, Any],
    examples: Sequence[tuple[str, str, str]],
    run: Run,
) -> str:
    """The whole page as HTML; also saves the loss curve in the run folder.

    Args:
        examples: windows as seen, as filled in, and as they are.
    """
    with figure_style():
        curve = figures.loss_curve(run.history(), {}, "nats per hidden token")
        run.log_figure("loss", curve)
        report = Report(
            title="An encoder that guesses hidden tokens",
            subtitle=f"{count_parameters(model):,} parameters, a view to both sides, "
            f"{100 * config.masking.share:g} % of the tokens to guess.",
            project="transformer_from_scratch",
            command=f"transformer-from-scratch mlm --config {run.folder / 'config.yaml'}",
            facts={
                "text": corpus.origin,
                "seed": str(run.seed),
                "PyTorch": torch.__version__,
                "seconds": round(run.seconds),
            },
            lead=[headline(scores)],
            sections=[
                Section("What it learned", [Figure(curve, "Loss on hidden tokens.", "loss against step")]),
                example_section(examples),
                Section(
                    "What to try next",
                    [
                        Text("Hide more, or never show the true token, and watch the accuracy:"),
                        Code(
                            "transformer-from-scratch mlm --masking.share 0.4 --masking.masked 1.0 --masking.replaced 0"
                        ),
                    ],
                ),
            ],
        )
        return render(report)


def headline(scores: dict[str, Any]) -> KeyFigures:
    """The figures at the top of the page."""
    loss = Interval(scores["val_loss"], scores["val_loss_low"], scores["val_loss_high"])
    accuracy = Interval(scores["val_accuracy"], scores["val_accuracy_low"], scores["val_accuracy_high"])
    return KeyFigures(
        [
            KeyFigure("right guesses", accuracy, "share of hidden validation tokens"),
            KeyFigure("baseline", round(scores["baseline_accuracy"], 3), "always the most frequent token"),
            KeyFigure("validation loss", loss, "nats per hidden token"),
            KeyFigure("training speed", round(scores["tokens_per_second"]), "hidden tokens per second"),
        ]
    )


def example_section(examples: Sequence[tuple[str, str, str]]) -> Section:
    """Validation windows before and after the model filled them in."""
    blocks = []
    for number, (seen, filled, true) in enumerate(examples, start=1):
        blocks.append(Sample(seen, f"window {number}: what it sees (▮ is hidden, some others are replaced)"))
        blocks.append(Sample(filled, "what it fills in"))
        blocks.append(Sample(true, "what stands there"))
    return Section("How it guesses", blocks)
