"""Search by words: BM25 (Robertson and Zaragoza 2009), scored by bm25s when the index is built (Lù 2024)."""

import io
import json
import logging
import zipfile
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rag_qa.config.sparse import SparseConfig
from rag_qa.protocols import FloatArray, IdArray
from rag_qa.retrieval.document_frequency import idf
from rag_qa.retrieval.words import query_terms, terms
from roadmap_shared.errors import UserError
from roadmap_shared.files import atomic_write

FILE_NAME = "sparse.npz"
LAYOUT = 1
"""Changes when the file, or the terms that a text gives, change: an index of another layout is built again."""


class SparseIndex:
    """What each term adds to each passage's score; immutable, and safe to search from several threads."""

    ids: IdArray
    """(N,) ids of the passages, in the order in which they were given."""

    def __init__(
        self,
        ids: IdArray,
        vocabulary: dict[str, int],
        scores: FloatArray,
        rows: NDArray[np.int32],
        starts: NDArray[np.int64],
        config: SparseConfig,
    ) -> None:
        """Take (P,) scores of (P,) rows of `ids`; those of term t are starts[t]:starts[t + 1]."""
        self.ids, self.config = ids, config
        self._vocabulary, self._scores, self._rows, self._starts = vocabulary, scores, rows, starts

    @classmethod
    def build(cls, ids: Sequence[int], texts: Sequence[str], config: SparseConfig | None = None) -> "SparseIndex":
        """Index texts under ids that differ.

        Raises:
            ValueError: an id twice, or not as many ids as texts.
        """
        config = config or SparseConfig()
        if len(ids) != len(texts) or len(set(ids)) != len(ids):
            raise ValueError(f"{len(texts)} texts need as many different ids, not {len(set(ids))} of {len(ids)}")
        vocabulary: dict[str, int] = {}
        term_ids = [
            [vocabulary.setdefault(term, len(vocabulary)) for term in terms(text, stemming=config.stemming)]
            for text in texts
        ]
        scores, rows, starts = _score(term_ids, vocabulary, config)
        return cls(np.asarray(ids, dtype=np.int64), vocabulary, scores, rows, starts, config)

    def __len__(self) -> int:
        return len(self.ids)

    def search(self, query: str, k: int, allowed: NDArray[np.bool_] | None = None) -> list[tuple[int, float]]:
        """Return up to `k` (id, BM25), best first, of passages that share a term with the query.

        A term that says nothing counts for none: with `robertson` one that half of the passages have, with `atire` one
        that all have.

        Of equal scores the passage that was given first comes first. `allowed` is an (N,) mask over `ids`: others are
        not scored, and how many of them hold a term does not count: a score tells nothing of them but the mean length
        of a passage, which is that of the whole index.

        Raises:
            ValueError: k below 1, or a mask of another length.
        """
        if k < 1:
            raise ValueError(f"k {k} must be at least 1")
        rows, scores = self._scored(query, allowed)
        if len(rows) > k:
            kth = np.partition(scores, len(scores) - k)[len(scores) - k]
            rows, scores = rows[scores >= kth], scores[scores >= kth]
        order = np.lexsort((rows, -scores))[:k]
        return [(int(self.ids[rows[i]]), float(scores[i])) for i in order]

    def _scored(self, query: str, allowed: NDArray[np.bool_] | None) -> tuple[NDArray[Any], NDArray[Any]]:
        """Rows with a term of the query, ascending, and their scores."""
        if allowed is not None and allowed.shape != self.ids.shape:
            raise ValueError(f"a mask of {allowed.shape} does not fit {len(self.ids)} passages")
        postings = [
            slice(int(self._starts[term]), int(self._starts[term + 1]))
            for word in query_terms(query, stemming=self.config.stemming, without_stop_words=self.config.stop_words)
            if (term := self._vocabulary.get(word)) is not None
        ]
        if not postings:
            return np.empty(0, np.int64), np.empty(0)
        parts = [self._posting(posting, allowed) for posting in postings]
        rows, scores = (np.concatenate(part) for part in zip(*parts, strict=True))
        total = np.bincount(rows, weights=scores, minlength=len(self.ids))
        found = np.flatnonzero(total > 0)
        return found, total[found]

    def _posting(self, posting: slice, allowed: NDArray[np.bool_] | None) -> tuple[NDArray[Any], NDArray[Any]]:
        """Rows with a term that are allowed, and its scores there, by its rarity among what is allowed."""
        rows, scores = self._rows[posting], self._scores[posting]
        if allowed is None:
            return rows, scores
        kept = allowed[rows]
        frequency = int(kept.sum())
        whole = idf(self.config.method, len(self.ids), len(rows)) if frequency else 0.0
        if not whole:
            return rows[kept], scores[kept]
        return rows[kept], scores[kept] * (idf(self.config.method, int(allowed.sum()), frequency) / whole)

    def save(self, folder: Path) -> None:
        """Write the index to one file of the folder, in one step.

        Raises:
            OSError: the folder cannot be made or written to.
        """
        folder.mkdir(parents=True, exist_ok=True)
        buffer = io.BytesIO()
        about = json.dumps({"layout": LAYOUT, "config": asdict(self.config)})
        np.savez(
            buffer,
            about=_bytes(about),
            vocabulary=_bytes("\n".join(self._vocabulary)),
            ids=self.ids,
            scores=self._scores,
            rows=self._rows,
            starts=self._starts,
        )
        atomic_write(folder / FILE_NAME, buffer.getvalue())

    @classmethod
    def load(cls, folder: Path) -> "SparseIndex":
        """Read what `save` wrote; nothing in the file is executed.

        Raises:
            UserError: there is no such file, it is damaged, or it was written by another version.
        """
        path = folder / FILE_NAME
        try:
            with path.open("rb") as stream, np.load(stream, allow_pickle=False) as file:
                arrays = {name: file[name] for name in file.files}
            about = json.loads(arrays["about"].tobytes())
            if about["layout"] != LAYOUT:
                raise UserError(f"{path}: written by another version of this program: build the index again")
            words = arrays["vocabulary"].tobytes().decode()
            vocabulary = {term: number for number, term in enumerate(words.split("\n"))} if words else {}
            index = cls(
                arrays["ids"], vocabulary, arrays["scores"], arrays["rows"], arrays["starts"],
                SparseConfig(**about["config"]),
            )  # fmt: skip
            index._check()
        except FileNotFoundError:
            raise UserError(f"{path}: not there: build the index again") from None
        except (OSError, ValueError, KeyError, TypeError, EOFError, zipfile.BadZipFile) as error:
            raise UserError(f"{path}: not a readable word index ({error}): build the index again") from None
        return index

    def _check(self) -> None:
        """Raise ValueError where the arrays do not fit each other."""
        starts, rows = self._starts, self._rows
        if len(starts) != len(self._vocabulary) + 1 or starts[0] != 0 or starts[-1] != len(rows) != len(self._scores):
            raise ValueError("its parts do not fit each other")
        if len(rows) != len(self._scores) or (len(rows) and not 0 <= rows.min() <= rows.max() < len(self.ids)):
            raise ValueError("its parts do not fit each other")


def _bytes(text: str) -> NDArray[np.uint8]:
    return np.frombuffer(text.encode(), dtype=np.uint8)


def _score(
    term_ids: list[list[int]], vocabulary: dict[str, int], config: SparseConfig
) -> tuple[FloatArray, NDArray[np.int32], NDArray[np.int64]]:
    """Scores, rows and starts of every term, by bm25s.

    bm25l and bm25+ give passages without a term a score too. It is the same for all of them, so that bm25s stores the
    difference to it, and what is the same for all is left out here: a passage without any term of the query scores 0.
    """
    if not vocabulary:
        return np.empty(0, np.float32), np.empty(0, np.int32), np.zeros(1, np.int64)
    import bm25s

    model = bm25s.BM25(k1=config.k1, b=config.b, delta=config.delta, method=config.method, backend="numpy")
    logging.getLogger("bm25s").setLevel(logging.WARNING)  # it sets DEBUG itself
    model.index((term_ids, dict(vocabulary)), show_progress=False, create_empty_token=False)
    scores = np.asarray(model.scores["data"], dtype=np.float32)
    rows = np.asarray(model.scores["indices"], dtype=np.int32)
    return scores, rows, np.asarray(model.scores["indptr"], dtype=np.int64)
