"""Where vectors of passages are kept for the next time."""

from dataclasses import dataclass
from pathlib import Path

GIB = 2**30


@dataclass(frozen=True, kw_only=True)
class EmbeddingCacheConfig:
    """Vectors of passages that were embedded before, by encoder and text: one file for all indexes. Texts and questions
    are not kept, and what is deleted from an index leaves the file with it."""

    enabled: bool = True
    """Take vectors from the file, and add those that it lacks. False leaves it alone; `rag-qa cache` shows and clears
    it."""

    file: Path | None = None
    """The file. None: rag_qa/embeddings.sqlite in the user's cache folder."""

    max_bytes: int = 2 * GIB
    """A file that has grown larger than this is emptied before it is used."""

    def __post_init__(self) -> None:
        if self.max_bytes < 1:
            raise ValueError(f"--embedding_cache.max_bytes {self.max_bytes} must be at least 1")
