"""How a language model was trained, as a section of the report."""

from collections.abc import Mapping, Sequence
from typing import Any

from matplotlib.figure import Figure as Drawing

from roadmap_shared.report import PALETTE, Figure, Section, Text, figure_style
from roadmap_shared.runs import Run
from text_generation.config import GenerationConfig
from text_generation.corpora.types import KIND_NAMES, Corpus, Document, Kind, texts_of


def training_section(run: Run, config: GenerationConfig, corpus: Corpus) -> Section:
    """The learning curve."""
    history = run.history()
    figure = learning_curve(history)
    run.log_figure("learning_curve", figure)
    trainer, context = config.trainer, config.model.context
    tokens = trainer.steps * trainer.batch_size * context
    return Section(
        "How it was trained",
        [
            Text(
                f"{trainer.steps:,} steps of {trainer.batch_size} windows of {context} tokens, "
                f"{tokens / 1e6:.1f} million tokens in all, with {trainer.optimizer} at a peak rate of "
                f"{trainer.learning_rate:g}."
            ),
            Figure(
                figure,
                f"Loss in nats a token. {mixture(corpus)}".strip(),
                alt="Training and validation loss fall with the steps.",
            ),
        ],
    )


def mixture(corpus: Corpus) -> str:
    """What share of each part is of which kind: parts that are mixed otherwise are not equally hard. Empty where all
    documents are of one kind."""

    def share(documents: Sequence[Document], kind: Kind) -> str:
        lengths = {name: sum(map(len, texts_of(documents, name))) for name in corpus.kinds}
        return f"{lengths[kind] / max(1, sum(lengths.values())):.0%}"

    if len(corpus.kinds) < 2:
        return ""
    kind = corpus.kinds[0]
    return (
        f"{KIND_NAMES[kind].capitalize()} are {share(corpus.train, kind)} of the training text and "
        f"{share(corpus.validation, kind)} of what is held out, so the two curves are not equally hard."
    )


@figure_style()
def learning_curve(history: Sequence[Mapping[str, Any]]) -> Drawing:
    """Training loss of each step and validation loss where it was measured."""
    figure = Drawing(figsize=(7.2, 3.2))
    axis = figure.subplots()
    axis.plot(
        [line["step"] for line in history],
        [line["loss"] for line in history],
        color=PALETTE[0],
        label="training",
        lw=0.9,
    )
    measured = [line for line in history if "val_loss" in line]
    axis.plot(
        [line["step"] for line in measured],
        [line["val_loss"] for line in measured],
        color=PALETTE[1],
        marker="o",
        label="held out",
    )
    axis.set_xlabel("step")
    axis.set_ylabel("nats a token")
    axis.grid(True)
    axis.legend()
    return figure
