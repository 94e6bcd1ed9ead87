"""How rare a term is: document frequencies of a corpus, and BM25 with them."""

import json
import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from rag_qa.generation.words import terms
from roadmap_shared.errors import UserError
from roadmap_shared.files import atomic_write

K1, B = 1.2, 0.75


@dataclass(frozen=True)
class TermStatistics:
    """Document frequencies of terms over the passages of a corpus."""

    n_passages: int
    frequencies: Mapping[str, int]
    """In how many passages a term stands."""

    mean_length: float
    """Terms of a passage."""

    @classmethod
    def of(cls, passages: Iterable[str]) -> "TermStatistics":
        """Count the terms of each passage."""
        return cls.of_terms(terms(passage) for passage in passages)

    @classmethod
    def of_terms(cls, passages: Iterable[Sequence[str]]) -> "TermStatistics":
        """Count passages that are given as their terms."""
        frequencies: Counter[str] = Counter()
        n_passages = n_terms = 0
        for passage in passages:
            frequencies.update(set(passage))
            n_passages += 1
            n_terms += len(passage)
        return cls(n_passages, dict(frequencies), n_terms / max(1, n_passages))

    def idf(self, term: str) -> float:
        """Inverse document frequency log(1 + (N - n + 0.5) / (n + 0.5)) (Robertson & Zaragoza 2009, §3.4.1, in
        Lucene's form, which is never negative)."""
        n = min(self.frequencies.get(term, 0), self.n_passages)
        return math.log(1 + (self.n_passages - n + 0.5) / (n + 0.5))

    def coverage(self, wanted: Iterable[str], found: set[str]) -> float:
        """Share of the wanted terms' idf that the found ones make up, 0 to 1; 0 where nothing is wanted."""
        weights = {term: self.idf(term) for term in wanted}
        total = sum(weights.values())
        return sum(weight for term, weight in weights.items() if term in found) / total if total else 0.0

    def bm25(self, wanted: Iterable[str], passage: Sequence[str], b: float = B, mean_length: float = 0.0) -> float:
        """BM25 of a passage's terms as a share of its limit, (k1 + 1) · sum of the wanted terms' idf, 0 to 1."""
        counts = Counter(passage)
        weights = {term: self.idf(term) for term in wanted}
        total = sum(weights.values())
        if not total:
            return 0.0
        norm = K1 * (1 - b + b * len(passage) / (mean_length or self.mean_length or 1.0))
        return sum(w * counts[term] / (counts[term] + norm) for term, w in weights.items() if term in counts) / total

    def save(self, path: Path) -> None:
        """Write as JSON."""
        content = {"n_passages": self.n_passages, "mean_length": self.mean_length, "frequencies": self.frequencies}
        atomic_write(path, json.dumps(content, ensure_ascii=False))

    @classmethod
    def load(cls, path: Path) -> "TermStatistics":
        """Read what `save` wrote.

        Raises:
            UserError: no such file, or another kind of content.
        """
        try:
            content = json.loads(path.read_text(encoding="utf-8"))
            return cls(int(content["n_passages"]), dict(content["frequencies"]), float(content["mean_length"]))
        except FileNotFoundError:
            raise UserError(f"{path}: no such file of term statistics. Ingest the documents again.") from None
        except (ValueError, KeyError, TypeError) as error:
            raise UserError(f"{path} holds no term statistics. Ingest the documents again.") from error
