"""Whether anything of deleted documents is left in an index's files: they are all searched, byte by byte.

What is looked for: every stretch of 40 characters of the deleted texts, half overlapping, unless a document that
stays has it too; and every 32 bytes of the deleted vectors as float32, float16 and as pickled numbers. The certificate
holds none of that text. What it cannot vouch for: blocks that the file system has released without erasing, copies made
by others, and the files of a vector server.
"""

import hashlib
import json
import pickle
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path

import numpy as np

from rag_qa.document_processor.byte_scan import ANCHOR, Patterns
from rag_qa.document_processor.embedding_traces import forget
from rag_qa.document_processor.index import Index
from rag_qa.document_processor.index_files import database_path
from rag_qa.protocols import FloatArray
from roadmap_shared.files import atomic_write

_WINDOW, _STEP = 40, 20  # characters: about half a sentence
_MOST_WINDOWS = 200_000
_VECTOR_BYTES = 32
_FEWEST_BYTES = 12  # different ones in a part of a vector: zeros and the like prove nothing


@dataclass(frozen=True, kw_only=True)
class ScannedFile:
    """One file that was searched."""

    path: str
    bytes: int
    sha256: str
    text_hits: int
    """Stretches of deleted text that were found in it."""

    vector_hits: int
    first_hit: int | None
    """Offset of the first hit."""


@dataclass(frozen=True, kw_only=True)
class DeletionCertificate:
    """What was deleted, what was searched for, and where."""

    sources: tuple[str, ...]
    content_hashes: tuple[str, ...]
    """sha256 of each deleted document's original file."""

    time: str
    """UTC, ISO 8601."""

    chunks: int
    """Deleted passages, each with its vector."""

    text_patterns: int
    vector_patterns: int
    files: tuple[ScannedFile, ...]
    ids_left: int
    """Ids of deleted passages that the vector store still has."""

    remarks: tuple[str, ...]

    @property
    def bytes(self) -> int:
        """Bytes searched."""
        return sum(file.bytes for file in self.files)

    @property
    def hits(self) -> int:
        """Traces found."""
        return sum(file.text_hits + file.vector_hits for file in self.files)

    @property
    def clean(self) -> bool:
        """Whether nothing was found."""
        return not self.hits and not self.ids_left

    def lines(self) -> list[str]:
        """The certificate for a terminal."""
        verdict = "nothing of them was found" if self.clean else f"{self.hits} traces and {self.ids_left} ids are left"
        return [
            f"deleted: {', '.join(self.sources)} ({self.chunks} chunks)",
            f"searched: {len(self.files)} files, {self.bytes:,} bytes, for {self.text_patterns:,} pieces of text and "
            f"{self.vector_patterns:,} of vectors: {verdict}",
            *(
                f"  LEFT: {file.path}: {file.text_hits} of text, {file.vector_hits} of vectors, first at byte "
                f"{file.first_hit}"
                for file in self.files
                if file.first_hit is not None
            ),
            *(f"  {remark}" for remark in self.remarks),
        ]

    def to_json(self) -> str:
        """The whole certificate, with the sha256 of each file as it was searched."""
        verdict = {"clean": self.clean, "bytes": self.bytes, "hits": self.hits}
        return json.dumps(verdict | asdict(self), indent=2, ensure_ascii=False) + "\n"

    def save(self, path: Path) -> None:
        """Write the JSON. Raises OSError: it cannot be written."""
        atomic_write(path, self.to_json())


def certify(
    index: Index, sources: Sequence[str], remove: Callable[[], None], other_files: Sequence[Path] = ()
) -> DeletionCertificate:
    """Note what the documents consist of, remove them, and search for it.

    Traces in the database or in an embedded vector database are erased by writing it afresh, and searched again.

    Args:
        index: where the documents are.
        sources: what is removed.
        remove: removes it.
        other_files: files and folders to search besides the index's own.
    """
    documents = [index.document(source) for source in sources]
    chunks = index.chunks([id for source in sources for id in index.database.chunk_ids(source)])
    ids = np.array([chunk.id for chunk in chunks], dtype=np.int64)
    read = getattr(index.store, "vectors", None)
    vectors = read(ids) if read is not None else np.empty((0, index.dimension), dtype=np.float32)
    remove()
    erase = getattr(index.store, "erase", None)
    erased = [] if erase is None else [str(erase())]
    other_files = [*other_files, *forget(index, [chunk.text for chunk in chunks])]
    texts = _only_in([document.text for document in documents], index)
    kept = set(index.database.chunk_texts()[1])
    gone = [row for row, chunk in enumerate(chunks) if row < len(vectors) and chunk.text not in kept]
    looked_for = (Patterns(_encodings(texts)), Patterns(_vector_parts(vectors[gone])))
    files = _search(index, other_files, *looked_for)
    if _repair(index, files):
        files = _search(index, other_files, *looked_for)
    return DeletionCertificate(
        sources=tuple(sources),
        content_hashes=tuple(document.content_hash for document in documents),
        time=datetime.now(UTC).isoformat(timespec="seconds"),
        chunks=len(chunks),
        text_patterns=len(looked_for[0]),
        vector_patterns=len(looked_for[1]),
        files=tuple(files),
        ids_left=int(np.isin(ids, index.store.ids()).sum()),
        remarks=(*_remarks(index), *erased),
    )


def _windows(text: str) -> Iterator[str]:
    step = max(_STEP, len(text) // _MOST_WINDOWS)
    for start in range(0, max(1, len(text) - _WINDOW + step), step):
        window = text[start : start + _WINDOW].strip()
        if len("".join(window.split())) >= min(_WINDOW // 2, len(text.strip())) and len(window.encode()) >= ANCHOR:
            yield window


def _only_in(texts: Sequence[str], index: Index) -> set[str]:
    """Windows of the texts that no document of the index has."""
    windows = {window.encode(): window for text in texts for window in _windows(text)}
    patterns = Patterns(windows)
    for text in index.database.texts():
        for _, pattern in patterns.find(text.encode()):
            windows.pop(pattern, None)
    return set(windows.values())


def _encodings(texts: set[str]) -> Iterator[bytes]:
    for text in texts:
        yield text.encode()
        yield text.encode("utf-16-le")
        yield json.dumps(text)[1:-1].encode()
        yield json.dumps(text, ensure_ascii=False)[1:-1].encode()


def _vector_parts(vectors: FloatArray) -> Iterator[bytes]:
    for vector in vectors:
        for raw in (vector.astype("<f4").tobytes(), vector.astype("<f2").tobytes(), _pickled(vector)):
            for start in range(0, len(raw) - _VECTOR_BYTES + 1, _VECTOR_BYTES):
                part = raw[start : start + _VECTOR_BYTES]
                if len(set(part)) >= _FEWEST_BYTES:
                    yield part


def _pickled(vector: FloatArray) -> bytes:
    """The numbers as a pickled list has them, which is how Qdrant's embedded database keeps them."""
    return b"".join(pickle.dumps(float(one), protocol=2)[2:-1] for one in vector)


def _search(index: Index, other_files: Sequence[Path], text: Patterns, vectors: Patterns) -> list[ScannedFile]:
    folders = [index.folder, *other_files] if index.folder is not None else [*other_files]
    paths = {path for top in folders for path in ([top] if top.is_file() else top.rglob("*")) if path.is_file()}
    return [_search_file(path, text, vectors) for path in sorted(paths)]


def _search_file(path: Path, text: Patterns, vectors: Patterns) -> ScannedFile:
    hits: Counter[str] = Counter()
    offsets: list[int] = []
    for kind, patterns in (("text", text), ("vector", vectors)):
        for offset, _ in patterns.find_in_file(path):
            hits[kind] += 1
            offsets.append(offset)
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    return ScannedFile(
        path=str(path),
        bytes=path.stat().st_size,
        sha256=digest,
        text_hits=hits["text"],
        vector_hits=hits["vector"],
        first_hit=min(offsets, default=None),
    )


def _repair(index: Index, files: Sequence[ScannedFile]) -> bool:
    """Write databases with traces afresh; returns whether there were any."""
    if index.folder is None:
        return False
    left = [Path(file.path) for file in files if file.first_hit is not None]
    in_database = database_path(index.folder) in left
    if in_database:
        index.database.vacuum()
    compact = getattr(index.store, "compact", None)
    elsewhere = compact is not None and any(path != database_path(index.folder) for path in left)
    if elsewhere and compact is not None:
        compact()
    return in_database or elsewhere


def _remarks(index: Index) -> Iterator[str]:
    config = index.store_config
    if config.backend != "faiss" and config.url is not None:
        yield (
            f"the vectors were on a {config.backend} server ({config.address}), whose files cannot be searched "
            "from here"
        )
    if index.folder is None:
        yield "the index is in memory: it has no files"
    yield "not covered: blocks that the file system released, backups, and processes that opened the index before"
