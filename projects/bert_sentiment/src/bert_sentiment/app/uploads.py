"""Label a file that was uploaded to the page, and show what became of it."""

import csv
import json
from collections.abc import Iterator
from html import escape
from itertools import islice
from pathlib import Path
from typing import Any

from bert_sentiment.app import markup
from bert_sentiment.app.shared import SharedPredictor
from bert_sentiment.inference.files import FileResult, predict_file
from bert_sentiment.inference.tables import LABEL_COLUMN, PROBABILITY_COLUMN
from roadmap_shared.errors import UserError

ROWS_SHOWN = 10


def label_upload(
    predictor: SharedPredictor, source: Path, folder: Path, text_column: str | None, batch_size: int
) -> tuple[FileResult, str]:
    """Label the file into `folder`; returns the result and what the page says about it.

    Raises:
        UserError: the file cannot be labelled. The message names it as the user does, without its folder here.
    """
    said: list[str] = []
    try:
        output = folder / f"{source.stem}.predictions{'.csv' if source.suffix.lower() == '.txt' else source.suffix}"
        result = predict_file(
            predictor, source, output, text_column=text_column, batch_size=batch_size, say=said.append
        )
    except UserError as error:
        raise UserError(_for_page(str(error), source, folder)) from error
    notes = "".join(markup.note(_for_page(line, source, folder)) for line in said)
    return result, notes + result_html(result)


def result_html(result: FileResult) -> str:
    """Counts by label, the first rows, and the records that were left out."""
    if not result.n_labelled:
        return markup.problem("No record could be labelled.") + _rejects(result)
    shares = {label: count / result.n_labelled for label, count in result.counts.items()}
    said = f"{result.n_labelled:,} {'text' if result.n_labelled == 1 else 'texts'} labelled"
    if result.n_rejected:
        said += f", {result.n_rejected:,} left out"
    rows = [
        [markup.shortened(text), f'<span class="bs-label">{escape(label)}</span>', markup.percent(probability)]
        for text, label, probability in islice(_labelled(result), ROWS_SHOWN)
    ]
    title = f"The first {len(rows)} rows" if len(rows) < result.n_labelled else "All rows"
    return "".join(
        [
            f'<p class="bs-said">{said}.</p>',
            markup.bars(shares, counts=result.counts),
            _rejects(result),
            markup.heading(title),
            markup.table(["text", "label", "probability"], [(row, False) for row in rows]),
        ]
    )


def _rejects(result: FileResult) -> str:
    if result.rejects is None:
        return ""
    with result.rejects.open(encoding="utf-8") as file:
        first = [json.loads(line) for line in islice(file, ROWS_SHOWN)]
    rows = [[f"{item['row']:,}", f"{item['line']:,}", escape(item["reason"])] for item in first]
    title = (
        "Left out" if len(first) == result.n_rejected else f"Left out: the first {len(first)} of {result.n_rejected:,}"
    )
    return markup.heading(title) + markup.table(["record", "line", "why"], [(row, False) for row in rows])


def _labelled(result: FileResult) -> Iterator[tuple[str, str, float]]:
    """Text, label and probability of each record of a labelled file."""
    for record in _records(result.output):
        yield str(record[result.text_column]), str(record[LABEL_COLUMN]), float(record[PROBABILITY_COLUMN])


def _records(path: Path) -> Iterator[dict[str, Any]]:
    with path.open(encoding="utf-8-sig", newline="") as file:
        if path.suffix.lower() == ".jsonl":
            yield from map(json.loads, file)
            return
        header = file.readline()
        file.seek(0)
        # The sign before the column that was added is the one that the file itself uses.
        yield from csv.DictReader(file, delimiter=header[header.rindex(LABEL_COLUMN) - 1])


def _for_page(message: str, source: Path, folder: Path) -> str:
    """A message of the command line in the words of the page."""
    for path in (source.parent, folder):
        message = message.replace(f"{path}/", "")
    message = message.replace("--input ", "").replace("with --text_column", "under “Text column”")
    return message.replace("leave --text_column out", "leave “Text column” empty")
