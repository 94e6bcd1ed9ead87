"""`rag-qa documents`: what is in the index."""

from dataclasses import asdict

from rag_qa.commands.printing import harmless, print_json
from rag_qa.config import DocumentsConfig
from rag_qa.document_processor.index import Index
from rag_qa.run_layout import index_to_read


def run(config: DocumentsConfig) -> None:
    """Print one line a document, with what its reader remarked below.

    Raises:
        UserError: there is no index.
    """
    with Index.open(index_to_read(config.index)) as index:
        documents = index.documents()
        for info in documents:
            if config.json:
                print_json(asdict(info) | {"file": None if info.file is None else str(info.file)})
                continue
            pages = f"{info.pages} {'page' if info.pages == 1 else 'pages'}"
            groups = harmless(", ".join(info.groups))
            print(f"{harmless(info.source)}: {pages}, {info.chunks} chunks, groups {groups}")
            for note in info.notes:
                print(f"  note: {harmless(note)}")
        if not config.json:
            print(f"{len(documents)} documents, encoder {index.encoder_name}")
