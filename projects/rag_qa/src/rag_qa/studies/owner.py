"""Searching as the owner of an index, who may see all of it: what is measured must not depend on who asks."""

from dataclasses import dataclass, replace
from typing import Literal

from rag_qa.config import RetrievalConfig
from rag_qa.document_processor.index import Index
from rag_qa.protocols import Where
from rag_qa.retrieval.hybrid import HybridRetriever
from rag_qa.retrieval.multi_query import Ask
from rag_qa.retrieval.stages import Stages
from rag_qa.types import Retrieved, User


@dataclass(frozen=True)
class OwnersRetriever:
    """Implements `Retriever` for a user who is in every group of the index."""

    inner: HybridRetriever
    owner: User

    @classmethod
    def over(cls, index: Index, config: RetrievalConfig, ask: Ask | None = None) -> "OwnersRetriever":
        """Search an index; `ask` is a language model that words questions anew for multi_query."""
        groups = sorted({group for info in index.documents() for group in info.groups})
        return cls(HybridRetriever.over(index, config, ask=ask), User(name="owner", groups=tuple(groups)))

    @property
    def config(self) -> RetrievalConfig:
        """Settings of the search."""
        return self.inner.config

    def alone(self, mode: Literal["sparse", "dense"]) -> "OwnersRetriever":
        """One of the two searches without the other."""
        return replace(self, inner=self.inner.with_config(replace(self.config, mode=mode, reranker=None, mmr=None)))

    def search(self, query: str, k: int | None = None, user: User | None = None, where: Where = ()) -> list[Retrieved]:
        """Passages, best first; without a user, of all documents."""
        return self.inner.search(query, k, user or self.owner, where)

    def stages(self, query: str, k: int | None = None) -> Stages:
        """Rankings of each search and of the fusion, over all documents."""
        return self.inner.stages(query, k, self.owner)

    def finished(self, stages: Stages, k: int | None = None) -> list[Retrieved]:
        """The passages that these rankings lead to, best first."""
        return self.inner.finished(stages, k, self.owner)
