"""How retrieval and answers are measured."""

from dataclasses import dataclass


@dataclass(kw_only=True, frozen=True)
class EvaluationConfig:
    """What is measured, and how sure it has to be."""

    cutoffs: tuple[int, ...] = (1, 3, 5, 10)
    """Ranks k at which recall, precision, success and nDCG are cut off, ascending."""

    depth: int = 100
    """Ranks of each list that are looked at: mean average precision and reciprocal rank see no further. A search hands
    on --retrieval.candidates passages and no more."""

    gold_share: float = 1.0
    """Share of a gold passage's characters that a chunk must hold to count as relevant, above 0 and up to 1."""

    judge: bool = False
    """Have the language model of --generation judge its own answers as well: faithfulness and relevance after RAGAS.
    Where it fails to judge, that is counted and kept out of the means."""

    split: str = "test"
    """Judgements of a BEIR folder: its file qrels/SPLIT.tsv."""

    limit: int | None = None
    """Measure the first so many questions only. None: all."""

    confidence: float = 0.95
    """Nominal coverage of the intervals."""

    n_resamples: int = 2000
    """Bootstrap draws."""

    n_changed: int = 10
    """Questions that are named in a comparison of two configurations: those that changed most."""

    def __post_init__(self) -> None:
        ascending = all(low < high for low, high in zip(self.cutoffs, self.cutoffs[1:], strict=False))
        if not self.cutoffs or self.cutoffs[0] < 1 or not ascending:
            given = " ".join(map(str, self.cutoffs)) or "is empty"
            raise ValueError(f"--evaluation.cutoffs {given}: give ranks of at least 1 in ascending order")
        if self.depth < self.cutoffs[-1]:
            raise ValueError(
                f"--evaluation.depth {self.depth} must reach the last of --evaluation.cutoffs, {self.cutoffs[-1]}"
            )
        if not 0 < self.gold_share <= 1:
            raise ValueError(f"--evaluation.gold_share {self.gold_share:g} must lie above 0 and be 1 at most")
        if not self.split.strip() or "/" in self.split:
            raise ValueError(f"--evaluation.split {self.split!r} must be the name of a file in qrels, without .tsv")
        if self.limit is not None and self.limit < 1:
            raise ValueError(f"--evaluation.limit {self.limit} must be at least 1, or None for all questions")
        if not 0 < self.confidence < 1:
            raise ValueError(f"--evaluation.confidence {self.confidence:g} must lie between 0 and 1")
        if self.n_resamples < 1:
            raise ValueError(f"--evaluation.n_resamples {self.n_resamples} must be at least 1")
        if self.n_changed < 0:
            raise ValueError(f"--evaluation.n_changed {self.n_changed} must not be negative")
