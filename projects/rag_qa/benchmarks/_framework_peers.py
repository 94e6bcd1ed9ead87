"""Hybrid search as the guides of LangChain and of LlamaIndex build it, by the classes of these frameworks themselves.

LangChain: `FAISS` and `BM25Retriever` of langchain-community in an `EnsembleRetriever` with equal weights and c = 60.
Its embeddings are `HuggingFaceEmbeddings` of langchain-community. langchain-huggingface has the same class, with the
same calls of sentence-transformers, but cannot be installed beside huggingface-hub 2, which transformers needs.

LlamaIndex: `VectorStoreIndex` and `BM25Retriever` in a `QueryFusionRetriever` by reciprocal ranks, which asks for the
question alone (`num_queries=1`) and so needs no language model.

Nothing else is set: what a framework does unasked is what it is measured with.
"""

import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from rag_qa.types import Chunk
from roadmap_shared.errors import UserError
from roadmap_shared.offline.encoder import minilm_folder

Search = Callable[[str], list[str]]
"""A question to sources, best first; a source stands where its best passage stands."""

Vectors = Mapping[str, list[float]]
"""Vectors of all texts, passages and questions, in place of an encoder."""

PACKAGES = {
    "langchain": ("langchain-classic", "langchain-community", "rank-bm25"),
    "llama_index": ("llama-index-core", "llama-index-embeddings-huggingface", "llama-index-retrievers-bm25"),
}
INSTALL = {
    # It asks for a PyStemmer below 3, and works with 3.
    "llama-index-retrievers-bm25": "pip install --no-deps llama-index-retrievers-bm25==0.8.0",
}
INSTALL_OTHERS = 'pip install -c constraints.txt -e "projects/rag_qa[peers]"'


def versions(name: str) -> str:
    """The installed packages of a peer, such as "rank-bm25 0.2.2".

    Raises:
        UserError: one of them is not installed.
    """
    found = []
    for package in PACKAGES[name]:
        try:
            found.append(f"{package} {version(package)}")
        except PackageNotFoundError:
            install = INSTALL.get(package, INSTALL_OTHERS)
            raise UserError(f"--peers {name}: {package} is not installed. Run: {install}") from None
    return ", ".join(found)


@contextmanager
def quiet() -> Iterator[None]:
    """Keep a framework's advice on its own future out of the table."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        yield


def langchain_search(chunks: Sequence[Chunk], k: int, vectors: Vectors | None = None) -> Search:
    """LangChain's ensemble.

    Args:
        chunks: the passages.
        k: passages of each of the two searches.
        vectors: in place of the encoder.
    """
    with quiet():
        from langchain_classic.retrievers import EnsembleRetriever
        from langchain_community.embeddings import HuggingFaceEmbeddings
        from langchain_community.retrievers import BM25Retriever
        from langchain_community.vectorstores import FAISS
        from langchain_core.documents import Document
    with quiet():  # once more: langchain-core sets its own filter as it is imported
        documents = [Document(page_content=chunk.text, metadata={"source": chunk.source}) for chunk in chunks]
        if vectors is None:
            embeddings: Any = HuggingFaceEmbeddings(model_name=str(minilm_folder()), model_kwargs={"device": "cpu"})
        else:
            embeddings = _known_to_langchain(vectors)
        dense = FAISS.from_documents(documents, embeddings).as_retriever(search_kwargs={"k": k})
        sparse = BM25Retriever.from_documents(documents, k=k)
        ensemble = EnsembleRetriever(retrievers=[sparse, dense], weights=[0.5, 0.5], c=60)
    return lambda question: list(dict.fromkeys(found.metadata["source"] for found in ensemble.invoke(question)))


def _known_to_langchain(vectors: Vectors) -> Any:
    from langchain_core.embeddings import Embeddings

    class Known(Embeddings):
        def embed_documents(self, texts: list[str]) -> list[list[float]]:
            return [vectors[text] for text in texts]

        def embed_query(self, text: str) -> list[float]:
            return vectors[text]

    return Known()


def llama_index_search(chunks: Sequence[Chunk], k: int, vectors: Vectors | None = None) -> Search:
    """LlamaIndex's fusion. Arguments as those of `langchain_search`."""
    with quiet():
        from llama_index.core import VectorStoreIndex
        from llama_index.core.llms import MockLLM
        from llama_index.core.retrievers import QueryFusionRetriever
        from llama_index.core.schema import TextNode
        from llama_index.embeddings.huggingface import HuggingFaceEmbedding
        from llama_index.retrievers.bm25 import BM25Retriever

        # The source names the passage to the benchmark; neither search is to read it.
        kept_out = {"excluded_embed_metadata_keys": ["source"], "excluded_llm_metadata_keys": ["source"]}
        nodes = [TextNode(text=chunk.text, metadata={"source": chunk.source}, **kept_out) for chunk in chunks]
        if vectors is None:
            embedding: Any = HuggingFaceEmbedding(model_name=str(minilm_folder()), device="cpu")
        else:
            embedding = _known_to_llama_index(vectors)
        index = VectorStoreIndex(nodes, embed_model=embedding)
        retrievers = [
            index.as_retriever(similarity_top_k=k),
            BM25Retriever.from_defaults(nodes=nodes, similarity_top_k=k),
        ]
        # A loop and its tasks for two searches that compute would only cost it time.
        fusion = QueryFusionRetriever(
            retrievers, llm=MockLLM(), mode="reciprocal_rerank", num_queries=1, similarity_top_k=k, use_async=False
        )
    return lambda question: list(dict.fromkeys(found.node.metadata["source"] for found in fusion.retrieve(question)))


def _known_to_llama_index(vectors: Vectors) -> Any:
    from llama_index.core.embeddings import BaseEmbedding

    class Known(BaseEmbedding):
        def _get_text_embedding(self, text: str) -> list[float]:
            return vectors[text]

        _get_query_embedding = _get_text_embedding

        async def _aget_query_embedding(self, query: str) -> list[float]:
            return vectors[query]

    return Known()


PEERS: dict[str, Callable[..., Search]] = {"langchain": langchain_search, "llama_index": llama_index_search}
