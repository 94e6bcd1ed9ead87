"""What a loader returns: labelled texts, and rows that it could not use."""

from collections.abc import Callable
from dataclasses import dataclass, replace

MAX_CHARACTERS = 1_000_000
"""A longer text is refused: the model would see a thousandth of it, and a broken file looks like that."""


@dataclass(frozen=True)
class Example:
    """One labelled text. `label` is the index of its label; `source` says where it stands: `reviews.csv:17`."""

    text: str
    label: int
    domain: str = "all"
    tags: tuple[str, ...] = ()
    source: str = ""


@dataclass(frozen=True)
class Reject:
    """A row that is no example, with the reason."""

    source: str
    reason: str


@dataclass(frozen=True)
class SentimentDataset:
    """Labelled texts under one list of label names. `origin` is one sentence for a report."""

    labels: tuple[str, ...]
    examples: tuple[Example, ...]
    origin: str
    rejects: tuple[Reject, ...] = ()

    def __len__(self) -> int:
        return len(self.examples)

    @property
    def texts(self) -> list[str]:
        return [example.text for example in self.examples]

    @property
    def targets(self) -> list[int]:
        """The index of each text's label."""
        return [example.label for example in self.examples]

    @property
    def domains(self) -> list[str]:
        """The domains, each once, in the order in which they come."""
        return list(dict.fromkeys(example.domain for example in self.examples))

    def where(self, keep: Callable[[Example], bool]) -> "SentimentDataset":
        """The examples for which `keep` is true."""
        return replace(self, examples=tuple(filter(keep, self.examples)))


@dataclass(frozen=True)
class Splits:
    """Training, validation and test part, with the same labels."""

    train: SentimentDataset
    validation: SentimentDataset
    test: SentimentDataset

    @property
    def labels(self) -> tuple[str, ...]:
        return self.train.labels
