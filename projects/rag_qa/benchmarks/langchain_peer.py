"""LangChain's FAISS + BM25 ensemble: its own classes where they are installed, or the same steps on langchain-core.

The steps are those of langchain-community 0.4 (`FAISS`: a flat index by Euclidean distance; `BM25Retriever`:
rank_bm25's `BM25Okapi`, texts cut by `text.split()`) and of langchain-classic 1.0 (`EnsembleRetriever`: weighted
reciprocal rank fusion with c = 60, passages told apart by their text). Callbacks and documents are langchain-core's
own.
"""

import math
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any

import faiss
import numpy as np
from langchain_core.callbacks import CallbackManagerForRetrieverRun
from langchain_core.documents import Document
from langchain_core.embeddings import Embeddings
from langchain_core.retrievers import BaseRetriever
from langchain_core.runnables.config import patch_config

Embed = Callable[[list[str]], Any]


class Embedded(Embeddings):
    """As `HuggingFaceEmbeddings`: vectors become lists."""

    def __init__(self, embed: Embed) -> None:
        self._embed = embed

    def embed_documents(self, texts: list[str]) -> list[list[float]]:
        return np.asarray(self._embed(texts)).tolist()

    def embed_query(self, text: str) -> list[float]:
        return self.embed_documents([text])[0]


def ensemble(texts: Sequence[str], sources: Sequence[str], embed: Embed, k: int) -> BaseRetriever:
    """The ensemble over passages; says on the first line whose it is."""
    pairs = zip(texts, sources, strict=True)
    documents = [Document(page_content=text, metadata={"source": source}) for text, source in pairs]
    embeddings = Embedded(embed)
    try:
        from langchain_classic.retrievers import EnsembleRetriever  # pyright: ignore[reportMissingImports]
        from langchain_community.retrievers import BM25Retriever  # pyright: ignore[reportMissingImports]
        from langchain_community.vectorstores import FAISS  # pyright: ignore[reportMissingImports]

        print("peer: langchain-community and langchain-classic")
        dense = FAISS.from_documents(documents, embeddings).as_retriever(search_kwargs={"k": k})
        return EnsembleRetriever(retrievers=[BM25Retriever.from_documents(documents, k=k), dense], weights=[0.5, 0.5])
    except ImportError as error:
        print(f"peer: the same steps on langchain-core ({error.name} is not installed)")
    vectors = np.array(embeddings.embed_documents(list(texts)), dtype=np.float32)
    index = faiss.IndexFlatL2(vectors.shape[1])
    index.add(vectors)  # type: ignore[call-arg]
    flat = FlatRetriever(index=index, documents=documents, embeddings=embeddings, k=k)
    return Ensemble(retrievers=[OkapiRetriever(okapi=Okapi(documents), documents=documents, k=k), flat])


class FlatRetriever(BaseRetriever):
    """`FAISS.similarity_search` behind `as_retriever`."""

    index: Any
    documents: list[Document]
    embeddings: Any
    k: int

    def _get_relevant_documents(self, query: str, *, run_manager: CallbackManagerForRetrieverRun) -> list[Document]:
        vector = np.array([self.embeddings.embed_query(query)], dtype=np.float32)
        _, rows = self.index.search(vector, self.k)
        return [self.documents[row] for row in rows[0] if row != -1]


class Okapi:
    """rank_bm25's `BM25Okapi`: k1 1.5, b 0.75, negative idf raised to a quarter of the mean (`epsilon`)."""

    def __init__(self, documents: Sequence[Document], k1: float = 1.5, b: float = 0.75, epsilon: float = 0.25) -> None:
        self.counts = [dict(Counter(document.page_content.split())) for document in documents]
        lengths = np.array([sum(count.values()) for count in self.counts])
        self.norm = k1 * (1 - b + b * lengths / lengths.mean())
        self.k1 = k1
        frequency = Counter(word for count in self.counts for word in count)
        idf = {word: math.log(len(documents) - n + 0.5) - math.log(n + 0.5) for word, n in frequency.items()}
        floor = epsilon * sum(idf.values()) / len(idf)
        self.idf = {word: value if value >= 0 else floor for word, value in idf.items()}

    def scores(self, words: Sequence[str]) -> np.ndarray:
        """(N,) scores of all passages, word by word as `get_scores` does it."""
        total = np.zeros(len(self.counts))
        for word in words:
            found = np.array([count.get(word) or 0 for count in self.counts])
            total += (self.idf.get(word) or 0) * (found * (self.k1 + 1) / (found + self.norm))
        return total


class OkapiRetriever(BaseRetriever):
    """`BM25Retriever`."""

    okapi: Any
    documents: list[Document]
    k: int

    def _get_relevant_documents(self, query: str, *, run_manager: CallbackManagerForRetrieverRun) -> list[Document]:
        best = np.argsort(self.okapi.scores(query.split()))[::-1][: self.k]
        return [self.documents[row] for row in best]


class Ensemble(BaseRetriever):
    """`EnsembleRetriever.rank_fusion` and `weighted_reciprocal_rank`."""

    retrievers: list[BaseRetriever]

    def _get_relevant_documents(self, query: str, *, run_manager: CallbackManagerForRetrieverRun) -> list[Document]:
        lists = [
            retriever.invoke(query, patch_config({}, callbacks=run_manager.get_child(tag=f"retriever_{n}")))
            for n, retriever in enumerate(self.retrievers, 1)
        ]
        scores: dict[str, float] = {}
        for found in lists:
            for rank, document in enumerate(found, start=1):
                scores[document.page_content] = scores.get(document.page_content, 0.0) + 0.5 / (rank + 60)
        unique = {document.page_content: document for found in lists for document in found}
        return sorted(unique.values(), key=lambda document: scores[document.page_content], reverse=True)
