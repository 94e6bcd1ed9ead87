"""Documents to chunks that know where they come from: `chunk.text == document.text[chunk.start:chunk.end]`."""

from rag_qa.config.chunking import ChunkingConfig
from rag_qa.document_processor.layout import Layout, Piece
from rag_qa.document_processor.sections import Outline
from rag_qa.document_processor.splitters import (
    Encode,
    split_by_heading,
    split_by_sentence,
    split_by_topic,
    split_recursively,
)
from rag_qa.document_processor.token_ruler import TokenSpans
from rag_qa.types import Chunk, Document


def split_document(
    document: Document, token_spans: TokenSpans, config: ChunkingConfig, encode: Encode | None = None
) -> list[Chunk]:
    """Cut a document into chunks of at most `config.size` tokens, in order, each with its page and its headings.

    Every character that is not white space lies in a chunk. A chunk begins and ends with a whole word, unless a single
    word is longer than a chunk. Equal arguments give equal chunks.

    Args:
        document: what is cut; one without text gives no chunk.
        token_spans: the tokenizer of the encoder, `Encoder.token_spans`.
        config: splitter and sizes.
        encode: sentence vectors of length 1, `Encoder.encode`; only the semantic splitter needs it.

    Returns:
        Chunks with the id -1 and the public group.

    Raises:
        ValueError: the semantic splitter without `encode`.
    """
    if config.splitter == "semantic" and encode is None:
        raise ValueError("--chunking.splitter semantic needs an encoder, but none was given")
    if not document.text.strip():
        return []
    layout = Layout(document, token_spans, room=config.size - config.overlap)
    whole: Piece = (0, len(layout))
    outline = Outline(document)
    if config.splitter == "heading":
        pieces = split_by_heading(layout, outline, config)
    elif config.splitter == "sentence":
        pieces = split_by_sentence(layout, whole, config)
    elif config.splitter == "semantic" and encode is not None:
        pieces = split_by_topic(layout, whole, config, encode)
    else:
        pieces = split_recursively(layout, whole, config)
    return _chunks(document, layout, outline, pieces)


def _chunks(document: Document, layout: Layout, outline: Outline, pieces: list[Piece]) -> list[Chunk]:
    chunks: list[Chunk] = []
    for first, last in pieces:
        start, end = int(layout.cuts[first]), int(layout.ends[last - 1])
        chunks.append(
            Chunk(
                source=document.source,
                start=start,
                end=end,
                text=document.text[start:end],
                page=document.page_at(start).number,
                headings=outline.path(start, end),
            )
        )
    return chunks
