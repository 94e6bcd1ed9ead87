"""`rag-qa delete`: remove documents and prove that nothing of them is left."""

import secrets
from pathlib import Path

from rag_qa.commands.terminal import columns, wrapped
from rag_qa.config import DeleteConfig
from rag_qa.document_processor.index import Index
from rag_qa.document_processor.ingestion import delete
from roadmap_shared.errors import UserError


def run(config: DeleteConfig) -> None:
    """Remove, search the index's files for what was removed, and write the certificate.

    Raises:
        UserError: no document is named, there is no such document or index, or traces are left.
    """
    if not config.sources:  # checked here: --help is for those who name none
        raise UserError("name a document, as in: delete guides/chunking.md; `documents` lists them")
    with Index.open(config.index, store=config.store) as index:  # which takes no encoder
        certificate = delete(index, config.sources)
    path = config.certificate or certificate_path(config.index, certificate.time)
    path.parent.mkdir(parents=True, exist_ok=True)
    certificate.save(path)
    for line in [*certificate.lines(), f"certificate: {path}"]:
        print(wrapped(line.strip(), "  ", line[: len(line) - len(line.lstrip())], columns()))
    if not certificate.clean:
        raise UserError("traces of the deleted documents are left: see the certificate")


def certificate_path(index: Path, time: str) -> Path:
    """A name of its own for each certificate, in the folder where `serve` keeps them, too."""
    name = f"{time.replace(':', '')}-{secrets.token_hex(4)}.json"
    return index.with_name(f"{index.name}-certificates") / name
