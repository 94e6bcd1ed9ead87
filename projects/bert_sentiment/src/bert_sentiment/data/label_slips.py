"""Labels that look like one label written in two ways: each would be trained as a class of its own."""

import re
import shlex
from collections import defaultdict
from collections.abc import Mapping, Sequence

from roadmap_shared.errors import did_you_mean

_RARE = 0.2  # a slip is at most a fifth as frequent as what was meant


def label_slips(counts: Mapping[str, int]) -> dict[str, str]:
    """{label: the more frequent one that was probably meant}.

    Labels that differ by case alone are one, whatever their numbers. Others are so where the names are alike and one is
    at most a fifth as frequent. Alike by design are numbers (1 star, 2 stars), names of different numbers of words
    (negative, very negative), and a name with something before it (happy, unhappy).

    Args:
        counts: training texts of each label.
    """
    spellings: dict[str, list[str]] = defaultdict(list)
    for label in counts:
        spellings[label.casefold()].append(label)
    usual = [max(group, key=lambda label: counts[label]) for group in spellings.values()]
    meant = {label: best for group, best in zip(spellings.values(), usual, strict=True) for label in group}
    for label in sorted(usual, key=lambda name: -counts[name]):
        others = [other for other in usual if counts[label] <= _RARE * counts[other] and not _by_design(label, other)]
        near = next((other for other in others if did_you_mean(label.casefold(), [other.casefold()])), None)
        if near is not None:
            meant |= {spelling: meant[near] for spelling in spellings[label.casefold()]}
    return {label: other for label, other in meant.items() if label != other}


def slip_sentence(counts: Mapping[str, int], label_map: Sequence[str] = ()) -> str:
    """What `label_slips` finds, with the setting that mends it; empty where it finds nothing.

    Args:
        counts: training texts of each label.
        label_map: `--data.label_map` as it was given: the mended one starts from it.
    """
    meant = label_slips(counts)
    if not meant:
        return ""
    shown = "; ".join(_one(label, other, counts) for label, other in meant.items())
    pairs = [pair.partition("=")[::2] for pair in label_map] or [(label, label) for label in counts]
    mended = " ".join(shlex.quote(f"{theirs}={meant.get(ours, ours)}") for theirs, ours in pairs)
    return f"Labels: {shown}. Each is a class of its own; if that is not meant: --data.label_map {mended}"


def _one(label: str, other: str, counts: Mapping[str, int]) -> str:
    names = f"'{label}' ({counts[label]:,}) and '{other}' ({counts[other]:,})"
    return f"{names} {'differ by case only' if label.casefold() == other.casefold() else 'are nearly the same'}"


def _by_design(label: str, other: str) -> bool:
    shorter, longer = sorted((label.casefold(), other.casefold()), key=len)
    has_prefix = longer.endswith(shorter) and len(longer) - len(shorter) > 1
    return has_prefix or bool(re.search(r"\d", longer)) or len(shorter.split()) != len(longer.split())
