"""An index as a LangChain retriever. Needs the extra `langchain`.

retriever = RagQARetriever(assistant=Assistant.open(Path("rag-index")), user=User(groups=("hr",)))
chain = {"context": retriever, "question": RunnablePassthrough()} | prompt | model

One retriever serves all users: `retriever.invoke(question, user=User(...))` asks for one of them; in a chain, so does
`retriever.configurable_fields(user=ConfigurableField(id="user"))` with `config={"configurable": {"user": User(...)}}`.
With `assistant=OpenedByNeed(Path("rag-index"))` a retriever can be pickled.
"""

from typing import Any

from pydantic import Field

from rag_qa.protocols import Where
from rag_qa.types import Retrieved, User
from roadmap_shared.errors import UserError

try:
    from langchain_core.callbacks import AsyncCallbackManagerForRetrieverRun, CallbackManagerForRetrieverRun
    from langchain_core.documents import Document
    from langchain_core.retrievers import BaseRetriever
    from langchain_core.runnables import run_in_executor
    from langchain_core.tools import ToolException
except ImportError as error:
    raise UserError('langchain-core is not installed. Run: pip install "roadmap-rag-qa[langchain]"') from error


class SearchRefused(UserError, ToolException):
    """A question, or a setting, that cannot be searched with. An agent's tool with `handle_tool_error=True` tells its
    model, which can then ask otherwise; without it the run ends with the message."""


class RagQARetriever(BaseRetriever):
    """Passages of an index as LangChain documents, by `Assistant.search`: hybrid, with the user's permissions.

    `invoke` takes `user`, `where` and `k` for one question, and no other keyword. `ainvoke` and the other asynchronous
    methods search in a thread.
    """

    assistant: Any = Field(repr=False)
    """An `Assistant`, an `OpenedByNeed`, or whatever has their `search`."""

    user: User = User()
    """Who asks; what this user may not see is never searched."""

    where: Where = ()
    """Further conditions, such as `(Condition(field="source", any_of=("a.pdf",)),)`."""

    k: int | None = None
    """Passages of one search; None: as the assistant is configured."""

    scores: bool = False
    """Whether the metadata tells `score` and `ranks` as well. They depend on the question, so that the same passage,
    found by two questions, is then two documents to what joins them by equality, as `MultiQueryRetriever` does."""

    def _get_relevant_documents(
        self,
        query: str,
        *,
        run_manager: CallbackManagerForRetrieverRun,
        user: User | None = None,
        where: Where = (),
        k: int | None = None,
    ) -> list[Document]:
        """Passages for a question.

        Args:
            query: the question.
            run_manager: of LangChain.
            user: in place of the retriever's own.
            where: holds besides the retriever's own conditions, so that no question can widen them.
            k: in place of the retriever's own.

        Raises:
            SearchRefused: the question holds neither letter nor digit, or k is below 1.
        """
        narrowed = (*self.where, *where)
        try:
            found = self.assistant.search(query, user=user or self.user, where=narrowed, k=self.k if k is None else k)
        except UserError as error:
            raise SearchRefused(str(error)) from error
        return [to_document(item, scores=self.scores) for item in found]

    async def _aget_relevant_documents(
        self, query: str, *, run_manager: AsyncCallbackManagerForRetrieverRun, **options: Any
    ) -> list[Document]:
        # The base class's method would drop the options, and with them whoever asks.
        return await run_in_executor(
            None, self._get_relevant_documents, query, run_manager=run_manager.get_sync(), **options
        )


def to_document(item: Retrieved, *, scores: bool = False) -> Document:
    """A passage as LangChain's document. `start` and `end` are offsets into the text of the source; `chunk_id` is what
    an `EnsembleRetriever(id_key="chunk_id")` tells passages apart by."""
    chunk = item.chunk
    metadata = {
        "source": chunk.source,
        "page": chunk.page,
        "start": chunk.start,
        "end": chunk.end,
        "headings": list(chunk.headings),
        "chunk_id": chunk.id,
    }
    if scores:
        metadata |= {"score": float(item.score), "ranks": dict(item.ranks)}
    return Document(id=str(chunk.id), page_content=chunk.text, metadata=metadata)
