"""Search by meaning: nearest vectors in a store."""

from rag_qa.protocols import Encoder, FloatArray, VectorStore, Where


def encode_query(encoder: Encoder, query: str) -> FloatArray:
    """(D,) unit vector of a question, with the model's prompt for questions where the encoder has one."""
    encode = getattr(encoder, "encode_queries", encoder.encode)
    return encode([query])[0]


def search_dense(
    encoder: Encoder, store: VectorStore, query: str, k: int, where: Where = ()
) -> list[tuple[int, float]]:
    """Return up to `k` (id, cosine), best first, of the passages that fulfil `where`."""
    return store.search(encode_query(encoder, query)[None, :], k, where)[0]
