"""Data sets of the Hugging Face hub. The only module that needs the library `datasets`, which is imported on use."""

from collections.abc import Callable, Iterator
from typing import Any

from bert_sentiment.config import DataConfig
from bert_sentiment.data.labelled import LabelledText, Part, label_names, labelled, pick_columns
from bert_sentiment.data.types import Reject
from roadmap_shared.errors import UserError, one_line

_PARTS = {"train": ("train",), "validation": ("validation", "valid", "dev"), "test": ("test",)}
_OFFLINE_CHOICE = "Offline, leave out --data.name for the built-in texts, or give a file with --data.path"


def hub_parts(config: DataConfig, log: Callable[[str], None]) -> dict[str, Part]:
    """The parts of `config.name`. One whose labels are all hidden, as in the test part of GLUE, is left out.

    Raises:
        UserError: the data set cannot be had, or has no part called train.
    """
    name = str(config.name)
    loaded = _load(name, config.subset)
    parts: dict[str, Part] = {}
    for part, keys in _PARTS.items():
        if key := next((key for key in keys if key in loaded), None):
            filled = Part(f"{name} ({key})")
            filled.add(_texts(loaded[key], config, key))
            if filled.texts or part == "train":
                parts[part] = filled
            else:
                log(f"{filled.name}: has no labels, left out")
    if "train" not in parts:
        raise UserError(f"--data.name {name}: has no part 'train' but {', '.join(loaded)}: choose another data set")
    return parts


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


def _texts(rows: Any, config: DataConfig, key: str) -> Iterator[LabelledText | Reject]:
    """The texts of a part, labels as the data set names them."""
    text_column, label_column = pick_columns(rows.column_names, config, f"--data.name {config.name}")
    names, class_names = label_names(config), getattr(rows.features[label_column], "names", None)
    for number, row in enumerate(rows.select_columns([text_column, label_column]), start=1):
        label = row[label_column]
        if class_names is not None and isinstance(label, int):
            label = class_names[label] if label >= 0 else None  # -1 stands for a hidden label
        yield labelled(row[text_column], label, f"{key}:{number}", names)
