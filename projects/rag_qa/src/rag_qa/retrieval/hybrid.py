"""Dense and sparse search, fused; then, where configured, reranked and thinned out."""

from collections.abc import Callable, Mapping, Sequence
from copy import copy
from dataclasses import replace
from typing import Any, Protocol, Self

import numpy as np
from numpy.typing import NDArray

from rag_qa.config.retrieval import RetrievalConfig
from rag_qa.protocols import Condition, Encoder, Metadata, VectorStore, Where
from rag_qa.retrieval.dense_retrieval import search_dense
from rag_qa.retrieval.fusion import Ranking, reciprocal_rank_fusion, score_fusion
from rag_qa.retrieval.language import trust
from rag_qa.retrieval.mmr import maximal_marginal_relevance
from rag_qa.retrieval.multi_query import Ask, query_variants
from rag_qa.retrieval.reranker import CrossEncoderReranker, Reranker
from rag_qa.retrieval.row_filter import IndexFilter, chunk_metadata
from rag_qa.retrieval.sparse_retrieval import SparseIndex
from rag_qa.retrieval.stages import Ranks, Stages
from rag_qa.types import Chunk, Retrieved, User
from roadmap_shared.errors import UserError

MMR_POOL = 4
"""Passages that maximal marginal relevance chooses from, for each of the configured k."""

GroupMask = Callable[[Where], NDArray[np.bool_]]
"""(N,) mask over the sparse index's `ids`: which chunks fulfil all conditions."""


class SearchableIndex(Protocol):
    """What is asked of an index; its parts are looked up at every question, so that a change is seen at once."""

    @property
    def store(self) -> VectorStore: ...
    @property
    def sparse(self) -> SparseIndex: ...
    @property
    def encoder(self) -> Encoder: ...
    def chunks(self, ids: Sequence[int]) -> Sequence[Chunk]: ...
    def documents(self) -> Sequence[Any]:
        """Objects with `source` and `metadata`."""
        ...


class HybridRetriever:
    """Implements `Retriever`. What the user may not see takes part in no stage: both searches filter first."""

    def __init__(
        self,
        chunks_of: Callable[[Sequence[int]], Sequence[Chunk]],
        store: VectorStore | Callable[[], VectorStore],
        sparse: SparseIndex | Callable[[], SparseIndex],
        encoder: Encoder,
        config: RetrievalConfig | None = None,
        group_mask: GroupMask | None = None,
        *,
        reranker: Reranker | None = None,
        ask: Ask | None = None,
        document_metadata: Callable[[], Mapping[str, Metadata]] | None = None,
    ) -> None:
        """Take the parts of an index, or functions that give the present ones.

        Args:
            chunks_of: chunks by their ids; ids that are gone are left out.
            store: vectors, with the groups of each chunk among its metadata.
            sparse: the same chunks by their words.
            encoder: the one that made the vectors.
            config: settings.
            group_mask: the filter of the sparse search. None: made of the chunks, whenever the sparse index is another.
            reranker: instead of the one that `config` names.
            ask: prompt → text, a language model that words questions anew for multi_query. None: by rules.
            document_metadata: what further can be filtered by, by source; never instead of source, page and groups.

        Raises:
            UserError: the configured reranker cannot be loaded.
        """
        self.config = config or RetrievalConfig()
        self._chunks_of, self._encoder, self._ask = chunks_of, encoder, ask
        self._document_metadata = document_metadata
        self._store: Callable[[], VectorStore] = store if callable(store) else lambda: store
        self._sparse: Callable[[], SparseIndex] = sparse if callable(sparse) else lambda: sparse
        self._mask = group_mask
        self._filter = IndexFilter(lambda ids: self._metadata(ids))
        self._reranker = reranker if reranker is not None else _loaded(self.config)

    @classmethod
    def over(
        cls,
        index: SearchableIndex,
        config: RetrievalConfig | None = None,
        *,
        reranker: Reranker | None = None,
        ask: Ask | None = None,
    ) -> Self:
        """Search an index; a method `mask(where)` of it would be the filter of the sparse search."""
        return cls(
            index.chunks,
            lambda: index.store,
            lambda: index.sparse,
            index.encoder,
            config,
            getattr(index, "mask", None),
            reranker=reranker,
            ask=ask,
            document_metadata=lambda: {info.source: info.metadata for info in index.documents()},
        )

    def with_config(self, config: RetrievalConfig) -> "HybridRetriever":
        """The same search with other settings; a loaded reranker is kept if they name the same."""
        other = copy(self)
        other.config = config
        if config.reranker != self.config.reranker:
            other._reranker = _loaded(config)
        return other

    def search(self, query: str, k: int | None = None, user: User | None = None, where: Where = ()) -> list[Retrieved]:
        """Return up to `k` passages, best first. Without a user, what everybody may see.

        Raises:
            UserError: the question holds neither letter nor digit, or k is below 1.
        """
        return self.finished(self.stages(query, k, user, where), k, user)

    def finished(self, stages: Stages, k: int | None = None, user: User | None = None) -> list[Retrieved]:
        """Return the up to `k` passages that a search ends with: fetched and, where configured, reranked and diverse.

        How many passages the reranker reads and MMR chooses from depends on the configuration alone; what is asked for
        beyond them follows in the order of the fusion. So a longer list begins with the shorter one.

        Args:
            stages: of the question, for the same user.
            k: None: as configured.
            user: None: somebody who is in no group.
        """
        k = self.config.k if k is None else k
        ranks = Ranks()
        for stage, ranking in (*stages.searches.items(), ("fused", stages.fused)):
            ranks.note(stage, ranking)
        pool = self._pool()
        chunks = self._fetch([passage for passage, _ in stages.fused[: max(k, pool)]], user)
        head, tail = chunks[:pool], chunks[pool:]
        if self._reranker is not None:
            head = self._rerank(stages.queries[0], head, ranks)
        if self.config.mmr is not None:
            head = self._diversify(head, [ranks.score(chunk.id) for chunk in head], ranks)
        return [ranks.retrieved(chunk) for chunk in [*head, *tail][:k]]

    def stages(self, query: str, k: int | None = None, user: User | None = None, where: Where = ()) -> Stages:
        """Return the rankings of dense and sparse search, `candidates` long, and of their fusion, without the chunks.

        Raises:
            UserError: as `search`.
        """
        return self._stages(query, _visible(user, where), self._checked(query, k))

    def _checked(self, query: str, k: int | None) -> int:
        check_query(query)
        k = self.config.k if k is None else k
        if k < 1:
            raise UserError(f"{k} passages are asked for: k must be at least 1")
        return k

    def _pool(self) -> int:
        """Passages from the top of the fusion that are put into another order."""
        pool = self.config.k
        if self._reranker is not None:
            pool = max(pool, self.config.rerank_candidates)
        if self.config.mmr is not None:
            pool = max(pool, MMR_POOL * self.config.k)
        return pool

    def _stages(self, query: str, where: Where, k: int) -> Stages:
        queries = (query, *query_variants(query, self.config.multi_query, self._ask))
        found = [self._one_query(one, where, max(k, self.config.candidates)) for one in queries]
        first = found[0]
        fused = first.fused
        if len(found) > 1:
            fused = reciprocal_rank_fusion([stages.fused for stages in found], self.config.rrf_k)
        return replace(first, fused=fused, queries=queries)

    def _one_query(self, query: str, where: Where, depth: int) -> Stages:
        weight = self.config.weight_of_dense
        if self.config.mode == "hybrid":
            weight *= trust(self._encoder, query)
        searches: dict[str, Ranking] = {}
        if weight < 1:
            sparse = self._sparse()
            allowed = self._filter(sparse, where) if self._mask is None else self._mask(where)
            searches["sparse"] = sparse.search(query, depth, allowed)
        if weight > 0 or (self.config.mode == "hybrid" and not searches["sparse"]):
            searches["dense"] = search_dense(self._encoder, self._store(), query, depth, where)
            weight = weight or 1.0  # no passage has a word of the question: poor vectors are better than nothing
        return Stages(searches=searches, fused=self._fuse(searches, weight), queries=(query,), dense_weight=weight)

    def _fuse(self, searches: dict[str, Ranking], dense_weight: float) -> Ranking:
        if len(searches) == 1:
            return next(iter(searches.values()))
        weights = {"dense": dense_weight, "sparse": 1 - dense_weight}
        if self.config.fusion == "rrf":
            # Doubled: equal weights are those of the plain formula.
            doubled = [2 * weights[name] for name in searches]
            return reciprocal_rank_fusion(list(searches.values()), self.config.rrf_k, doubled)
        return score_fusion(searches, weights, self.config.fusion)

    def _metadata(self, ids: Sequence[int]) -> dict[int, Metadata]:
        """What each chunk can be filtered by; what a document says of itself never stands in for its groups."""
        documents = self._document_metadata() if self._document_metadata is not None else {}
        return {
            chunk.id: {**documents.get(chunk.source, {}), **chunk_metadata(chunk)} for chunk in self._chunks_of(ids)
        }

    def _fetch(self, ids: Sequence[int], user: User | None) -> list[Chunk]:
        """Chunks in the order of their ids. What both filters should have kept out is an error, never an answer."""
        by_id = {chunk.id: chunk for chunk in self._chunks_of(ids)}
        visible = set((user or User()).visible_groups)
        if any(visible.isdisjoint(chunk.groups) for chunk in by_id.values()):
            raise RuntimeError("the index's filter let a chunk through that the user may not see")
        return [by_id[passage] for passage in ids if passage in by_id]

    def _rerank(self, query: str, chunks: list[Chunk], ranks: Ranks) -> list[Chunk]:
        assert self._reranker is not None
        scores = self._reranker.scores(query, [chunk.text for chunk in chunks])
        order = sorted(range(len(chunks)), key=lambda i: -scores[i])
        ranks.note("reranked", [(chunks[i].id, float(scores[i])) for i in order])
        return [chunks[i] for i in order]

    def _diversify(self, chunks: list[Chunk], scores: list[float], ranks: Ranks) -> list[Chunk]:
        """Put all in order; relevance is the last stage's score, from 0 for the worst of the pool to 1 for the best."""
        if not chunks:
            return []
        low, high = min(scores), max(scores)
        relevance = [(score - low) / (high - low) if high > low else 1.0 for score in scores]
        vectors = self._encoder.encode([chunk.text for chunk in chunks])
        chosen = maximal_marginal_relevance(relevance, vectors, len(chunks), self.config.mmr or 0.0)
        ranks.note("mmr", [(chunks[i].id, relevance[i]) for i in chosen])
        return [chunks[i] for i in chosen]


def _loaded(config: RetrievalConfig) -> Reranker | None:
    return None if config.reranker is None else CrossEncoderReranker(config.reranker)


def check_query(query: str) -> None:
    """Raises UserError: the question holds neither letter nor digit."""
    if not any(character.isalnum() for character in query):
        raise UserError("the question is empty: ask something with at least one letter or digit")


def _visible(user: User | None, where: Where) -> Where:
    return (*where, Condition(field="groups", any_of=(user or User()).visible_groups))
