"""One page over the latest run of each project."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from roadmap_shared.metrics import Interval
from roadmap_shared.report.blocks import KeyFigure
from roadmap_shared.report.formatting import format_number, format_seconds
from roadmap_shared.report.render import key_figure_view, template


@dataclass(frozen=True)
class _Project:
    """A project as the gallery shows it; headlines are (key in summary.json, label, unit)."""

    name: str
    title: str
    headlines: tuple[tuple[str, str, str], ...]


_PROJECTS = (
    _Project(
        "transformer_from_scratch",
        "A Transformer from scratch",
        (("val_loss", "validation loss", "nats per character"),),
    ),
    _Project(
        "bert_sentiment",
        "Sentiment with a fine-tuned encoder",
        (("accuracy", "accuracy", ""), ("macro_f1", "macro F1", "")),
    ),
    _Project("text_generation", "Text generation", (("bits_per_byte", "validation", "bits per byte"),)),
    _Project(
        "rag_qa",
        "Answers from documents",
        (("ndcg_at_10", "nDCG@10", ""), ("answer_f1", "answer F1", "")),
    ),
    _Project(
        "model_optimization",
        "Compression and deployment",
        (("best_speedup", "best speed-up", "×"), ("best_accuracy", "best accuracy", "")),
    ),
    _Project(
        "multimodal",
        "Vision and language",
        (
            ("clip_zero_shot_accuracy", "zero-shot accuracy", ""),
            ("caption_exact", "captions exact", ""),
            ("vqa_accuracy", "answers right", ""),
        ),
    ),
)


def render_gallery(root: Path) -> str:
    """The latest report of each project on one HTML page, to be saved as `root/index.html`.

    Reads `root/<project>/latest/summary.json`. A project that has not run says which command runs it; a
    summary that cannot be read says why, and the page is made all the same.
    """
    cards = [_card(root, number, project) for number, project in enumerate(_PROJECTS, start=1)]
    return template("gallery.html.j2").render(cards=cards, n_run=sum(card["status"] == "run" for card in cards))


def _card(root: Path, number: int, project: _Project) -> dict[str, Any]:
    card = {"number": number, "name": project.name, "title": project.title, "figures": [], "facts": []}
    folder = root / project.name / "latest"
    report = f"{project.name}/latest/report.html" if (folder / "report.html").is_file() else ""
    if not folder.is_dir():
        return {**card, "status": "not run", "report": ""}
    try:
        summary = _read_summary(folder / "summary.json")
    except (OSError, ValueError, RecursionError) as error:
        reason = error.strerror if isinstance(error, OSError) else str(error)
        return {**card, "status": "damaged", "report": report, "reason": reason or type(error).__name__}
    figures = [key_figure_view(_headline(summary, *headline)) for headline in project.headlines]
    return {**card, "status": "run", "report": report, "figures": figures, "facts": _facts(summary)}


def _read_summary(path: Path) -> dict[str, Any]:
    """The summary's keys and values; ValueError, as for damaged JSON or UTF-8, if it is not an object."""
    summary = json.loads(path.read_text(encoding="utf-8"))
    if not isinstance(summary, dict):
        raise ValueError(f"an object is expected, not {type(summary).__name__}")
    return summary


def _headline(summary: dict[str, Any], key: str, label: str, unit: str) -> KeyFigure:
    """The figure with its interval and baseline as far as the summary has them as numbers."""
    value, low, high = (_number(summary.get(name)) for name in (key, f"{key}_low", f"{key}_high"))
    if value is None:
        return KeyFigure(label, "–", note=f"no number under {key}")
    baseline = _number(summary.get(f"baseline_{key}"))
    note = "" if baseline is None else f"baseline {format_number(baseline)}"
    interval = value if low is None or high is None else Interval(value, low, high)
    return KeyFigure(label, interval, note=note, unit=unit)


def _facts(summary: dict[str, Any]) -> list[str]:
    facts = []
    if (seconds := _number(summary.get("seconds"))) is not None:
        facts.append(format_seconds(seconds))
    if (seed := _number(summary.get("seed"))) is not None:
        facts.append(f"seed {seed:g}")
    return facts


def _number(value: object) -> float | None:
    """The value if it is a finite number, else None."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    try:
        return float(value) if math.isfinite(value) else None
    except OverflowError:  # an integer of more than 308 digits
        return None
