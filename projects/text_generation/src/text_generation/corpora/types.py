"""What a loader returns: documents to train on and to measure on, and what it could not use."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

Kind = Literal["story", "function", "text"]

KIND_NAMES: Mapping[Kind, str] = {"story": "stories", "function": "functions", "text": "documents"}
"""What a report calls documents of a kind."""

_NAMED_REJECTS = 3


@dataclass(frozen=True, slots=True)
class Document:
    """One text of a corpus."""

    text: str
    kind: Kind
    source: str
    """Where it stands: `stories:17`, `json.decoder:JSONDecoder.decode`, `notes.txt:3`."""

    group: str
    """Documents of one group never stand on two sides of a split."""


@dataclass(frozen=True)
class Reject:
    """A document or row that cannot be used, with the reason."""

    source: str
    reason: str

    def __str__(self) -> str:
        return f"{self.source}: {self.reason}"


def rejected_line(rejects: Sequence[Reject]) -> str:
    """`2 rows left out: chats.jsonl:4 (has no 'completion'), …`: three are named."""
    shown = ", ".join(f"{reject.source} ({reject.reason})" for reject in rejects[:_NAMED_REJECTS])
    more = f" and {len(rejects) - _NAMED_REJECTS:,} more" if len(rejects) > _NAMED_REJECTS else ""
    return f"{len(rejects):,} {'row' if len(rejects) == 1 else 'rows'} left out: {shown}{more}"


@dataclass(frozen=True)
class Corpus:
    """Documents for training, in a mixed order, and held-out ones. `origin` is one or more sentences for a report."""

    train: tuple[Document, ...]
    validation: tuple[Document, ...]
    origin: str
    rejects: tuple[Reject, ...] = ()

    @property
    def kinds(self) -> tuple[Kind, ...]:
        """Kinds of the training documents, in the order story, function, text."""
        present = {document.kind for document in self.train}
        order: tuple[Kind, ...] = ("story", "function", "text")
        return tuple(kind for kind in order if kind in present)


def texts_of(documents: Iterable[Document], kind: Kind | None = None) -> list[str]:
    """The texts of the documents, or of those of one kind."""
    return [document.text for document in documents if kind is None or document.kind == kind]
