"""Predictions as HTML for the page. What comes from a user, a file or a model's config is escaped here, all of it."""

from collections.abc import Iterable, Sequence
from html import escape

from bert_sentiment.inference.attributions import Attribution
from bert_sentiment.inference.predictor import UNSURE, Prediction
from bert_sentiment.inference.rendering import to_html

BARS_SHOWN = 8

LEGEND = (
    '<p class="bs-legend"><span class="bs-for">blue</span> speaks for the label, '
    '<span class="bs-against">orange, dotted</span> against it; the stronger, the more. '
    "Point at a word for its score in log-odds (integrated gradients).</p>"
)


def note(text: str) -> str:
    """A quiet line."""
    return f'<p class="bs-note">{escape(text)}</p>'


def problem(text: str) -> str:
    """Why nothing is shown."""
    return f'<p class="bs-problem" role="alert">{escape(text)}</p>'


def heading(text: str) -> str:
    """The title of a part of a result."""
    return f'<h3 class="bs-heading">{escape(text)}</h3>'


def percent(share: float) -> str:
    """`97.3 %`; 100 and 0 are said only of what is 1 and 0."""
    if 0.9995 <= share < 1:
        return "> 99.9 %"
    if 0 < share < 0.0005:
        return "< 0.1 %"
    return f"{share:.1%}".replace("%", " %")


def card(prediction: Prediction, text: str, attribution: Attribution | None, title: str = "") -> str:
    """The label, a bar for each probability, and the text, coloured where it is explained."""
    name = f'<span class="bs-source">{escape(title)}</span>' if title else ""
    words = to_html(attribution) if attribution else f'<p class="bs-plain" dir="auto">{escape(text)}</p>'
    return (
        f'<article class="bs-card">{name}<header>{verdict(prediction)}</header>'
        f"{bars(prediction.probabilities, prediction.best)}"
        f'<div class="bs-words">{words}{unread(attribution) if attribution else ""}</div></article>'
    )


def verdict(prediction: Prediction) -> str:
    """The label and its probability; where the model is unsure, what it would say."""
    sure = prediction.label != UNSURE or prediction.best == UNSURE
    label = escape(prediction.best) if sure else f"unsure, perhaps {escape(prediction.best)}"
    return (
        f'<span class="bs-label{"" if sure else " bs-unsure"}">{label}</span> '
        f'<span class="bs-probability">{percent(prediction.probability)}</span>'
    )


def bars(shares: dict[str, float], strong: str | None = None, counts: dict[str, int] | None = None) -> str:
    """A bar for each share, in their order; of many, the largest. The `strong` one stands out."""
    shown = shares
    if len(shares) > BARS_SHOWN:
        shown = dict(sorted(shares.items(), key=lambda item: -item[1])[:BARS_SHOWN])
    rows = "".join(
        f'<tr{" class=bs-strong" if label == strong else ""}><th scope="row">{escape(label)}</th>'
        f'<td class="bs-track"><div style="width:{100 * share:.2f}%"></div></td>'
        f"<td>{f'{counts[label]:,} · ' if counts else ''}{percent(share)}</td></tr>"
        for label, share in shown.items()
    )
    rest = note(f"and {len(shares) - len(shown)} other labels") if len(shown) < len(shares) else ""
    return f'<table class="bs-bars">{rows}</table>{rest}'


def unread(attribution: Attribution) -> str:
    """Says so where the model does not see the whole text."""
    n = sum(word.score is None for word in attribution.words)
    if not n:
        return ""
    return note(f"The model does not see {n} of the {len(attribution.words)} words: the text is longer than it reads.")


def side_by_side(
    text: str, names: Sequence[str], predictions: Sequence[Prediction], attributions: Sequence[Attribution | None]
) -> str:
    """One text as two models see it; marked where their labels differ."""
    first, second = predictions
    differ = first.best != second.best
    cards = "".join(
        card(prediction, text, attribution, name)
        for name, prediction, attribution in zip(names, predictions, attributions, strict=True)
    )
    mark = '<p class="bs-differ">The labels differ</p>' if differ else ""
    return (
        f'<section class="bs-pair{" bs-differs" if differ else ""}">{mark}<div class="bs-two">{cards}</div></section>'
    )


def comparison_table(
    texts: Sequence[str], names: Sequence[str], first: Sequence[Prediction], second: Sequence[Prediction]
) -> str:
    """Many texts with the labels of two models; the rows where they differ are marked."""
    rows = []
    for text, one, other in zip(texts, first, second, strict=True):
        differ = one.best != other.best
        cells = [shortened(text), verdict(one), verdict(other), "differ" if differ else ""]
        rows.append((cells, differ))
    n = sum(differ for _, differ in rows)
    said = (
        f"The models differ on {n:,} of {len(texts):,} texts."
        if n
        else f"The models agree on all {len(texts):,} texts."
    )
    head = ["text", *(escape(name) for name in names), ""]
    return f'<p class="bs-said">{said}</p>{table(head, rows)}'


def table(head: Sequence[str], rows: Iterable[tuple[Sequence[str], bool]]) -> str:
    """A table of cells that are HTML already; rows whose flag is set are marked."""
    body = "".join(
        f"<tr{' class=bs-differs' if marked else ''}>{''.join(f'<td dir=auto>{cell}</td>' for cell in cells)}</tr>"
        for cells, marked in rows
    )
    titles = "".join(f'<th scope="col">{title}</th>' for title in head)
    head_and_body = f"<thead><tr>{titles}</tr></thead><tbody>{body}</tbody>"
    return f'<div class="bs-scroll"><table class="bs-table">{head_and_body}</table></div>'


def shortened(text: str, length: int = 240) -> str:
    """The beginning of a text, escaped."""
    text = " ".join(text.split())
    return escape(text if len(text) <= length else f"{text[: length - 1].rstrip()}…")


def key_figures(figures: Iterable[tuple[str, str, str]]) -> str:
    """Tiles: name, value, remark."""
    tiles = "".join(
        f"<div><dt>{escape(name)}</dt><dd><b>{escape(value)}</b><span>{escape(remark)}</span></dd></div>"
        for name, value, remark in figures
    )
    return f'<dl class="bs-figures">{tiles}</dl>'
