"""The newest finished run, as the page shows it: key figures, confusions, confidence, confident mistakes."""

import json
import threading
from dataclasses import dataclass
from functools import cached_property
from html import escape
from pathlib import Path
from typing import Any

import numpy as np

from bert_sentiment.app import markup
from bert_sentiment.evaluation.visualization import confidence_figure, confusion_figure
from bert_sentiment.inference.model_folders import runs_folder
from bert_sentiment.run_layout import PREDICTIONS, PROJECT
from roadmap_shared.errors import UserError, one_line
from roadmap_shared.metrics import Interval, confusion_matrix
from roadmap_shared.report import figure_svg, format_interval

SUMMARY_FILE = "summary.json"
N_MISTAKES = 12

_drawing = threading.Lock()  # matplotlib's settings are one for the whole process


@dataclass(frozen=True)
class FinishedRun:
    """What a run left behind. `rows` are the lines of its predictions."""

    name: str
    summary: dict[str, Any]
    rows: list[dict[str, Any]]

    @classmethod
    def read(cls, folder: Path) -> "FinishedRun":
        """Read a run folder.

        Raises:
            UserError: a file of it is damaged.
        """
        try:
            summary = json.loads((folder / SUMMARY_FILE).read_text(encoding="utf-8"))
            lines = (folder / PREDICTIONS).read_text(encoding="utf-8").splitlines()
            run = cls(folder.resolve().name, dict(summary), [json.loads(line) for line in lines if line.strip()])
            if not run.rows:
                raise ValueError("no predictions")
            _ = run.probabilities, run.targets
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            problem = one_line(error.strerror if isinstance(error, OSError) else repr(error))
            raise UserError(f"The run {folder.name} cannot be shown, a file in it is damaged: {problem}") from error
        return run

    @property
    def labels(self) -> tuple[str, ...]:
        return tuple(self.rows[0]["probabilities"])

    @cached_property
    def probabilities(self) -> np.ndarray:
        """(N, K), in the order of `labels`."""
        return np.array([[float(row["probabilities"][label]) for label in self.labels] for row in self.rows])

    @cached_property
    def targets(self) -> np.ndarray:
        """(N,) index of each text's label."""
        return np.array([self.labels.index(row["label"]) for row in self.rows])


def newest_run(root: Path) -> Path | None:
    """The folder of the newest run that has ended and says what it predicted."""
    runs = runs_folder(root) / PROJECT
    whole = (path.parent for path in runs.glob(f"*/{SUMMARY_FILE}") if (path.parent / PREDICTIONS).is_file())
    return max((folder for folder in whole if not folder.is_symlink()), key=lambda folder: folder.name, default=None)


def last_run_html(root: Path) -> str:
    """The whole tab."""
    folder = newest_run(root)
    if folder is None:
        return markup.note("No run has ended yet. Start one with: bert-sentiment run")
    try:
        run = FinishedRun.read(folder)
    except UserError as error:
        return markup.problem(str(error))
    return "".join(
        [
            markup.heading(run.name),
            markup.key_figures(key_figures(run)),
            markup.heading("Which labels are taken for which"),
            markup.note("Rows are the right labels, columns what was predicted; the diagonal is right."),
            _figure(confusion_svg(run), "Confusion matrix"),
            markup.heading("How sure it is"),
            markup.note(
                "Left: mistakes at the right end are the confident ones. Right: accuracy on the texts that are left "
                "when the least sure are handed to a person."
            ),
            _figure(confidence_svg(run), "Confidence of right and wrong predictions"),
            markup.heading("Mistakes it was most sure of"),
            mistakes_table(run),
        ]
    )


def key_figures(run: FinishedRun) -> list[tuple[str, str, str]]:
    """Name, value and remark of what `summary.json` holds; what it lacks is left out."""
    figures: list[tuple[str, str, str]] = []
    for key, name in (("accuracy", "accuracy"), ("macro_f1", "macro-F1")):
        parts = [run.summary.get(part) for part in (key, f"{key}_low", f"{key}_high")]
        if all(isinstance(part, float | int) for part in parts):
            value, spread = format_interval(Interval(*(float(part) for part in parts if part is not None)))
            figures.append((name, value, f"95 % interval {spread}"))
    for key, name, remark in (
        ("baseline_tfidf_accuracy", "words alone", "accuracy of TF-IDF + logistic regression"),
        ("calibration_error", "calibration error", "confidence against accuracy"),
    ):
        if isinstance(value := run.summary.get(key), float | int):
            figures.append((name, f"{value:.3f}", remark))
    figures.append(("test texts", f"{len(run.rows):,}", f"labels: {', '.join(run.labels)}"))
    return figures


def confusion_svg(run: FinishedRun) -> str:
    """The confusion matrix as an `<svg>` element."""
    matrix = confusion_matrix(run.probabilities.argmax(axis=1), run.targets, len(run.labels))
    with _drawing:
        return figure_svg(confusion_figure(matrix, run.labels))


def confidence_svg(run: FinishedRun) -> str:
    """Histogram of the confidences and accuracy by coverage as an `<svg>` element."""
    with _drawing:
        return figure_svg(confidence_figure(run.probabilities, run.targets))


def mistakes_table(run: FinishedRun) -> str:
    """The wrong predictions with the highest probability, the surest first."""
    predicted, sureness = run.probabilities.argmax(axis=1), run.probabilities.max(axis=1)
    wrong = np.flatnonzero(predicted != run.targets)
    if not len(wrong):
        return markup.note("There is none.")
    surest = wrong[np.argsort(-sureness[wrong], kind="stable")][:N_MISTAKES]
    rows = [
        [
            markup.shortened(str(run.rows[index].get("text", ""))),
            escape(run.labels[run.targets[index]]),
            escape(run.labels[predicted[index]]),
            markup.percent(float(sureness[index])),
        ]
        for index in surest.tolist()
    ]
    return markup.table(["text", "right", "predicted", "probability"], [(row, False) for row in rows])


def _figure(svg: str, name: str) -> str:
    return f'<div class="bs-scroll bs-figure" role="img" aria-label="{escape(name)}">{svg}</div>'
