"""An index as a LangChain retriever. Needs the extra `langchain`.

retriever = RagQARetriever(assistant=Assistant.open(Path("rag-index")), user=User(groups=("hr",)))
chain = {"context": retriever, "question": RunnablePassthrough()} | prompt | model
"""

from typing import Any

from rag_qa.protocols import Where
from rag_qa.types import Retrieved, User
from roadmap_shared.errors import UserError

try:
    from langchain_core.callbacks import CallbackManagerForRetrieverRun
    from langchain_core.documents import Document
    from langchain_core.retrievers import BaseRetriever
except ImportError as error:
    raise UserError('langchain-core is not installed. Run: pip install "roadmap-rag-qa[langchain]"') from error


class RagQARetriever(BaseRetriever):
    """Passages of an index as LangChain documents, by `Assistant.search`: hybrid, with the user's permissions.

    `ainvoke` and the other asynchronous methods search in a thread.
    """

    assistant: Any
    """An `Assistant`, or whatever has its `search`."""

    user: User = User()
    """Who asks; what this user may not see is never searched."""

    where: Where = ()
    """Further conditions, such as `(Condition(field="source", any_of=("a.pdf",)),)`."""

    k: int | None = None
    """Passages of one search; None: as the assistant is configured."""

    def _get_relevant_documents(self, query: str, *, run_manager: CallbackManagerForRetrieverRun) -> list[Document]:
        found = self.assistant.search(query, user=self.user, where=self.where, k=self.k)
        return [to_document(item) for item in found]


def to_document(item: Retrieved) -> Document:
    """A passage as LangChain's document. `start` and `end` are offsets into the text of the source."""
    chunk = item.chunk
    return Document(
        id=str(chunk.id),
        page_content=chunk.text,
        metadata={
            "source": chunk.source,
            "page": chunk.page,
            "start": chunk.start,
            "end": chunk.end,
            "score": float(item.score),
            "headings": list(chunk.headings),
            "ranks": dict(item.ranks),
        },
    )
