"""The sections of a comparison's report that show figures: ranking, cross-domain matrix, label efficiency."""

from bert_sentiment.comparison import figures
from bert_sentiment.comparison.compared import Compared, short_names
from bert_sentiment.comparison.data_sets import NamedSplits, why_no_test
from bert_sentiment.comparison.measuring import Place
from bert_sentiment.comparison.scores import Entry, cross_matrix, curves
from roadmap_shared.metrics import Interval
from roadmap_shared.report import Block, Callout, Figure, Section, Table, Text
from roadmap_shared.report.blocks import Cell

FEW_TEXTS = 30
"""Test texts below which a percentile bootstrap interval is too narrow (`bootstrap_interval`)."""

_BOARD = (
    "model",
    "accuracy",
    "macro-F1",
    "behind the best by",
    "p (McNemar)",
    "verdict",
)


def ranking_section(compared: Compared) -> Section:
    """Every model on every data set, and what is known of the differences."""
    figure = figures.accuracy_figure({name: e for name, e in compared.boards.items() if e}, compared.names)
    compared.run.log_figure("accuracy", figure)
    blocks: list[Block] = [
        _overview(compared),
        Figure(
            figure,
            "Accuracy with 95 % bootstrap intervals. Blue: the best on this data set, and what cannot be told apart "
            "from it; orange: worse, by the paired comparison below.",
            "Accuracy of each model on each data set",
        ),
        *(_board(compared, data) for data in compared.data_sets),
        Text(
            "Every model is compared with the best one on the same test texts. **Cannot tell apart** means that the "
            "95 % interval of the paired difference holds 0: such a lead may be luck. The best one was picked on these "
            "texts, so that its own figure is a little too high where several are close. One seed was trained: "
            "intervals hold the choice of the test texts, not that of the seed."
        ),
    ]
    if small := [data for data in compared.data_sets if len(data.splits.test) < FEW_TEXTS]:
        told = ", ".join(f"{data.name} ({len(data.splits.test)})" for data in small)
        blocks.append(Callout(f"So few test texts that the intervals are too narrow: {told}.", "warning"))
    if compared.measured.failures:
        blocks.append(Callout(_failures(compared), "warning"))
    blocks.append(_costs(compared))
    return Section("Which model is best", blocks)


def _overview(compared: Compared) -> Table:
    accuracy = {
        (entry.model, data): entry.scores.accuracy for data, entries in compared.boards.items() for entry in entries
    }
    rows: list[list[Cell]] = []
    for model, name in short_names(compared.models).items():
        cells: list[Cell] = [
            "failed" if (model, data.name) in compared.measured.failures else accuracy.get((model, data.name))
            for data in compared.data_sets
        ]
        rows.append([name, *cells])
    headings = [data.name for data in compared.data_sets]
    return Table(
        ["model", *headings],
        rows,
        caption="Accuracy on the test texts of each data set, trained on its training texts; 95 % intervals.",
        highlight_best=dict.fromkeys(headings, "max"),
    )


def _board(compared: Compared, data: NamedSplits) -> Table:
    names = short_names(compared.models)
    rows: list[list[Cell]] = [_board_row(entry, names[entry.model]) for entry in compared.boards[data.name]]
    for (model, failed_on), _ in compared.measured.failures.items():
        if failed_on == data.name and Place(model, data.name, data.name) not in compared.measured.results:
            rows.append([names[model], *[None] * 4, "failed"])
    return Table(
        _BOARD,
        rows,
        caption=f"{data.name}: {len(data.splits.train):,} training, {len(data.splits.validation):,} validation and "
        f"{len(data.splits.test):,} test texts.",
    )


def _board_row(entry: Entry, name: str) -> list[Cell]:
    behind, test = entry.behind, entry.mcnemar
    return [
        name,
        entry.scores.accuracy,
        entry.scores.macro_f1,
        None if behind is None else Interval(behind.difference, behind.low, behind.high),
        None if test is None else "< 0.001" if test.p_value < 0.001 else f"{test.p_value:.3f}",
        entry.verdict,
    ]


def _costs(compared: Compared) -> Table:
    """Size and training time of each model."""
    rows: list[list[Cell]] = []
    for model, name in compared.names.items():
        own = [compared.measured.results.get(Place(model, data.name, data.name)) for data in compared.data_sets]
        found = [result for result in own if result is not None]
        sizes = [
            max((result.parameters for result in found), default=None),
            max((result.trained for result in found), default=None),
        ]
        rows.append([name, *sizes, *(None if result is None else result.seconds for result in own)])
    seconds = [f"seconds on {data.name}" for data in compared.data_sets]
    return Table(
        ["model", "parameters", "of them trained", *seconds],
        rows,
        caption="What it costs. Seconds: for training and choosing, on the machine that measured it. Parameters: of "
        "the largest where data sets differ in words or labels.",
        formats=dict.fromkeys(seconds, ".1f"),
    )


def _failures(compared: Compared) -> str:
    """One line a reason: a model that fails everywhere for one reason is named once."""
    by_reason: dict[tuple[str, str], list[str]] = {}
    for (model, data), reason in compared.measured.failures.items():
        by_reason.setdefault((model, reason), []).append(data)
    return "Could not be measured:\n\n" + "\n".join(
        f"- `{model}` on {', '.join(data)}: {reason}" for (model, reason), data in by_reason.items()
    )


def cross_section(compared: Compared) -> Section:
    """Trained on one data set, tested on another."""
    n_resamples = compared.config.n_resamples
    names = [data.name for data in compared.data_sets]
    matrices = {
        name: cross_matrix(compared.measured, compared.data_sets, model, n_resamples)
        for model, name in compared.names.items()
        if model != "majority" or len(compared.names) == 1
    }
    figure = figures.cross_figure(matrices, names)
    compared.run.log_figure("cross_domain", figure)
    rows: list[list[Cell]] = [
        [model, trained_on, *cells]
        for model, matrix in matrices.items()
        for trained_on, cells in zip(names, matrix, strict=True)
    ]
    blocks: list[Block] = [
        Figure(
            figure,
            "Accuracy by the data set trained on and the one tested on. Off the diagonal: what carries over.",
            "Heat maps of accuracy, one a model",
        ),
        Table(["model", "trained on", *names], rows, caption="The same with 95 % intervals; columns: tested on."),
    ]
    remarks = [
        f"{row.name} → {column.name} has no figure: {reason}."
        for row in compared.data_sets
        for column in compared.data_sets
        if row is not column and (reason := why_no_test(row, column))
    ]
    if remarks:
        blocks.append(Callout("\n".join(f"- {remark}" for remark in remarks)))
    return Section("What carries over to other texts", blocks)


def efficiency_section(compared: Compared) -> Section:
    """Accuracy by the number of training texts."""
    config = compared.config
    points = {
        data.name: curves(compared.measured, data, compared.models, config.n_resamples) for data in compared.data_sets
    }
    figure = figures.efficiency_figure({name: of for name, of in points.items() if of}, compared.names)
    compared.run.log_figure("label_efficiency", figure)
    rows: list[list[Cell]] = [
        [data, compared.names[model], point.n_texts, point.accuracy]
        for data, of_models in points.items()
        for model, of_model in of_models.items()
        for point in of_model
    ]
    blocks: list[Block] = [
        Figure(
            figure,
            "Accuracy on all test texts by the number of training texts, with 95 % intervals. Models stand a little "
            "beside each other.",
            "Label-efficiency curves",
        ),
        Table(["data set", "model", "training texts", "accuracy"], rows, formats={"training texts": ",d"}),
        Text(
            "Each smaller set of training texts lies within the larger one and has the labels in the same proportions. "
            "The validation texts, which choose checkpoint and penalty, are the same for all: at the left end they are "
            "more labels than the training texts."
        ),
    ]
    if compared.measured.left_out:
        blocks.append(Callout("Left out:\n\n" + "\n".join(f"- {reason}" for reason in compared.measured.left_out)))
    return Section("How many labels it takes", blocks)
