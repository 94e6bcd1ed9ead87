"""The data check in sentences for the report, and in short lines for the terminal."""

from collections.abc import Sequence

from bert_sentiment.data.check_results import DataCheck, Leakage, Lengths, PartCheck
from bert_sentiment.data.label_noise import MIN_TEXTS
from bert_sentiment.data.types import Example

_RARE = 0.1  # a label less than a tenth as frequent as the most frequent one
_CUT = 0.05  # texts that lose their end: below this share no score moves


def findings(
    parts: Sequence[PartCheck],
    leakage: Sequence[Leakage],
    contradictions: Sequence[tuple[Example, ...]],
    slips: str,
    lengths: Lengths,
    n_suspects: int,
) -> tuple[str, ...]:
    """The check in sentences, the ones that need a person first."""
    n_texts = sum(part.n_texts for part in parts)
    return (
        *(sentence for leak in leakage if (sentence := _leak_sentence(leak, parts))),
        *_contradiction_sentences(contradictions),
        *([slips] if slips else []),
        *(sentence for part in parts for sentence in _part_sentences(part)),
        _suspect_sentence(n_suspects, n_texts),
        _length_sentence(lengths, n_texts),
    )


def warnings(
    parts: Sequence[PartCheck],
    leakage: Sequence[Leakage],
    contradictions: Sequence[tuple[Example, ...]],
    slips: str,
    lengths: Lengths,
) -> tuple[str, ...]:
    """One line for each thing to know before training: leakage into the test, contradictions, labels that may be a slip
    or are rare or alone in the test, texts that are cut."""
    train, _, test = parts
    lines = []
    for leak in leakage:
        if (leak.earlier, leak.later) == ("train", "test") and (both := leak.n_equal + leak.n_near):
            lines.append(f"{both:,} of {test.n_texts:,} test texts ({both / test.n_texts:.1%}) are known from training")
    if contradictions:
        where = " and ".join(example.source for example in contradictions[0][:2])
        lines.append(f"{_count(len(contradictions), 'text')} with more than one label (the first are {where})")
    if slips:
        lines.append(slips)
    if rare := rare_labels(train.label_counts):
        counts = ", ".join(f"{label} ({train.label_counts[label]:,})" for label in rare)
        lines.append(f"rare among {_count(train.n_texts, 'training text')}: {counts}; look at macro-F1, not accuracy")
    if only := only_label(test.label_counts):
        lines.append(f"every test text has the label '{only}': there is no area under the ROC curve")
    if lengths.share_cut >= _CUT:
        lines.append(
            f"{lengths.share_cut:.1%} of the texts are cut to {lengths.room:,} tokens; --preprocessing.max_length and "
            "--preprocessing.truncation decide where"
        )
    return tuple(lines)


def print_warnings(check: DataCheck) -> None:
    """Print the warnings, a line each, for the user to see before hours of training."""
    for line in check.warnings:
        print(f"data check: {line}", flush=True)


def rare_labels(counts: dict[str, int]) -> list[str]:
    """Labels less than a tenth as frequent as the most frequent one."""
    return [label for label, count in counts.items() if count < _RARE * max(counts.values())]


def only_label(counts: dict[str, int]) -> str | None:
    """The label that all texts have; None where they have several, or there are none."""
    present = [label for label, count in counts.items() if count]
    return present[0] if len(present) == 1 else None


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
    rare = rare_labels(part.label_counts)
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
