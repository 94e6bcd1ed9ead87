"""Labelled texts as training, validation and test part: the built-in ones, files, or a data set on the hub."""

import random
from collections import defaultdict
from collections.abc import Mapping, Sequence

import numpy as np

from model_optimization.config.data import DataConfig
from model_optimization.data_files import Rows, read_parts
from model_optimization.types import Splits, Texts
from roadmap_shared.errors import UserError, one_line
from roadmap_shared.offline import sentiment

_FEWEST = 2
_MOST_LABELS = 100


def load_splits(config: DataConfig) -> Splits:
    """The texts that `config` names. Parts that the data does not tell apart are drawn from its training texts.

    Raises:
        UserError: there are no such texts, or too few texts or labels to train on.
    """
    if config.path is None and config.name is None:
        return _built_in(config)
    parts = read_parts(config) if config.path is not None else _hub_parts(config)
    source = str(config.path or config.name)
    labels = _labels_of(parts["train"], source)
    for name, share in (("test", config.test_share), ("validation", config.validation_share)):
        if name not in parts:
            parts["train"], parts[name] = hold_out(parts["train"], share, config.split_seed)
    known = {name: _texts(rows, labels, name, source, config) for name, rows in parts.items()}
    return Splits(
        labels=labels,
        train=known["train"],
        validation=known["validation"],
        test=known["test"],
        origin=source,
        rejected=tuple(line for rows in parts.values() for line in rows.rejected),
    )


def _built_in(config: DataConfig) -> Splits:
    def part(split: sentiment.Split) -> Texts:
        chosen = sentiment.sentiment_texts(split, domains=config.domains)[: config.max_examples]
        targets = np.array([sentiment.LABELS.index(text.label) for text in chosen], dtype=np.int64)
        return Texts(texts=tuple(text.text for text in chosen), targets=targets)

    return Splits(
        labels=sentiment.LABELS,
        train=part("train"),
        validation=part("validation"),
        test=part("test"),
        origin=sentiment.ORIGIN,
    )


def _hub_parts(config: DataConfig) -> dict[str, Rows]:
    import datasets

    assert config.name is not None
    try:
        found = datasets.load_dataset(config.name)
    except Exception as error:  # no class in common: no network, no such data set, a script that it would run
        raise UserError(
            f"--data.name {config.name}: cannot be had ({one_line(error)[:200]}). Offline, leave the flag out or give "
            "--data.path"
        ) from None
    assert isinstance(found, datasets.DatasetDict)
    return {name: _hub_rows(found[name], name, config) for name in ("train", "validation", "test") if name in found}


def _hub_rows(part: "object", name: str, config: DataConfig) -> Rows:
    rows = Rows()
    names = getattr(part.features.get(config.label_column), "names", None)  # type: ignore[attr-defined]
    for number, record in enumerate(part, 1):  # type: ignore[arg-type]
        label = record.get(config.label_column)
        rows.add(f"{name}:{number}", record.get(config.text_column), names[label] if names and label >= 0 else label)
    return rows


def hold_out(rows: Rows, share: float, seed: int) -> tuple[Rows, Rows]:
    """(rest, held out), both in the order of `rows`. Of each label a share is held out; equal texts stay together."""
    groups: dict[str, dict[str, list[int]]] = defaultdict(dict)
    owner: dict[str, str] = {}
    for index, (text, label) in enumerate(zip(rows.texts, rows.labels, strict=True)):
        folded = text.casefold()
        label = owner.setdefault(folded, label)
        groups[label].setdefault(folded, []).append(index)
    drawn, held = random.Random(seed), set[int]()
    for _, by_text in sorted(groups.items()):
        texts = list(by_text.values())
        drawn.shuffle(texts)
        wanted = max(1, round(share * sum(map(len, texts))))
        for group in texts[:-1]:  # never all of a label
            if wanted <= 0:
                break
            held.update(group)
            wanted -= len(group)
    kept = [index for index in range(len(rows.texts)) if index not in held]
    return _chosen(rows, kept, rows.rejected), _chosen(rows, sorted(held), [])


def _chosen(rows: Rows, indices: Sequence[int], rejected: list[str]) -> Rows:
    return Rows([rows.texts[index] for index in indices], [rows.labels[index] for index in indices], rejected)


def _labels_of(train: Rows, source: str) -> tuple[str, ...]:
    labels = tuple(sorted(set(train.labels)))
    if len(labels) < _FEWEST:
        reason = f" ({train.rejected[0]})" if train.rejected else ""
        raise UserError(f"{source}: has texts of {len(labels)} labels, and a classifier needs two{reason}")
    if len(labels) > _MOST_LABELS:
        raise UserError(
            f"{source}: has {len(labels):,} different labels, more than {_MOST_LABELS}: is --data.label_column the "
            "right one?"
        )
    return labels


def _texts(rows: Rows, labels: Sequence[str], name: str, source: str, config: DataConfig) -> Texts:
    place: Mapping[str, int] = {label: index for index, label in enumerate(labels)}
    usable = [index for index, label in enumerate(rows.labels) if label in place]
    rows.rejected += [
        f"{name}: label {label!r} does not occur in the training texts" for label in rows.labels if label not in place
    ]
    if not usable:
        raise UserError(f"{source}: too few texts for a {name} part: give more, or one of its own")
    if config.max_examples is not None and len(usable) > config.max_examples:
        usable = sorted(random.Random(config.split_seed).sample(usable, config.max_examples))
    targets = np.array([place[rows.labels[index]] for index in usable], dtype=np.int64)
    return Texts(texts=tuple(rows.texts[index] for index in usable), targets=targets)


def in_labels_of(names: tuple[str, ...], splits: Splits) -> Splits:
    """The same texts with their labels numbered as a classifier's, which calls them `names`.

    A label of the data may be written in other case, or be the beginning of exactly one name (`neg` of `negative`).

    Raises:
        UserError: a label of the data is none of them.
    """
    places = np.array([_place(label, names) for label in splits.labels], dtype=np.int64)
    parts = {
        name: Texts(texts=part.texts, targets=places[part.targets])
        for name, part in (("train", splits.train), ("validation", splits.validation), ("test", splits.test))
    }
    return Splits(labels=names, origin=splits.origin, rejected=splits.rejected, **parts)


def _place(label: str, names: tuple[str, ...]) -> int:
    folded = [name.casefold() for name in names]
    if label.casefold() in folded:
        return folded.index(label.casefold())
    begun = [place for place, name in enumerate(folded) if name.startswith(label.casefold())]
    if len(begun) != 1:
        raise UserError(
            f"the data has the label {label!r}, but the model knows {', '.join(names)}: give texts with its labels"
        )
    return begun[0]
