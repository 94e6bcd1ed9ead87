"""What the stages hand to each other: document → chunks → retrieved chunks → answer with citations.

Every place is a pair of character offsets into `Document.text`, first included and last not, so that
`document.text[start:end]` is what a chunk, a heading or a citation speaks of.
"""

from bisect import bisect_right
from collections.abc import Mapping
from dataclasses import dataclass, field

PUBLIC = "public"
"""The group that every user belongs to."""


@dataclass(frozen=True, kw_only=True)
class Page:
    """One page of a PDF, one sheet, or the whole of a text without pages."""

    number: int
    """Counted from 1, as a viewer shows it."""

    start: int
    end: int


@dataclass(frozen=True, kw_only=True)
class Heading:
    """A heading's own line, without its markup."""

    level: int
    """1 for the title of the document."""

    title: str
    start: int
    end: int


@dataclass(frozen=True, kw_only=True)
class Document:
    """The text of one source, in reading order."""

    source: str
    """What the document is called in an index, in citations and on the command line: a file's path within the ingested
    folder, with forward slashes."""

    title: str
    text: str
    pages: tuple[Page, ...]
    """In order, at least one, not overlapping; between two of them there may be a separator."""

    content_hash: str
    """sha256 of the source's bytes, hexadecimal."""

    headings: tuple[Heading, ...] = ()
    metadata: Mapping[str, str] = field(default_factory=dict)
    """What the source says of itself, such as author, language or format."""

    notes: tuple[str, ...] = ()
    """What a reader of the document should know: pages without text, repaired encodings."""

    def page_at(self, offset: int) -> Page:
        """The page on which a character stands; the one before, where it stands between two."""
        return self.pages[max(0, bisect_right(self.pages, offset, key=lambda page: page.start) - 1)]


@dataclass(frozen=True, kw_only=True)
class Chunk:
    """A passage of a document: what is embedded, retrieved and cited."""

    source: str
    start: int
    end: int
    text: str
    """`document.text[start:end]`, character by character."""

    page: int
    """Number of the page on which it starts."""

    headings: tuple[str, ...] = ()
    """Titles of the sections that it lies in, outermost first."""

    id: int = -1
    """Number within an index, never used twice; -1 before the chunk is stored."""

    groups: tuple[str, ...] = (PUBLIC,)
    """Whoever is in one of them may see it."""


@dataclass(frozen=True, kw_only=True)
class Retrieved:
    """A chunk that answers a query, best first in a list."""

    chunk: Chunk
    score: float
    """The reranker's where it read the passage, else that of the fusion; comparable among those of the same stage."""

    ranks: Mapping[str, int] = field(default_factory=dict)
    """Rank in each stage that found it, counted from 1: `dense`, `sparse`, `fused`, `reranked`, `mmr`."""

    scores: Mapping[str, float] = field(default_factory=dict)
    """Score in each stage that found it: cosine similarity, BM25, fused, the reranker's, relevance from 0 to 1."""


@dataclass(frozen=True, kw_only=True)
class Citation:
    """A verbatim span of a document: `document.text[start:end] == quote`."""

    source: str
    page: int
    start: int
    end: int
    quote: str
    chunk_id: int


@dataclass(frozen=True, kw_only=True)
class Statement:
    """One sentence of an answer and what it rests on."""

    text: str
    citations: tuple[Citation, ...]
    supported: bool
    """Whether a citation holds what the sentence says; unsupported ones are struck or marked."""


@dataclass(frozen=True, kw_only=True)
class Answer:
    """An answer, or a refusal with its reason in `text`."""

    question: str
    text: str
    statements: tuple[Statement, ...]
    span: str | None
    """The shortest words that answer the question, where the generator finds them."""

    confidence: float
    """Calibrated probability that the retrieved passages hold the answer, 0 to 1."""

    refused: bool
    retrieved: tuple[Retrieved, ...]
    """What was read for it."""

    generator: str
    """Back end that wrote it."""


@dataclass(frozen=True, kw_only=True)
class User:
    """Who asks. Groups decide what is searched at all."""

    name: str = "anonymous"
    groups: tuple[str, ...] = ()

    @property
    def visible_groups(self) -> tuple[str, ...]:
        """The user's groups and the public one."""
        return tuple(sorted({*self.groups, PUBLIC}))
