"""`rag-qa documents`: what is in the index."""

from collections.abc import Sequence
from dataclasses import asdict

from rag_qa.commands.printing import bold, dim, harmless, print_json
from rag_qa.commands.terminal import aligned, columns, wrapped
from rag_qa.config import DocumentsConfig
from rag_qa.document_processor.database import DocumentInfo
from rag_qa.document_processor.index import Index
from rag_qa.run_layout import index_to_read
from rag_qa.wording import counted, has_pages


def run(config: DocumentsConfig) -> None:
    """Print one line a document, with what its reader remarked below.

    Raises:
        UserError: there is no index.
    """
    with Index.open(index_to_read(config.index)) as index:
        documents = index.documents()
        if config.json:
            for info in documents:
                print_json(asdict(info) | {"file": None if info.file is None else str(info.file)})
            return
        print("\n".join(listed(documents)))
        print(f"{counted(len(documents), 'document')}, encoder {index.encoder_name}")


def listed(documents: Sequence[DocumentInfo]) -> list[str]:
    """A table of the documents, with the notes of each below it. The name comes last: it may be long."""
    if not documents:
        return []
    rows = [["pages", "chunks", "groups", "document"]]
    for info in documents:
        pages = f"{info.pages:,}" if has_pages(info.source) else "-"
        rows.append([pages, f"{info.chunks:,}", harmless(", ".join(info.groups)), harmless(info.source)])
    head, *lines = aligned(rows, numbers=(0, 1))
    shown = [bold(head)]
    for line, info in zip(lines, documents, strict=True):
        shown += [line, *(dim(wrapped(f"note: {harmless(note)}", "    ", "  ", columns())) for note in info.notes)]
    return shown
