"""Data sets of the Hugging Face hub. The only module that needs the library `datasets`, which is imported on use."""

from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from math import ceil
from typing import Any

import numpy as np

from bert_sentiment.config import DataConfig
from bert_sentiment.data.labelled import LabelledText, Part, label_names, labelled, pick_columns
from bert_sentiment.data.types import Reject
from roadmap_shared.errors import UserError, one_line

_PARTS = {"train": ("train",), "validation": ("validation", "valid", "dev"), "test": ("test",)}
_LEAST = 4
"""Texts of each label that are drawn before all others: enough to be held out from twice."""
_OFFLINE_CHOICE = "Offline, leave out --data.name for the built-in texts, or give a file with --data.path"


def hub_parts(config: DataConfig, log: Callable[[str], None]) -> dict[str, Part]:
    """The parts of `config.name`. One whose labels are all hidden, as in the test part of GLUE, is left out.

    With `config.max_examples` rows are drawn before they become Python objects, as many of each part as it takes: the
    training part also fills the parts that are missing.

    Raises:
        UserError: the data set cannot be had, or has no part called train.
    """
    name = str(config.name)
    loaded = _load(name, config.subset)
    keys = {part: next((key for key in usual if key in loaded), None) for part, usual in _PARTS.items()}
    if keys["train"] is None:
        raise UserError(f"--data.name {name}: has no part 'train' but {', '.join(loaded)}: choose another data set")
    parts: dict[str, Part] = {}
    # The training part comes last: only then is it known which others are drawn from it.
    for part, key in reversed(keys.items()):
        if key is None:
            continue
        filled = Part(f"{name} ({key})")
        wanted = texts_wanted(config, parts) if part == "train" else config.max_examples
        _fill(filled, loaded[key], config, key, wanted)
        if filled.texts or part == "train":
            parts[part] = filled
        else:
            log(f"{filled.name}: has no labels, left out")
    return {part: parts[part] for part in keys if part in parts}


def texts_wanted(config: DataConfig, others: Collection[str]) -> int | None:
    """Training texts that leave `config.max_examples` for each part that is drawn from them. None: all.

    Args:
        config: the shares of the parts that are drawn.
        others: the parts that the data set has itself.
    """
    if config.max_examples is None:
        return None
    test = 0.0 if "test" in others else config.test_share
    validation = 0.0 if "validation" in others else config.validation_share
    shares = (test, validation * (1 - test), (1 - validation) * (1 - test))
    return ceil(config.max_examples / min(share for share in shares if share))


def drawing_order(rows: Any, label_column: str, seed: int) -> np.ndarray:
    """Indices of all rows of a `datasets.Dataset` in an order of which any beginning is a sample.

    In each beginning the labels have their proportions, and the first few texts of every label come before all others.
    Only the column of labels is read, and it stays in Arrow's memory.
    """
    import pyarrow as pa

    column = rows.select_columns([label_column]).with_format("arrow")[:].column(label_column)
    n_rows = len(column)
    if pa.types.is_nested(column.type):
        labels = np.zeros(n_rows, dtype=np.int64)  # such a label is rejected row by row
    else:
        labels = column.combine_chunks().dictionary_encode().indices.fill_null(-1).to_numpy(zero_copy_only=False)
    shuffled = np.random.default_rng(seed).permutation(n_rows)
    by_label = shuffled[np.argsort(labels[shuffled], kind="stable")]
    _, starts, counts = np.unique(labels[by_label], return_index=True, return_counts=True)
    place = np.arange(n_rows) - np.repeat(starts, counts)  # of a row among those of its label
    spread = np.where(place < _LEAST, 0.0, (place + 0.5) / np.repeat(counts, counts))
    return by_label[np.lexsort((place, spread))]


def _load(name: str, subset: str | None) -> Any:
    import datasets
    from datasets.exceptions import DatasetsError

    try:
        return datasets.load_dataset(name, subset)
    except (ConnectionError, FileNotFoundError) as error:
        raise UserError(
            f"--data.name {name}: the hub does not answer or has no such data set. {_OFFLINE_CHOICE}"
        ) from error
    except ValueError as error:
        # The library lists the configurations in this message: it is the remedy.
        raise UserError(f"--data.name {name}: {one_line(error)} Name one with --data.subset") from error
    except (OSError, RuntimeError, DatasetsError) as error:
        raise UserError(f"--data.name {name}: cannot be loaded: {one_line(error)}. {_OFFLINE_CHOICE}") from error


def _fill(part: Part, rows: Any, config: DataConfig, key: str, wanted: int | None) -> None:
    """Add the texts of a part, or `wanted` of them, in the order of the rows; labels as the data set names them."""
    text_column, label_column = pick_columns(rows.column_names, config, f"--data.name {config.name}")
    rows, class_names = rows.select_columns([text_column, label_column]), _class_names(rows, label_column)
    if wanted is None or len(rows) <= wanted:
        part.add(_texts(rows, range(len(rows)), class_names, config, key))
        return
    # Rows that cannot be used are made up for by the next in the order; no more of them are read than it takes.
    order = drawing_order(rows, label_column, config.split_seed)
    for item in _texts(rows.select(order), order.tolist(), class_names, config, key):
        part.add([item])
        if len(part.texts) == wanted:
            break
    part.texts.sort(key=lambda text: _row_number(text.source))
    part.rejects.sort(key=lambda reject: _row_number(reject.source))


def _texts(
    rows: Any, indices: Iterable[int], class_names: Sequence[str] | None, config: DataConfig, key: str
) -> Iterator[LabelledText | Reject]:
    """The texts of rows with the columns for text and label, which stand at `indices` of the part."""
    names = label_names(config)
    text_column, label_column = rows.column_names
    for index, row in zip(indices, rows, strict=True):
        label = row[label_column]
        if class_names is not None and isinstance(label, int):
            label = class_names[label] if label >= 0 else None  # -1 stands for a hidden label
        yield labelled(row[text_column], label, f"{key}:{index + 1}", names)


def _class_names(rows: Any, label_column: str) -> Sequence[str] | None:
    return getattr(rows.features[label_column], "names", None)


def _row_number(source: str) -> int:
    return int(source.rpartition(":")[2])
