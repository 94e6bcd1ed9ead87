"""The rows that were left out, kept in the run folder: nobody mends a file by the first of them alone."""

import json
from collections import Counter
from collections.abc import Callable, Mapping
from pathlib import Path

from bert_sentiment.data.types import SentimentDataset, Splits
from roadmap_shared.files import atomic_write

REJECTS = "rejects.jsonl"
"""File in a run folder: {part, source, reason} a line, and `data_set` first where there are several."""


def write_rejects(folder: Path, data_sets: Mapping[str, Splits], log: Callable[[str], None]) -> None:
    """Write the rejected rows to `rejects.jsonl` and say so; where there are none, no such file is left.

    Args:
        folder: of the run.
        data_sets: parts by the name of the data set, which is empty for the only one of a run.
        log: is told how many there are and where.
    """
    rows = [
        ({"data_set": name} if name else {}) | {"part": part, "source": reject.source, "reason": reject.reason}
        for name, splits in data_sets.items()
        for part, dataset in _parts(splits)
        for reject in dataset.rejects
    ]
    path = folder / REJECTS
    if not rows:
        path.unlink(missing_ok=True)
        return
    atomic_write(path, "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows))
    log(f"{len(rows):,} {'row' if len(rows) == 1 else 'rows'} left out, each with its line and reason: {path}")


def rejects_by_reason(splits: Splits) -> list[tuple[str, str, int, str]]:
    """(part, reason, number of rows, the first of them) of the parts in their order, the most frequent reason first."""
    found: list[tuple[str, str, int, str]] = []
    for part, dataset in _parts(splits):
        firsts = {reject.reason: reject.source for reject in reversed(dataset.rejects)}
        counts = Counter(reject.reason for reject in dataset.rejects)
        found += [(part, reason, count, firsts[reason]) for reason, count in counts.most_common()]
    return found


def _parts(splits: Splits) -> list[tuple[str, SentimentDataset]]:
    return [("train", splits.train), ("validation", splits.validation), ("test", splits.test)]
