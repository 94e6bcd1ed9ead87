"""How documents are cut into the passages that are embedded, retrieved and cited."""

from dataclasses import dataclass
from typing import Literal

SplitterName = Literal["recursive", "sentence", "heading", "semantic"]


@dataclass(kw_only=True, frozen=True)
class ChunkingConfig:
    """How documents are cut into chunks. Sizes are in tokens of the encoder."""

    splitter: SplitterName = "heading"
    """heading: by section, small sections joined, large ones cut as by recursive; a text without headings is one
    section. recursive: at blank lines, then lines, then sentences, then words, whatever it takes for the pieces to fit.
    sentence: as many whole sentences as fit. semantic: where the topic changes, by the cosine similarity of what stands
    before and after; it encodes every sentence, so it takes as long as indexing once more."""

    size: int = 192
    """Tokens of a chunk at most, overlap included. MiniLM sees 254 and cuts the rest off in silence."""

    overlap: int = 32
    """Tokens at the end of a chunk that the next one repeats, at most: whole words, or whole sentences where the
    splitter is sentence or semantic."""

    minimum: int = 32
    """Chunks with fewer tokens than this are joined with a neighbour, where they can be."""

    semantic_window: int = 2
    """Sentences that are compared on either side of a possible cut."""

    semantic_percentile: float = 10.0
    """Percent of the possible cuts at which the topic changes most, where semantic cuts even if the text would fit."""

    def __post_init__(self) -> None:
        if self.size < 8:
            raise ValueError(f"--chunking.size {self.size} must be at least 8 tokens")
        if not 0 <= self.overlap <= self.size // 2:
            raise ValueError(
                f"--chunking.overlap {self.overlap} must lie between 0 and {self.size // 2}, half of --chunking.size"
            )
        room = self.size - self.overlap
        if not 0 <= self.minimum <= room // 2:
            raise ValueError(
                f"--chunking.minimum {self.minimum} must lie between 0 and {room // 2}, half of what --chunking.size "
                f"{self.size} leaves beside --chunking.overlap {self.overlap}"
            )
        if self.semantic_window < 1:
            raise ValueError(f"--chunking.semantic_window {self.semantic_window} must be at least 1 sentence")
        if not 0 <= self.semantic_percentile <= 100:
            raise ValueError(f"--chunking.semantic_percentile {self.semantic_percentile:g} must lie between 0 and 100")
