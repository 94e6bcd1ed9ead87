"""Parts drawn within each label, by a seed, so that equal texts stay on one side."""

import random
from collections import Counter, defaultdict
from collections.abc import Sequence

from bert_sentiment.data.types import Example


def fold(text: str) -> str:
    """What two texts have in common when they differ in case and blanks only."""
    return " ".join(text.casefold().split())


def groups_of_equal(examples: Sequence[Example]) -> dict[int, list[list[int]]]:
    """Indices of the examples: for each label the groups of equal texts.

    A group whose texts have several labels belongs to the most frequent of them, the first of equally frequent ones.
    """
    groups: dict[str, list[int]] = defaultdict(list)
    for index, example in enumerate(examples):
        groups[fold(example.text)].append(index)
    by_label: dict[int, list[list[int]]] = defaultdict(list)
    for group in groups.values():
        label = Counter(examples[index].label for index in group).most_common(1)[0][0]
        by_label[label].append(group)
    return by_label


def hold_out(examples: Sequence[Example], share: float, seed: int) -> tuple[tuple[Example, ...], tuple[Example, ...]]:
    """(rest, held out), each in the order of `examples`.

    Of each label `share` of the texts is held out, at least one and never all. A label all of whose texts are equal
    stays in the rest.
    """
    drawn = random.Random(seed)
    held: set[int] = set()
    for _, groups in sorted(groups_of_equal(examples).items()):
        drawn.shuffle(groups)
        wanted = max(1, round(share * sum(map(len, groups))))
        taken: list[list[int]] = []
        for group in groups:
            # One that is too large is passed over: a text that occurs a hundred times would be the whole test.
            if len(group) <= wanted and len(taken) < len(groups) - 1:
                wanted -= len(group)
                taken.append(group)
        if not taken and len(groups) > 1:
            taken.append(min(groups, key=len))
        held.update(index for group in taken for index in group)
    rest = tuple(example for index, example in enumerate(examples) if index not in held)
    return rest, tuple(examples[index] for index in sorted(held))


def sample(examples: tuple[Example, ...], size: int | None, seed: int) -> tuple[Example, ...]:
    """`size` of the examples in their order, with the labels in their proportions and none of them lost."""
    if size is None or len(examples) <= size:
        return examples
    by_label: dict[int, list[int]] = defaultdict(list)
    for index, example in enumerate(examples):
        by_label[example.label].append(index)
    drawn = random.Random(seed)
    order: list[tuple[float, int]] = []
    for _, indices in sorted(by_label.items()):
        drawn.shuffle(indices)
        # Evenly spread over 0 … 1: any beginning of the sorted whole has the proportions. Each label has one at 0.
        order += [((place + 0.5) / len(indices) if place else 0.0, index) for place, index in enumerate(indices)]
    return tuple(examples[index] for index in sorted(index for _, index in sorted(order)[:size]))
