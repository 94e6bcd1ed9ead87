"""Questions with known answers by path: a BEIR folder, a file in SQuAD's format, or YAML about an index."""

from dataclasses import replace
from hashlib import sha256
from pathlib import Path

from rag_qa.config import ChunkingConfig, SparseConfig
from rag_qa.config.embedding_cache import EmbeddingCacheConfig
from rag_qa.corpus.question_file import PARTS
from rag_qa.corpus.questions import load_questions_file
from rag_qa.document_processor.index import Index
from rag_qa.document_processor.ingestion import add_documents
from rag_qa.evaluation.beir import load_beir
from rag_qa.evaluation.evaluation_set import EvaluationSet, from_questions
from rag_qa.evaluation.squad import load_squad
from rag_qa.passage_cache import kept_vectors
from rag_qa.protocols import Encoder
from roadmap_shared.errors import UserError


def is_yaml(path: Path) -> bool:
    """Whether a path names questions about an index, rather than a data set with its own documents."""
    return path.suffix.lower() in (".yaml", ".yml")


def load_data_set(path: Path, split: str) -> EvaluationSet:
    """A BEIR folder or a file in SQuAD's format.

    Raises:
        UserError: there is no such path, or what is there is of neither form.
    """
    if not path.exists():
        raise UserError(f"{path}: no such file or folder")
    return load_beir(path, split) if path.is_dir() else load_squad(path)


def questions_about(index: Index, path: Path, part: str) -> EvaluationSet:
    """One part of the questions of a YAML file, with the documents of the index that they are about.

    Args:
        index: holds the documents.
        path: the questions.
        part: `calibration` or `test`.

    Raises:
        UserError: the file is wrong, quotes what is not in the index, or has no question of this part.
    """
    documents = [index.document(info.source) for info in index.documents()]
    questions = load_questions_file(path, documents)
    chosen = questions.part(part)
    if not chosen:
        other = next(name for name in PARTS if name != part)
        raise UserError(f"{path}: no question says 'part: {part}': all {len(questions)} say 'part: {other}'")
    return from_questions(path.stem, chosen, documents)


def index_of(
    data: EvaluationSet,
    encoder: Encoder,
    chunking: ChunkingConfig,
    cache: EmbeddingCacheConfig | None = None,
    sparse: SparseConfig | None = None,
) -> Index:
    """An index in memory of a data set's documents; equal texts under several names are all kept, as judgements name
    each of them. Vectors are taken from the cache, where there is one."""
    index = Index.create(None, encoder, chunking, sparse=sparse)
    documents = [
        replace(document, content_hash=sha256(f"{document.source}\0{document.content_hash}".encode()).hexdigest())
        for document in data.documents
    ]
    with kept_vectors(index, cache or EmbeddingCacheConfig(enabled=False)):
        add_documents(index, documents)
    return index
