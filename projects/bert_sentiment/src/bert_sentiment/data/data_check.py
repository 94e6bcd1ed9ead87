"""What is wrong with labelled texts, said before a model is trained on them.

Repeated texts make a score look surer than it is, texts of the test among the training texts make it too good, wrong
labels set its ceiling, and texts longer than the context lose their end.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from transformers import PreTrainedTokenizerBase

from bert_sentiment.config import PreprocessingConfig
from bert_sentiment.data.label_noise import MIN_TEXTS, find_suspects
from bert_sentiment.data.preprocessor import clean, text_room
from bert_sentiment.data.similarity import near_groups, read_words
from bert_sentiment.data.splitting import fold
from bert_sentiment.data.types import Example, SentimentDataset, Splits

_MAX_TOKENIZED = 2000  # texts a part: the shares of a sample of as many are exact to about two points
_RARE = 0.1  # a label less than a tenth as frequent as the most frequent one


@dataclass(frozen=True)
class Pair:
    """Two texts, one of which repeats the other."""

    first: Example
    second: Example


@dataclass(frozen=True)
class PartCheck:
    """One part. Of texts that repeat each other the first is not counted; near ones leave out the equal ones."""

    name: str
    n_texts: int
    label_counts: dict[str, int]
    n_equal: int
    n_near: int
    repeated: tuple[Pair, ...]


@dataclass(frozen=True)
class Leakage:
    """Texts of one part that stand in an earlier one too: letter by letter (but for case and blanks), or nearly."""

    earlier: str
    later: str
    n_equal: int
    n_near: int
    pairs: tuple[Pair, ...]


@dataclass(frozen=True)
class Lengths:
    """Tokens of the texts without special tokens, against what the model sees. Shares lie between 0 and 1."""

    n_texts: int
    room: int
    median: float
    percentile_95: float
    longest: int
    share_cut: float
    share_tokens_lost: float


@dataclass(frozen=True)
class Suspect:
    """A text whose label is probably wrong, and how probable the given one is to a model that has not seen it."""

    part: str
    example: Example
    given: str
    suggested: str
    given_probability: float


@dataclass(frozen=True)
class DataCheck:
    """Everything found. `findings` says it in sentences, the ones that need a person first."""

    parts: tuple[PartCheck, ...]
    leakage: tuple[Leakage, ...]
    contradictions: tuple[tuple[Example, ...], ...]
    lengths: Lengths
    n_suspects: int
    suspects: tuple[Suspect, ...]
    findings: tuple[str, ...]


@dataclass(frozen=True)
class _Texts:
    """All parts in one row: the part, the text without case and blanks, and the group of near ones of each."""

    examples: list[Example]
    part_of: list[int]
    folded: list[str]
    group_of: np.ndarray
    links: dict[int, set[int]]


def check_data(
    splits: Splits,
    tokenizer: PreTrainedTokenizerBase,
    preprocessing: PreprocessingConfig,
    *,
    n_suspects: int = 20,
    n_pairs: int = 5,
) -> DataCheck:
    """Look for duplicates, leakage, imbalance, contradictions, texts that are cut, and wrong labels.

    Args:
        splits: the texts.
        tokenizer: of the model that will be trained.
        preprocessing: what is done to the texts, of which the length and the cleaning count here.
        n_suspects: suspects of a wrong label that are returned; all are counted.
        n_pairs: pairs shown for each part, and for each leak.
    """
    names = ("train", "validation", "test")
    datasets = (splits.train, splits.validation, splits.test)
    examples = [example for dataset in datasets for example in dataset.examples]
    words = read_words([example.text for example in examples])
    group_of, links = near_groups([example.text for example in examples], words)
    part_of = [part for part, dataset in enumerate(datasets) for _ in dataset.examples]
    texts = _Texts(examples, part_of, [fold(example.text) for example in examples], group_of, links)
    found = find_suspects(words, np.array([example.label for example in examples], dtype=np.int64), group_of)
    suspects = tuple(
        Suspect(
            names[part_of[one.index]],
            examples[one.index],
            splits.labels[examples[one.index].label],
            splits.labels[one.suggested],
            one.given_probability,
        )
        for one in found[:n_suspects]
    )
    parts = tuple(_part(texts, part, names[part], datasets[part], n_pairs) for part in range(3))
    leakage = tuple(_leakage(texts, earlier, later, names, n_pairs) for later in (1, 2) for earlier in range(later))
    contradictions = _contradictions(texts)
    lengths = measure_lengths([dataset.texts for dataset in datasets], tokenizer, preprocessing)
    findings = _findings(parts, leakage, contradictions, lengths, len(found), len(examples))
    return DataCheck(parts, leakage, contradictions, lengths, len(found), suspects, findings)


def _repeats(texts: _Texts, earlier: int, later: int) -> tuple[list[tuple[int, int]], list[tuple[int, int]]]:
    """Equal and near repetitions: (text of part `earlier`, text of part `later` behind it) by index."""
    first_equal: dict[str, int] = {}
    first_near: dict[int, int] = {}
    for index, part in enumerate(texts.part_of):
        if part == earlier:
            first_equal.setdefault(texts.folded[index], index)
            first_near.setdefault(int(texts.group_of[index]), index)
    equal, near = [], []
    for index, part in enumerate(texts.part_of):
        if part != later:
            continue
        if (first := first_equal.get(texts.folded[index], index)) < index:
            equal.append((first, index))
            continue
        group = int(texts.group_of[index])
        first = min(first_near.get(other, index) for other in (group, *texts.links.get(group, ())))
        if first < index:
            near.append((first, index))
    return equal, near


def _pairs(texts: _Texts, found: Sequence[tuple[int, int]]) -> tuple[Pair, ...]:
    return tuple(Pair(texts.examples[first], texts.examples[second]) for first, second in found)


def _part(texts: _Texts, part: int, name: str, dataset: SentimentDataset, n_pairs: int) -> PartCheck:
    equal, near = _repeats(texts, part, part)
    counts = Counter(dataset.targets)
    label_counts = {label: counts[index] for index, label in enumerate(dataset.labels)}
    shown = _pairs(texts, (equal + near)[:n_pairs])
    return PartCheck(name, len(dataset), label_counts, len(equal), len(near), shown)


def _leakage(texts: _Texts, earlier: int, later: int, names: Sequence[str], n_pairs: int) -> Leakage:
    equal, near = _repeats(texts, earlier, later)
    return Leakage(names[earlier], names[later], len(equal), len(near), _pairs(texts, (equal + near)[:n_pairs]))


def _contradictions(texts: _Texts) -> tuple[tuple[Example, ...], ...]:
    """Groups of equal texts that do not have the same label."""
    by_text: dict[str, list[Example]] = {}
    for folded, example in zip(texts.folded, texts.examples, strict=True):
        by_text.setdefault(folded, []).append(example)
    return tuple(tuple(group) for group in by_text.values() if len({example.label for example in group}) > 1)


def measure_lengths(
    texts: Sequence[Sequence[str]], tokenizer: PreTrainedTokenizerBase, preprocessing: PreprocessingConfig
) -> Lengths:
    """Token counts of the texts of each part, of at most 2,000 of them at regular distances."""
    chosen = [clean(text, preprocessing) for part in texts for text in part[:: max(1, -(-len(part) // _MAX_TOKENIZED))]]
    room = text_room(tokenizer, preprocessing)
    if not chosen:
        return Lengths(0, room, 0.0, 0.0, 0, 0.0, 0.0)
    ids = tokenizer(chosen, add_special_tokens=False, return_attention_mask=False, verbose=False)["input_ids"]
    lengths = np.array([len(one) for one in ids])
    lost = np.maximum(lengths - room, 0)
    return Lengths(
        n_texts=len(lengths),
        room=room,
        median=float(np.median(lengths)),
        percentile_95=float(np.percentile(lengths, 95)),
        longest=int(lengths.max()),
        share_cut=float((lost > 0).mean()),
        share_tokens_lost=float(lost.sum() / max(lengths.sum(), 1)),
    )


def _findings(
    parts: Sequence[PartCheck],
    leakage: Sequence[Leakage],
    contradictions: Sequence[tuple[Example, ...]],
    lengths: Lengths,
    n_suspects: int,
    n_texts: int,
) -> tuple[str, ...]:
    """The check in sentences."""
    return (
        *(sentence for leak in leakage if (sentence := _leak_sentence(leak, parts))),
        *_contradiction_sentences(contradictions),
        *(sentence for part in parts for sentence in _part_sentences(part)),
        _suspect_sentence(n_suspects, n_texts),
        _length_sentence(lengths, n_texts),
    )


def _leak_sentence(leak: Leakage, parts: Sequence[PartCheck]) -> str:
    if not leak.n_equal and not leak.n_near:
        return ""
    total = next(part.n_texts for part in parts if part.name == leak.later)
    both = leak.n_equal + leak.n_near
    return (
        f"Leakage: {both:,} of {total:,} {leak.later} texts ({both / total:.1%}) are known from the {leak.earlier} "
        f"part, {leak.n_equal:,} equal and {leak.n_near:,} nearly so. The score on them shows memory, no more."
    )


def _contradiction_sentences(contradictions: Sequence[tuple[Example, ...]]) -> list[str]:
    if not contradictions:
        return []
    rows = sum(map(len, contradictions))
    where = " and ".join(example.source for example in contradictions[0][:2])
    return [
        f"Contradictions: {_count(len(contradictions), 'text')} with more than one label, in {rows:,} rows (the first "
        f"are {where}). No model can be right on all of them."
    ]


def _part_sentences(part: PartCheck) -> list[str]:
    if not part.n_texts:
        return [f"The {part.name} part is empty."]
    shares = ", ".join(f"{label} {count / part.n_texts:.1%}" for label, count in part.label_counts.items())
    rare = [label for label, count in part.label_counts.items() if count < _RARE * max(part.label_counts.values())]
    hint = ". Accuracy hides what happens to " + " and ".join(rare) + ": look at macro-F1" if rare else ""
    sentences = [f"The {part.name} part has {_count(part.n_texts, 'text')}: {shares}{hint}."]
    if part.n_equal or part.n_near:
        share = (part.n_equal + part.n_near) / part.n_texts
        sentences.append(
            f"Repeated within the {part.name} part: {_count(part.n_equal, 'text')} equal to an earlier one, "
            f"{part.n_near:,} more nearly so ({share:.1%})."
        )
    return sentences


def _suspect_sentence(n_suspects: int, n_texts: int) -> str:
    if n_texts < MIN_TEXTS:
        return f"{_count(n_texts, 'text')} are too few to look for wrong labels; it takes {MIN_TEXTS}."
    return (
        f"Suspects: for {_count(n_suspects, 'text')} of {n_texts:,} ({n_suspects / n_texts:.1%}), a model of their "
        "words finds another label more probable. It errs often: read the first ones."
    )


def _length_sentence(lengths: Lengths, n_texts: int) -> str:
    sizes = f"{lengths.median:.0f} tokens in the middle, {lengths.longest:,} at most"
    if lengths.n_texts < n_texts:
        sizes += f", by a sample of {lengths.n_texts:,} texts"
    if not lengths.share_cut:
        return f"No text is cut: {sizes}, and the model sees {lengths.room:,}."
    return (
        f"Cut to {lengths.room:,} tokens: {lengths.share_cut:.1%} of the texts, which loses "
        f"{lengths.share_tokens_lost:.1%} of all tokens ({sizes})."
    )


def _count(number: int, noun: str) -> str:
    return f"{number:,} {noun}{'' if number == 1 else 's'}"
