"""What the data check finds: repetitions, leakage, contradictions, lengths, and labels that look wrong."""

from dataclasses import dataclass

from bert_sentiment.data.types import Example


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
    by_part: tuple[tuple[int, ...], ...] = ()
    """Of each part the tokens of each measured text."""


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
    """Everything found. `findings` says it in sentences, the ones that need a person first; `warnings` are short lines
    for what should be known before hours of training."""

    parts: tuple[PartCheck, ...]
    leakage: tuple[Leakage, ...]
    contradictions: tuple[tuple[Example, ...], ...]
    lengths: Lengths
    n_suspects: int
    suspects: tuple[Suspect, ...]
    findings: tuple[str, ...]
    warnings: tuple[str, ...]
