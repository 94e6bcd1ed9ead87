"""What the Streamlit page keeps and shows: exchanges of a conversation, opened citations, uploaded files."""

from dataclasses import dataclass

from rag_qa.generation.agent import AgentStep
from rag_qa.types import Answer, Citation


@dataclass(frozen=True, kw_only=True)
class Exchange:
    """A question, as it was searched, and its answer."""

    id: str
    question: str
    searched: str
    """The question as it was completed from the conversation."""

    answer: Answer
    seconds: float
    steps: tuple[AgentStep, ...] = ()
    """Tool calls, where the agent answered."""

    @property
    def sources(self) -> frozenset[str]:
        """Documents that the answer was read from."""
        return frozenset(item.chunk.source for item in self.answer.retrieved)


@dataclass(frozen=True, kw_only=True)
class CitedPage:
    """What a citation opens: an image of the page for a PDF whose file is there, and the text around the quote."""

    citation: Citation
    image: bytes | None
    before: str
    quote: str
    behind: str
    closeup: bytes | None = None
    """The lines of the image around the quote; None without an image, or where the quote has no place on it."""

    remark: str = ""
    """Why there is no image of a PDF."""


@dataclass(frozen=True, kw_only=True)
class UploadedBytes:
    """A file that came through the browser."""

    name: str
    data: bytes
