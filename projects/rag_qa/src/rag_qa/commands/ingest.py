"""`rag-qa ingest`: bring an index up to date with files and folders."""

from collections import Counter
from dataclasses import replace
from pathlib import Path

from rag_qa.commands.terminal import columns, wrapped
from rag_qa.config import IngestConfig
from rag_qa.document_processor.files import FoundFile, Survey, survey
from rag_qa.document_processor.index import Index
from rag_qa.document_processor.index_files import database_path
from rag_qa.document_processor.ingest_report import IngestReport
from rag_qa.document_processor.ingestion import ingest
from rag_qa.passage_cache import contents, kept_vectors
from rag_qa.retrieval.encoders import build_encoder
from rag_qa.wording import counted
from roadmap_shared.errors import UserError

_NOTES = 10
"""Readers' remarks that are printed after an ingestion."""


def run(config: IngestConfig) -> None:
    """Read what is new or changed, and print what became of each file that is not simply indexed.

    Raises:
        UserError: no path is given, one is missing, two folders name a document alike, or the index belongs to another
            encoder; and, once all paths have been read, one holds no file or none that can be read.
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
        opened = Index.create(None, encoder, config.chunking, sparse=config.sparse)
    elif is_new:
        opened = Index.create(config.index, encoder, config.chunking, config.store, config.sparse)
    else:
        opened = Index.open(config.index, encoder, config.store)
    problems: list[str] = []
    with opened as index:
        keep = replace(config.embedding_cache, enabled=config.embedding_cache.enabled and not config.dry_run)
        with kept_vectors(index, keep) as cache:
            for path, found in zip(paths, surveys, strict=True):
                problems += brought_up_to_date(index, path, found, config)
        if not config.dry_run:
            sizes = counted(len(index.documents()), "document"), counted(len(index.store.ids()), "chunk")
            print(f"{config.index}: {', '.join(sizes)}")
        if cache is not None and cache.hits + cache.misses:
            used = f"{cache.hits:,} taken from it, {cache.misses:,} added to it"
            print(wrapped(f"{contents(cache.path).line()}; {used}", "  ", "", columns()))
    if problems:
        raise UserError("; ".join(problems))


def brought_up_to_date(index: Index, path: Path, found: Survey, config: IngestConfig) -> list[str]:
    """Ingest one path and print what became of it. Returns why nothing came of it, if so: other paths come first."""
    folder = path.resolve() if path.is_dir() else None
    try:
        report = ingest(index, found.files, config.reading, config.groups, config.dry_run, folder=folder)
    except UserError as error:
        if found.files:
            raise
        return [str(error)]
    if not found.files:
        return [f"{path}: holds no file to read"]
    tell(report, found)
    if not report.refused or report.added or report.changed or report.unchanged or report.duplicates:
        return []
    return [f"{path}: none of its files can be read, for the reasons above" if folder else report.refused[0].reason]


def check_names(surveys: list[Survey]) -> None:
    """Raises UserError: two paths hold a document of the same name, of which an index could keep only one."""
    files: list[FoundFile] = [file for found in surveys for file in found.files]
    names = Counter(file.source for file in files)
    if twice := [name for name, number in names.items() if number > 1]:
        places = " and ".join(str(file.path) for file in files if file.source == twice[0])
        raise UserError(f"{places}: both would be called {twice[0]}: ingest the folder above them, or one at a time")


def tell(report: IngestReport, found: Survey) -> None:
    """Print the report, and what in the folder was not followed."""
    notes = len(report.notes)
    lines = report.lines()
    shown = lines if notes <= _NOTES + 1 else lines[: len(lines) - notes + _NOTES]
    for line in shown:
        indent = line[: len(line) - len(line.lstrip())]
        print(wrapped(line.strip(), indent + "  ", indent, columns()))
    if len(shown) < len(lines):
        print(f"  {notes - _NOTES} notes more: `rag-qa documents` shows them")
    for entry in found.skipped:
        print(f"  not followed: {entry.source}: {entry.reason}")
