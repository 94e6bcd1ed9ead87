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
from bert_sentiment.data.check_results import DataCheck, Leakage, Lengths, Pair, PartCheck, Suspect
from bert_sentiment.data.check_sentences import findings, warnings
from bert_sentiment.data.label_noise import SuspectIndex, find_suspects
from bert_sentiment.data.label_slips import slip_sentence
from bert_sentiment.data.preprocessor import clean, text_room
from bert_sentiment.data.similarity import Words, near_groups, read_words
from bert_sentiment.data.splitting import fold
from bert_sentiment.data.types import Example, SentimentDataset, Splits

_MAX_TOKENIZED = 2000  # texts a part: the shares of a sample of as many are exact to about two points


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
    label_map: Sequence[str] = (),
    n_suspects: int = 20,
    n_pairs: int = 5,
) -> DataCheck:
    """Look for duplicates, leakage, imbalance, contradictions, texts that are cut, and wrong labels.

    Args:
        splits: the texts.
        tokenizer: of the model that will be trained.
        preprocessing: what is done to the texts, of which the length and the cleaning count here.
        label_map: `--data.label_map` as it was given, for the one that mends labels.
        n_suspects: suspects of a wrong label that are returned; all are counted.
        n_pairs: pairs shown for each part, and for each leak.
    """
    names = ("train", "validation", "test")
    datasets = (splits.train, splits.validation, splits.test)
    words, texts = _read(datasets)
    targets = np.array([example.label for example in texts.examples], dtype=np.int64)
    found = find_suspects(words, targets, texts.group_of)
    parts = tuple(_part(texts, part, names[part], datasets[part], n_pairs) for part in range(3))
    leakage = tuple(_leakage(texts, earlier, later, names, n_pairs) for later in (1, 2) for earlier in range(later))
    contradictions = _contradictions(texts)
    lengths = measure_lengths([dataset.texts for dataset in datasets], tokenizer, preprocessing)
    slips = slip_sentence(parts[0].label_counts, label_map)
    return DataCheck(
        parts,
        leakage,
        contradictions,
        lengths,
        n_suspects=len(found),
        suspects=tuple(_suspect(one, texts, names, splits.labels) for one in found[:n_suspects]),
        findings=findings(parts, leakage, contradictions, slips, lengths, len(found)),
        warnings=warnings(parts, leakage, contradictions, slips, lengths),
    )


def _read(datasets: Sequence[SentimentDataset]) -> tuple[Words, _Texts]:
    """The words of all texts, and the texts with what repeats them."""
    examples = [example for dataset in datasets for example in dataset.examples]
    part_of = [part for part, dataset in enumerate(datasets) for _ in dataset.examples]
    words = read_words([example.text for example in examples])
    group_of, links = near_groups([example.text for example in examples], words)
    return words, _Texts(examples, part_of, [fold(example.text) for example in examples], group_of, links)


def _suspect(found: SuspectIndex, texts: _Texts, names: Sequence[str], labels: Sequence[str]) -> Suspect:
    example = texts.examples[found.index]
    part = names[texts.part_of[found.index]]
    return Suspect(part, example, labels[example.label], labels[found.suggested], found.given_probability)


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
    samples = [part[:: max(1, -(-len(part) // _MAX_TOKENIZED))] for part in texts]
    chosen = [clean(text, preprocessing) for part in samples for text in part]
    room = text_room(tokenizer, preprocessing)
    if not chosen:
        return Lengths(0, room, 0.0, 0.0, 0, 0.0, 0.0)
    ids = tokenizer(chosen, add_special_tokens=False, return_attention_mask=False, verbose=False)["input_ids"]
    lengths = np.array([len(one) for one in ids])
    lost = np.maximum(lengths - room, 0)
    ends = np.cumsum([len(part) for part in samples])[:-1]
    return Lengths(
        n_texts=len(lengths),
        room=room,
        median=float(np.median(lengths)),
        percentile_95=float(np.percentile(lengths, 95)),
        longest=int(lengths.max()),
        share_cut=float((lost > 0).mean()),
        share_tokens_lost=float(lost.sum() / max(lengths.sum(), 1)),
        by_part=tuple(tuple(part.tolist()) for part in np.split(lengths, ends)),
    )
