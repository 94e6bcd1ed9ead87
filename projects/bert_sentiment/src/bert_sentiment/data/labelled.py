"""From rows to texts with the names of their labels, and from names to indices."""

import math
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from bert_sentiment.config import DataConfig, PreprocessingConfig
from bert_sentiment.data.preprocessor import clean
from bert_sentiment.data.readers import open_table
from bert_sentiment.data.types import MAX_CHARACTERS, Reject
from roadmap_shared.errors import UserError, did_you_mean

TEXT_COLUMNS = ("text", "sentence", "review", "content", "tweet", "comment")
LABEL_COLUMNS = ("label", "sentiment", "polarity", "class", "rating", "stars")
MAX_LABELS = 100
TOO_LONG = f"a text above {MAX_CHARACTERS:,} characters"
ONLY_MARKUP = "empty once markup is taken away"
_CLEANING = PreprocessingConfig()
_ORDER = {
    name: rank
    for rank, names in enumerate([("very negative",), ("negative", "neg"), ("neutral", "neu"), ("positive", "pos")])
    for name in names
} | {"very positive": 4}


@dataclass(frozen=True, slots=True)
class LabelledText:
    """A text with the name of its label, and where it stands: `reviews.csv:17`."""

    text: str
    label: str
    source: str


@dataclass
class Part:
    """What one part (training, validation, test) of the data holds. `name` is what messages and reports call it."""

    name: str
    texts: list[LabelledText] = field(default_factory=list)
    rejects: list[Reject] = field(default_factory=list)

    def add(self, items: Iterable[LabelledText | Reject]) -> None:
        for item in items:
            if isinstance(item, Reject):
                self.rejects.append(item)
            else:
                self.texts.append(item)

    def rejected(self) -> str:
        """How many rows are no examples, and why: "3 of 20 rows left out (2 × empty text, 1 × no label; the first
        is reviews.csv:17)". Empty when there are none."""
        if not self.rejects:
            return ""
        reasons = Counter(reject.reason for reject in self.rejects).most_common()
        shown = ", ".join(f"{count:,} × {reason}" for reason, count in reasons[:3])
        more = f", {len(reasons) - 3} other reasons" if len(reasons) > 3 else ""
        total = len(self.rejects) + len(self.texts)
        return (
            f"{len(self.rejects):,} of {total:,} rows left out ({shown}{more}; the first is {self.rejects[0].source})"
        )


def file_texts(path: Path, config: DataConfig, log: Callable[[str], None]) -> Iterator[LabelledText | Reject]:
    """The texts of a file with rows and columns.

    Raises:
        UserError: the file cannot be read, or has no such column.
    """
    names = label_names(config)
    with open_table(path, (config.text_column, config.label_column), log) as table:
        text_column, label_column = pick_columns(table.columns, config, str(path))
        for row in table.rows:
            source = f"{path.name}:{row.line}"
            if row.problem:
                yield Reject(source, row.problem)
            else:
                yield labelled(row.cells.get(text_column), row.cells.get(label_column), source, names)


def pick_columns(columns: Sequence[str], config: DataConfig, where: str) -> tuple[str, str]:
    """Names of the text column and of the label column, of which the config may name either.

    Raises:
        UserError: a column is not there, cannot be told from others, or both are the same.
    """
    text = _pick(columns, config.text_column, TEXT_COLUMNS, "text", where)
    label = _pick(columns, config.label_column, LABEL_COLUMNS, "label", where)
    if text == label:
        raise UserError(f"{where}: column '{text}' cannot be both text and label: name the other one")
    return text, label


def _pick(columns: Sequence[str], wanted: str | None, usual: Sequence[str], role: str, where: str) -> str:
    flag, there = f"--data.{role}_column", f"Its columns are {', '.join(columns)}"
    if wanted is not None:
        if wanted in columns:
            return wanted
        hint = did_you_mean(wanted, columns)
        raise UserError(f"{where}: has no column '{wanted}' for {flag}. {hint + ' ' if hint else ''}{there}")
    if found := usual_column(columns, usual, where, f"name the one with the {role} with {flag}"):
        return found
    likely = next((column for column in columns if any(name in column.lower() for name in usual)), columns[-1])
    raise UserError(
        f"{where}: none of its columns is called {', '.join(usual)}: name the one with the {role}, as in "
        f"{flag} {likely}. {there}"
    )


def usual_column(columns: Iterable[str], usual: Sequence[str], where: str, remedy: str) -> str | None:
    """The column with the first of the usual names that is there, in upper or lower case; None where none is.

    Args:
        columns: those of the table.
        usual: names in lower case, the best first.
        where: the table, for a message.
        remedy: how the user names a column instead.

    Raises:
        UserError: several columns have that name but for the case, and none of them is written in lower case.
    """
    spellings: dict[str, list[str]] = {}
    for column in dict.fromkeys(columns):
        spellings.setdefault(column.lower(), []).append(column)
    name = next((name for name in usual if name in spellings), None)
    if name is None:
        return None
    found = spellings[name]
    if name in found:
        return name
    if len(found) > 1:
        raise UserError(f"{where}: columns {', '.join(found[:-1])} and {found[-1]} differ by case alone: {remedy}")
    return found[0]


def label_names(config: DataConfig) -> dict[str, str]:
    """What each label of a file is called; empty when all keep their names."""
    return {theirs: ours for theirs, _, ours in (pair.partition("=") for pair in config.label_map)}


def labelled(text: Any, label: Any, source: str, names: dict[str, str]) -> LabelledText | Reject:
    """A text from its two cells, or why there is none. One of markup alone is none, as when a text is labelled."""
    if text is None or text == "" or (isinstance(text, float) and math.isnan(text)):
        return Reject(source, "empty text")
    if not isinstance(text, str):
        return Reject(source, f"the text is no string but {type(text).__name__}")
    if len(text) > MAX_CHARACTERS:
        return Reject(source, TOO_LONG)
    if not (text := text.strip()):
        return Reject(source, "empty text")
    # Only tags and entities are cleaned to nothing, and they begin so: to clean every text would take seconds.
    if text[0] in "<&" and not clean(text, _CLEANING):
        return Reject(source, ONLY_MARKUP)
    if not (name := _label_name(label)):
        return Reject(source, "no label")
    if names and name not in names:
        return Reject(source, f"label '{name[:40]}' is not in --data.label_map")
    return LabelledText(text, names.get(name, name), source)


def _label_name(label: Any) -> str:
    """A label cell as text. A whole number is written without a point: pandas writes 1.0 where a label is missing."""
    if label is None or (isinstance(label, float) and math.isnan(label)):
        return ""
    if isinstance(label, bool):
        return str(label).lower()
    if isinstance(label, float) and label.is_integer():
        return str(int(label))
    return str(label).strip()


def natural_order(labels: Iterable[str]) -> tuple[str, ...]:
    """Labels from bad to good: negative < neutral < positive, numbers by value, others by the alphabet."""
    distinct = set(labels)
    values = {label: _number(label) for label in distinct}
    if None not in values.values():
        return tuple(sorted(distinct, key=lambda label: (values[label], label)))
    return tuple(sorted(distinct, key=lambda label: (_ORDER.get(label.lower(), len(_ORDER)), label.lower(), label)))


def _number(label: str) -> float | None:
    try:
        value = float(label)
    except ValueError:
        return None
    return value if math.isfinite(value) else None
