"""Texts with labels for training, validation and test: the built-in ones, files and folders, or a hub data set.

```python
splits = load_splits(DataConfig(path=Path("reviews.csv")), log=print)
```
"""

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import replace

from bert_sentiment.config import DataConfig
from bert_sentiment.data.folders import path_parts
from bert_sentiment.data.hub import hub_parts
from bert_sentiment.data.labelled import MAX_LABELS, Part, label_names, natural_order
from bert_sentiment.data.splitting import groups_of_equal, hold_out, sample
from bert_sentiment.data.types import Example, Reject, SentimentDataset, Splits
from roadmap_shared.errors import UserError, did_you_mean
from roadmap_shared.offline import sentiment


def load_splits(config: DataConfig, log: Callable[[str], None] | None = None) -> Splits:
    """The texts that `config` names, as training, validation and test part with the same labels.

    Rows that are no examples become rejects of the part that they were read for. Parts that the data does not tell
    apart are drawn from the training texts.

    Args:
        config: what to load, which columns and labels, and how to split.
        log: is told about encodings that were guessed, and rows that were left out.

    Raises:
        UserError: there are no texts, no such column, or too few labels or texts to train on.
    """
    say = log or (lambda _: None)
    if config.path is None and config.name is None:
        splits = _built_in(config)
    else:
        parts = hub_parts(config, say) if config.name else _files(config, say)
        splits = _assemble(parts, config, say)
    return Splits(
        *(
            replace(part, examples=sample(part.examples, config.max_examples, config.split_seed))
            for part in (splits.train, splits.validation, splits.test)
        )
    )


def _built_in(config: DataConfig) -> Splits:
    """The texts of this repository: trained on some domains, tested on all; labels as the config maps them."""
    names = label_names(config) or {label: label for label in sentiment.LABELS}
    if unknown := sorted(names.keys() - set(sentiment.LABELS)):
        raise UserError(
            f"--data.label_map {unknown[0]}={names[unknown[0]]}: the built-in texts have the labels "
            f"{', '.join(sentiment.LABELS)}"
        )
    labels = tuple(dict.fromkeys(names[label] for label in sentiment.LABELS if label in names))

    def part(split: sentiment.Split, domains: Sequence[sentiment.Domain]) -> SentimentDataset:
        texts = sentiment.sentiment_texts(split, domains=domains, languages=config.languages)
        examples = tuple(
            Example(text.text, labels.index(names[text.label]), text.domain, text.tags, text.id)
            for text in texts
            if text.label in names
        )
        return SentimentDataset(labels, examples, sentiment.ORIGIN)

    splits = Splits(part("train", config.domains), part("validation", config.domains), part("test", sentiment.DOMAINS))
    if not splits.train or not splits.validation:
        raise UserError(
            f"there are no built-in texts for --data.domains {' '.join(config.domains)} in "
            f"--data.languages {' '.join(config.languages)}: add a domain or a language"
        )
    return splits


def _files(config: DataConfig, log: Callable[[str], None]) -> dict[str, Part]:
    """Parts by path; the paths of the validation and the test part go before what a folder tells apart itself."""
    assert config.path
    parts = path_parts(config.path, config, log)
    for name, path in (("validation", config.validation_path), ("test", config.test_path)):
        if path is not None:
            own = path_parts(path, config, log)
            parts[name] = own.get(name, own["train"])
    return parts


def _assemble(parts: dict[str, Part], config: DataConfig, log: Callable[[str], None]) -> Splits:
    """Indices for the names of labels, and the parts that are missing drawn from the training part."""
    labels = natural_order(text.label for text in parts["train"].texts)
    _check_labels(parts["train"], labels, config)
    known = {name: _dataset(part, labels) for name, part in parts.items()}
    for name, part in parts.items():
        part.rejects = list(known[name].rejects)
        if rejected := part.rejected():
            log(f"{part.name}: {rejected}")
        if not known[name].examples:
            raise UserError(f"{part.name}: {_nothing(part)}")
    _check_counts(known["train"], parts["train"].name)
    for name, share in (("test", config.test_share), ("validation", config.validation_share)):
        if name not in known:
            rest, held = hold_out(known["train"].examples, share, config.split_seed)
            origin = f"{share:.0%} of the training texts of {parts['train'].name}, drawn by seed {config.split_seed}"
            if not held:
                raise UserError(f"{parts['train'].name}: {_too_few(len(parts['train'].texts), name, config)}")
            known[name] = SentimentDataset(labels, held, origin)
            known["train"] = replace(known["train"], examples=rest)
    return Splits(known["train"], known["validation"], known["test"])


def _dataset(part: Part, labels: Sequence[str]) -> SentimentDataset:
    """The texts whose labels are among `labels`; the others join the rejects."""
    index = {label: number for number, label in enumerate(labels)}
    examples, rejects = [], list(part.rejects)
    for text in part.texts:
        if text.label in index:
            examples.append(Example(text.text, index[text.label], source=text.source))
        else:
            rejects.append(Reject(text.source, f"label '{text.label[:40]}' does not occur in the training texts"))
    part.texts = [text for text in part.texts if text.label in index]
    return SentimentDataset(tuple(labels), tuple(examples), part.name, tuple(rejects))


def _too_few(n_texts: int, name: str, config: DataConfig) -> str:
    """Why no `name` part can be held out of so many texts, and how one is had."""
    own = f", or name a file of {name} texts with --data.{name}_path" if config.path else ""
    return f"{n_texts} texts are too few to hold out a {name} part; give each label 3 different texts or more{own}"


def _nothing(part: Part) -> str:
    return f"none of its {len(part.rejects):,} rows can be used: {part.rejected()}. Check the columns and the labels"


def _check_labels(part: Part, labels: Sequence[str], config: DataConfig) -> None:
    """Raise when the labels are too few, or so many that they are none."""
    if not part.texts:
        raise UserError(f"{part.name}: {_nothing(part)}" if part.rejects else f"{part.name}: holds no texts")
    if len(labels) < 2:
        left_out = f"; {part.rejected()}" if part.rejects else ""
        raise UserError(
            f"{part.name}: all {len(part.texts):,} texts have the label '{labels[0]}', and two labels are needed: "
            f"check --data.label_column{' and --data.label_map' if config.label_map else ''}{left_out}"
        )
    if len(labels) > MAX_LABELS:
        raise UserError(
            f"{part.name}: has {len(labels):,} different labels, such as '{labels[0][:40]}': name the right column "
            "with --data.label_column"
        )


def _check_counts(dataset: SentimentDataset, name: str) -> None:
    """Raise when a label has fewer than two different texts: one to train on and one to test."""
    groups = groups_of_equal(dataset.examples)
    counts = Counter({dataset.labels[label]: len(texts) for label, texts in groups.items()})
    for index, label in enumerate(dataset.labels):
        if counts[label] < 2:
            source = next(example.source for example in dataset.examples if example.label == index)
            others = [other for other in dataset.labels if other != label]
            hint = did_you_mean(label, others)
            kept = " ".join(f"{other}={other}" for other in others[:5])
            raise UserError(
                f"{name}: label '{label}' has fewer than 2 different texts ({source}). {hint + ' ' if hint else ''}"
                f"Add some, or leave it out with --data.label_map {kept}"
            )
