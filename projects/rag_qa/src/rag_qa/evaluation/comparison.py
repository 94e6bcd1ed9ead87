"""Two configurations on the same questions: by how much one is better, how sure that is, and on which questions."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import fsum

from roadmap_shared.metrics import PairedComparison, paired_bootstrap

TIE = 1e-9
"""Scores that differ by less are equal: sums in another order differ in the last digits."""


@dataclass(frozen=True, kw_only=True)
class Change:
    """One question under both configurations."""

    question_id: str
    a: float
    b: float

    @property
    def difference(self) -> float:
        """b - a: positive where b is better."""
        return self.b - self.a


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """Configuration b against configuration a."""

    metric: str
    n_questions: int
    mean_a: float
    mean_b: float
    paired: PairedComparison
    """mean(b) - mean(a) with its interval."""

    wins: tuple[str, ...]
    """Questions on which b scores higher."""

    losses: tuple[str, ...]
    """Questions on which b scores lower."""

    ties: int
    changed: tuple[Change, ...]
    """The questions that changed most, by the size of the change, of equal ones the losses first."""

    @property
    def certain(self) -> bool:
        """Whether the interval excludes 0."""
        return self.paired.low > 0 or self.paired.high < 0

    def line(self) -> str:
        """The comparison in one line."""
        return (
            f"{self.metric}: {self.mean_a:.4f} -> {self.mean_b:.4f}, difference {self.paired.difference:+.4f} "
            f"({self.paired.low:+.4f} to {self.paired.high:+.4f}); of {self.n_questions} questions {len(self.wins)} "
            f"better, {len(self.losses)} worse, {self.ties} equal"
        )


def compare(
    metric: str,
    a: Mapping[str, float],
    b: Mapping[str, float],
    *,
    n_changed: int = 10,
    confidence: float = 0.95,
    n_resamples: int = 2000,
    seed: int = 0,
) -> Comparison:
    """Compare two configurations by their scores on the same questions, higher being better.

    The bootstrap is paired (Koehn 2004): both are scored on the same resampled questions, so that what makes a question
    hard for both cancels out.

    Args:
        metric: name of the score.
        a, b: score of each question, by its id.
        n_changed: questions to name.
        confidence, n_resamples, seed: of the bootstrap.

    Raises:
        ValueError: no questions, or not the same ones.
    """
    _check_questions(a, b)
    changes = [Change(question_id=question, a=a[question], b=b[question]) for question in a]
    scores_a, scores_b = [change.a for change in changes], [change.b for change in changes]
    wins = tuple(change.question_id for change in changes if change.difference > TIE)
    losses = tuple(change.question_id for change in changes if change.difference < -TIE)
    return Comparison(
        metric=metric,
        n_questions=len(changes),
        mean_a=fsum(scores_a) / len(changes),
        mean_b=fsum(scores_b) / len(changes),
        paired=paired_bootstrap(scores_a, scores_b, confidence=confidence, n_resamples=n_resamples, seed=seed),
        wins=wins,
        losses=losses,
        ties=len(changes) - len(wins) - len(losses),
        changed=_most_changed(changes)[:n_changed],
    )


def _check_questions(a: Mapping[str, float], b: Mapping[str, float]) -> None:
    if a.keys() != b.keys():
        single = min(a.keys() ^ b.keys())
        raise ValueError(f"both configurations must be scored on the same questions, but {single!r} has one score only")
    if not a:
        raise ValueError("there are no questions to compare on")


def _most_changed(changes: Sequence[Change]) -> tuple[Change, ...]:
    """The questions that changed, the largest change first and of equal ones the losses."""
    by_size = sorted(changes, key=lambda change: (-round(abs(change.difference), 9), change.difference))
    return tuple(change for change in by_size if abs(change.difference) > TIE)
