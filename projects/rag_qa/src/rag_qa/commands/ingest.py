"""`rag-qa ingest`: bring an index up to date with files and folders."""

from collections import Counter

from rag_qa.config import IngestConfig
from rag_qa.document_processor.files import FoundFile, Survey, survey
from rag_qa.document_processor.index import Index
from rag_qa.document_processor.index_files import database_path
from rag_qa.document_processor.ingest_report import IngestReport
from rag_qa.document_processor.ingestion import ingest
from rag_qa.retrieval.encoders import build_encoder
from roadmap_shared.errors import UserError


def run(config: IngestConfig) -> None:
    """Read what is new or changed, and print what became of each file that is not simply indexed.

    Raises:
        UserError: no path is given, one is missing or holds no file, two folders name a document alike, or the index
            belongs to another encoder.
    """
    if not config.paths:  # checked here: --help is for those who give none
        raise UserError("give files or folders, as in: ingest my-documents")
    paths = list({path.resolve(): path for path in config.paths}.values())
    surveys = [survey(path) for path in paths]  # before the encoder is loaded: a wrong name is told at once
    check_names(surveys)
    is_new = not database_path(config.index).exists()
    if is_new and not any(found.files for found in surveys):
        raise UserError(f"{', '.join(map(str, paths))}: holds no file to read")
    encoder = build_encoder(config.encoder)
    if is_new and config.dry_run:
        opened = Index.create(None, encoder, config.chunking)
    elif is_new:
        opened = Index.create(config.index, encoder, config.chunking, config.store)
    else:
        opened = Index.open(config.index, encoder, config.store)
    with opened as index:
        for path, found in zip(paths, surveys, strict=True):
            folder = path.resolve() if path.is_dir() else None
            report = ingest(index, found.files, config.reading, config.groups, config.dry_run, folder=folder)
            if not found.files:
                raise UserError(f"{path}: holds no file to read")
            tell(report, found)
        if not config.dry_run:
            print(f"{config.index}: {len(index.documents())} documents, {len(index.store.ids())} chunks")


def check_names(surveys: list[Survey]) -> None:
    """Raises UserError: two paths hold a document of the same name, of which an index could keep only one."""
    files: list[FoundFile] = [file for found in surveys for file in found.files]
    names = Counter(file.source for file in files)
    if twice := [name for name, number in names.items() if number > 1]:
        places = " and ".join(str(file.path) for file in files if file.source == twice[0])
        raise UserError(f"{places}: both would be called {twice[0]}: ingest the folder above them, or one at a time")


def tell(report: IngestReport, found: Survey) -> None:
    """Print the report, and what in the folder was not followed."""
    for line in report.lines():
        print(line)
    for entry in found.skipped:
        print(f"  not followed: {entry.source}: {entry.reason}")
