"""An index as a LlamaIndex retriever. Needs the extra `llama-index`.

retriever = RagQARetriever(Assistant.open(Path("rag-index")), user=User(groups=("hr",)))
engine = RetrieverQueryEngine.from_args(retriever, llm=llm)

A retriever costs nothing to make: make one for each user who asks, all over the same assistant. With
`OpenedByNeed(Path("rag-index"))` as the assistant it can be pickled.
"""

import asyncio
from typing import Any

from rag_qa.protocols import Where
from rag_qa.types import Retrieved, User
from roadmap_shared.errors import UserError

try:
    from llama_index.core.retrievers import BaseRetriever
    from llama_index.core.schema import NodeRelationship, NodeWithScore, QueryBundle, RelatedNodeInfo, TextNode
except ImportError as error:
    raise UserError('llama-index-core is not installed. Run: pip install "roadmap-rag-qa[llama-index]"') from error

_NOT_TEXT = ["start", "end", "chunk_id"]
"""Metadata that a language model, or an encoder, has no use for."""


class RagQARetriever(BaseRetriever):
    """Passages of an index as nodes, by `Assistant.search`: hybrid, with the user's permissions."""

    def __init__(
        self,
        assistant: Any,
        *,
        user: User | None = None,
        where: Where = (),
        k: int | None = None,
        **options: Any,
    ) -> None:
        """Args:
        assistant: an `Assistant`, an `OpenedByNeed`, or whatever has their `search`.
        user: who asks; what this user may not see is never searched.
        where: further conditions.
        k: passages of one search; None: as the assistant is configured.
        options: of LlamaIndex's base class, such as `callback_manager`.
        """
        self._assistant, self._user, self._where, self._k = assistant, user or User(), where, k
        super().__init__(**options)

    def _retrieve(self, query_bundle: QueryBundle) -> list[NodeWithScore]:
        found = self._assistant.search(query_bundle.query_str, user=self._user, where=self._where, k=self._k)
        return [to_node(item) for item in found]

    async def _aretrieve(self, query_bundle: QueryBundle) -> list[NodeWithScore]:
        # The base class would search in the event loop's own thread, and hold up everything else.
        return await asyncio.to_thread(self._retrieve, query_bundle)


def to_node(item: Retrieved) -> NodeWithScore:
    """A passage as LlamaIndex's node. Offsets are into the text of the source, which is the node's `ref_doc_id`.

    The node tells of the passage alone, not of its score for one question: `QueryFusionRetriever` knows a passage that
    several questions found by the hash of its text and metadata.
    """
    chunk = item.chunk
    metadata = {"source": chunk.source, "page": chunk.page}
    if chunk.headings:
        metadata["headings"] = " > ".join(chunk.headings)  # one text: a model reads it as it stands here
    metadata |= {"start": chunk.start, "end": chunk.end, "chunk_id": chunk.id}
    node = TextNode(
        id_=str(chunk.id),
        text=chunk.text,
        start_char_idx=chunk.start,
        end_char_idx=chunk.end,
        metadata=metadata,
        relationships={NodeRelationship.SOURCE: RelatedNodeInfo(node_id=chunk.source)},
        excluded_llm_metadata_keys=_NOT_TEXT,
        excluded_embed_metadata_keys=_NOT_TEXT,
    )
    return NodeWithScore(node=node, score=float(item.score))
