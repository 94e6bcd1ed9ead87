"""A cross-encoder reads question and passage together: slower than vectors, and more exact (Nogueira and Cho 2019)."""

from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

from roadmap_shared.errors import UserError, one_line


class Reranker(Protocol):
    """Scores passages for a question."""

    def scores(self, query: str, passages: Sequence[str]) -> list[float]:
        """One score for each passage, larger is better."""
        ...


class CrossEncoderReranker:
    """A cross-encoder of sentence-transformers with one output, by folder or hub id."""

    def __init__(self, model: str, device: str = "cpu", batch_size: int = 16) -> None:
        """Load the model.

        Raises:
            UserError: there is none, the hub cannot be reached, or it scores something else than relevance.
        """
        from safetensors import SafetensorError
        from sentence_transformers import CrossEncoder

        from rag_qa.retrieval.quiet_loading import quiet_loading

        folder = Path(model).expanduser()
        if not folder.is_dir() and (folder.exists() or model.count("/") != 1 or model.startswith((".", "/", "~"))):
            raise UserError(
                f"reranker {model!r}: not a folder, nor a hub id such as cross-encoder/ms-marco-MiniLM-L6-v2"
            )
        try:
            with quiet_loading():
                self._model = CrossEncoder(str(folder) if folder.is_dir() else model, device=device)
        except (OSError, ValueError, RuntimeError, KeyError, TypeError, AttributeError, SafetensorError) as error:
            raise UserError(
                f"reranker {model!r}: cannot be loaded, nor fetched if it is a hub id: {one_line(error)[:200]}"
            ) from None
        if self._model.num_labels != 1:
            raise UserError(f"reranker {model!r}: gives {self._model.num_labels} scores for a passage, not one")
        self._batch_size = batch_size

    def scores(self, query: str, passages: Sequence[str]) -> list[float]:
        """Relevance of each passage to the question, as the model gives it; of a pair that is longer than the model's
        window the passage's end is not read."""
        if not passages:
            return []
        pairs = [(query, passage) for passage in passages]
        return self._model.predict(pairs, batch_size=self._batch_size, show_progress_bar=False).tolist()
