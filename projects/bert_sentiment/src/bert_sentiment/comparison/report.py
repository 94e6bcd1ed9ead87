"""The report of a comparison."""

import sklearn
import torch
import transformers

from bert_sentiment.comparison.compared import Compared, short_names
from bert_sentiment.comparison.data_sets import shared_texts
from bert_sentiment.comparison.sections import cross_section, efficiency_section, ranking_section
from roadmap_shared.report import (
    Block,
    Callout,
    Code,
    KeyFigure,
    KeyFigures,
    Report,
    Section,
    Table,
    Text,
    render,
)
from roadmap_shared.report.blocks import Cell


def comparison_report(compared: Compared) -> str:
    """The whole page as HTML; also saves its figures in the run folder."""
    config, run, measured = compared.config, compared.run, compared.measured
    sections = [ranking_section(compared)]
    if config.cross_domain and len(compared.data_sets) > 1:
        sections.append(cross_section(compared))
    if len({place.share for place in measured.results}) > 1 or measured.left_out:
        sections.append(efficiency_section(compared))
    sections += [data_section(compared), next_section(compared)]
    report = Report(
        title="Sentiment models compared",
        subtitle=f"{_count(len(config.models), 'model')} on {_count(len(compared.data_sets), 'data set')}.",
        project="bert_sentiment",
        command=f"bert-sentiment compare --config {run.folder / 'config.yaml'}",
        facts={
            "fits": f"{measured.n_measured} measured, {measured.n_kept} kept from earlier comparisons",
            "seed": str(run.seed),
            "PyTorch, transformers, scikit-learn": ", ".join(
                (torch.__version__, transformers.__version__, sklearn.__version__)
            ),
            "seconds": round(run.seconds),
        },
        lead=[headline(compared)],
        sections=sections,
    )
    return render(report)


def headline(compared: Compared) -> KeyFigures:
    """The figures at the top of the page."""
    best, boards = compared.best, compared.boards
    on = "its test texts" if len(boards) == 1 else "mean over the data sets"
    name = short_names(compared.models)[best.model]
    tiles = [
        KeyFigure("best model", name),
        KeyFigure("its accuracy", best.accuracy, on),
        KeyFigure("its macro-F1", round(best.macro_f1, 3), "mean over the labels"),
    ]
    verdicts = [entry.verdict for entries in boards.values() for entry in entries[1:]]
    close = f"{verdicts.count('cannot tell apart')} of {len(verdicts)}"
    return KeyFigures([*tiles, KeyFigure("too close to call", close, "comparisons with the best one on a data set")])


def data_section(compared: Compared) -> Section:
    """Where the texts come from, and whether they overlap."""
    rows: list[list[Cell]] = [
        [
            data.name,
            *map(len, (splits.train, splits.validation, splits.test)),
            ", ".join(data.labels),
            splits.train.origin,
        ]
        for data in compared.data_sets
        for splits in [data.splits]
    ]
    blocks: list[Block] = [Table(["data set", "training", "validation", "test", "labels", "origin"], rows)]
    overlaps = [
        f"{count:,} of the {len(column.splits.test):,} test texts of {column.name} are among the training or "
        f"validation texts of {row.name}: {'its own figures' if row is column else f'{row.name} → {column.name}'} "
        f"{'are' if row is column else 'is'} too high."
        for row in compared.data_sets
        for column in compared.data_sets
        if (count := shared_texts(row, column))
    ]
    if overlaps:
        blocks.append(Callout("\n".join(f"- {overlap}" for overlap in overlaps), "warning"))
    return Section("The texts", blocks)


def next_section(compared: Compared) -> Section:
    """Commands to go on with."""
    again = f"bert-sentiment compare --config {compared.run.folder / 'config.yaml'}"
    models = " ".join([*compared.models, "finetune:distilbert-base-uncased"])
    return Section(
        "What to try next",
        [
            Text("One more model; what has been measured is kept and costs nothing:"),
            Code(f"{again} --models {models}"),
            Text("Your own texts beside the built-in ones:"),
            Code("bert-sentiment compare --datasets all mine=my_reviews.csv"),
            Text("Several ways of fine-tuning one encoder:"),
            Code("bert-sentiment arena"),
        ],
    )


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"
