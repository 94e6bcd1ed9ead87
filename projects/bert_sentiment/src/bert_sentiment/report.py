"""The report of a fine-tuned classifier."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import transformers

from bert_sentiment.config import SentimentConfig
from bert_sentiment.data.check_results import DataCheck
from bert_sentiment.data.check_sentences import only_label
from bert_sentiment.data.types import Splits
from bert_sentiment.evaluation import visualization
from bert_sentiment.evaluation.metrics import Comparison, Evaluation
from bert_sentiment.models.bert_classifier import SentimentModel
from bert_sentiment.models.trainer import TrainingResult
from bert_sentiment.report_behaviour import behaviour_section
from bert_sentiment.report_data import data_section, short
from roadmap_shared.metrics import (
    Interval,
    average_precision,
    class_scores,
    confusion_matrix,
    one_vs_rest,
    reliability_bins,
    roc_auc,
)
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

BASELINES = {
    "majority": "most frequent label",
    "tfidf": "TF-IDF + logistic regression",
    "frozen": "encoder as it was + logistic regression",
}


@dataclass(frozen=True)
class TrainedRun:
    """All that the report shows."""

    config: SentimentConfig
    run: Run
    splits: Splits
    model: SentimentModel
    check: DataCheck
    training: TrainingResult
    evaluation: Evaluation


def sentiment_report(trained: TrainedRun, figures: dict[str, Any]) -> str:
    """The whole page as HTML; also saves its figures in the run folder."""
    config, splits = trained.config, trained.splits
    encoder = config.model.name
    report = Report(
        title="A sentiment classifier",
        subtitle=f"{encoder} fine-tuned on {len(splits.train):,} texts with the labels {', '.join(splits.labels)}.",
        project="bert_sentiment",
        command=f"bert-sentiment run --config {trained.run.folder / 'config.yaml'}",
        facts={
            "texts": splits.train.origin,
            "train / validation / test": f"{len(splits.train):,} / {len(splits.validation):,} / {len(splits.test):,}",
            "seed": str(trained.run.seed),
            "PyTorch, transformers": f"{torch.__version__}, {transformers.__version__}",
            "seconds": round(trained.run.seconds),
        },
        lead=[headline(trained.evaluation, figures)],
        sections=[
            comparison_section(trained.evaluation),
            training_section(trained, figures),
            errors_section(trained),
            probability_section(trained, figures),
            behaviour_section(trained.evaluation),
            data_section(trained.check, splits, trained.model.tokenizer, trained.run),
            next_section(trained),
        ],
    )
    return render(report)


def headline(evaluation: Evaluation, figures: dict[str, Any]) -> KeyFigures:
    """The figures at the top of the page."""
    tfidf = evaluation.baselines["tfidf"]
    gain = Interval(tfidf.gain.difference, tfidf.gain.low, tfidf.gain.high)
    return KeyFigures(
        [
            KeyFigure("accuracy", evaluation.overall.accuracy, f"share of {evaluation.overall.n:,} test texts"),
            KeyFigure("macro-F1", evaluation.overall.macro_f1, "mean over the labels"),
            KeyFigure("gain over the words alone", gain, "accuracy, against TF-IDF + logistic regression"),
            KeyFigure("calibration error", round(figures["calibration_error"], 3), "confidence against accuracy"),
        ]
    )


def comparison_section(evaluation: Evaluation) -> Section:
    """Baselines and domains."""
    rows: list[list[Any]] = [
        [BASELINES.get(name, name), item.scores.accuracy, item.scores.macro_f1, _gain(item), _p_value(item)]
        for name, item in evaluation.baselines.items()
    ]
    rows.append(["this classifier", evaluation.overall.accuracy, evaluation.overall.macro_f1, None, None])
    blocks: list[Block] = [
        Table(
            ["classifier", "accuracy", "macro-F1", "this one is better by", "p (McNemar)"],
            rows,
            caption="On the same test texts; 95 % bootstrap intervals, the differences paired.",
        )
    ]
    if evaluation.domains:
        blocks.append(
            Table(
                ["domain", "texts", "accuracy", "macro-F1"],
                [[name, scores.n, scores.accuracy, scores.macro_f1] for name, scores in evaluation.domains.items()],
                caption="The same classifier on each domain.",
            )
        )
    return Section("How good it is", blocks)


def _gain(comparison: Comparison) -> Interval:
    return Interval(comparison.gain.difference, comparison.gain.low, comparison.gain.high)


def _p_value(comparison: Comparison) -> str:
    return "< 0.001" if comparison.mcnemar.p_value < 0.001 else f"{comparison.mcnemar.p_value:.3f}"


def training_section(trained: TrainedRun, figures: dict[str, Any]) -> Section:
    """The learning curve and what was kept."""
    result, metric = trained.training, trained.config.trainer.metric
    figure = visualization.learning_curve_figure(trained.run.history(), result.best_step)
    trained.run.log_figure("learning_curve", figure)
    return Section(
        "How it was trained",
        [
            Text(
                f"{result.epochs:.3g} epochs of at most {trained.config.trainer.epochs}, {result.steps:,} steps. The "
                f"weights of step {result.best_step:,} were kept: the best validation {metric.replace('_', '-')}, "
                f"{result.best_metric:.4f}. Method: {trained.config.method.name}, {figures['trained_parameters']:,} "
                f"numbers trained ({100 * figures['trained_share']:.3g} % of all)."
            ),
            Figure(figure, "Losses and validation figures by step.", "Training and validation curves by step"),
        ],
    )


def errors_section(trained: TrainedRun) -> Section:
    """Confusions, slices, confident mistakes."""
    evaluation, test = trained.evaluation, trained.splits.test
    predicted = evaluation.probabilities.argmax(axis=1)
    matrix = confusion_matrix(predicted, test.targets, len(test.labels))
    confusion = visualization.confusion_figure(matrix, test.labels)
    shown = {f"{item.kind}: {item.name}": (item.accuracy, item.n) for item in evaluation.slices if not item.too_small}
    slices = visualization.slices_figure(shown, evaluation.overall.accuracy.estimate)
    trained.run.log_figure("confusion", confusion)
    trained.run.log_figure("slices", slices)
    per_label = class_scores(matrix)
    blocks: list[Block] = [
        Figure(confusion, "Rows are the right labels, columns what was predicted.", "Confusion matrix"),
        Table(
            ["label", "precision", "recall", "F1", "texts"],
            [
                [
                    label,
                    *(float(column[index]) for column in (per_label.precision, per_label.recall, per_label.f1)),
                    int(per_label.support[index]),
                ]
                for index, label in enumerate(test.labels)
            ],
            formats={"precision": ".3f", "recall": ".3f", "F1": ".3f"},
        ),
        Figure(
            slices,
            "Accuracy with 95 % intervals on groups of test texts, the worst first. Groups overlap; of many, some are "
            "low by chance.",
            "Accuracy by domain, tag, length and label",
        ),
    ]
    if evaluation.mistakes:
        rows = [
            [short(item.example.text), test.labels[item.example.label], test.labels[item.predicted], item.probability]
            for item in evaluation.mistakes
        ]
        blocks.append(
            Table(
                ["text", "right", "predicted", "probability"],
                rows,
                caption="The mistakes it was most sure of.",
                formats={"probability": ".2f"},
            )
        )
    return Section("Where it fails", blocks)


def probability_section(trained: TrainedRun, figures: dict[str, Any]) -> Section:
    """Calibration, confidence, ranking."""
    evaluation, test, bins = trained.evaluation, trained.splits.test, trained.config.evaluation.calibration_bins
    targets = np.array(test.targets)
    reliability = visualization.reliability_figure(
        reliability_bins(evaluation.raw, targets, bins), reliability_bins(evaluation.probabilities, targets, bins)
    )
    confidence = visualization.confidence_figure(evaluation.probabilities, targets)
    curves = visualization.roc_pr_figure(evaluation.probabilities, targets, test.labels)
    for name, figure in (("reliability", reliability), ("confidence", confidence), ("roc_pr", curves)):
        trained.run.log_figure(name, figure)
    areas = one_vs_rest(roc_auc, evaluation.probabilities, targets)
    precisions = one_vs_rest(average_precision, evaluation.probabilities, targets)
    only = only_label({label: test.targets.count(index) for index, label in enumerate(test.labels)})
    one_label = f" Every test text has the label '{only}': no label can be ranked against another." if only else ""
    return Section(
        "What its probabilities are worth",
        [
            Text(
                f"Divided by a temperature of {trained.model.temperature:.2f}, fitted on the validation texts, the "
                f"logits give probabilities whose calibration error is {figures['calibration_error']:.3f} instead of "
                f"{figures['calibration_error_before']:.3f}. No decision changes by it.{one_label}"
            ),
            Figure(reliability, "Confidence against accuracy, before and after.", "Reliability diagram"),
            Figure(
                confidence,
                "Right: how accurate it is on the texts that it answers, where it says `unsure` below a threshold.",
                "Confidence of right and wrong predictions",
            ),
            Figure(curves, "One label against the others.", "ROC and precision-recall curves"),
            Table(
                ["label", "area under ROC", "average precision"],
                [
                    [label, float(area), float(precision)]
                    for label, area, precision in zip(test.labels, areas, precisions, strict=True)
                ],
                formats={"area under ROC": ".3f", "average precision": ".3f"},
            ),
        ],
    )


def next_section(trained: TrainedRun) -> Section:
    """Commands to go on with."""
    return Section(
        "What to try next",
        [
            Text("Use it, on a text or on a file:"),
            Code('bert-sentiment predict --explain True "I expected to hate it, and I did not."'),
            Code("bert-sentiment predict --input reviews.csv"),
            Text("Train on one domain and see how far it carries to the others:"),
            Code("bert-sentiment run --data.domains films"),
            Text("Your own texts, columns found by their names:"),
            Code("bert-sentiment run --data.path my_reviews.csv"),
            Callout(where_the_model_is(trained), "tip"),
        ],
    )


def where_the_model_is(trained: TrainedRun) -> str:
    """What the model folder holds, and what reads it."""
    folder, method = trained.run.folder / "model", trained.config.method.name
    if (folder / "config.json").is_file():
        return f"The model lies in `{folder}`, a folder that transformers' `from_pretrained` reads as it is."
    return f"`{folder}` holds what {method} trained; `bert-sentiment predict` puts it on the encoder again."
