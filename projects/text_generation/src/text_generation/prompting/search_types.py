"""What a prompt search tries, how it is told to spend its calls, and what it finds."""

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from roadmap_shared.metrics import Interval, PairedComparison
from text_generation.prompting.cases import Case


@dataclass(frozen=True)
class Candidate:
    """A prompt that is tried."""

    instruction: str
    n_examples: int = 0
    """Examples that the prompt shows, chosen by whoever scores it."""

    source: str = "given"
    """Where the instruction comes from: "given", or "variation of …"."""

    @property
    def key(self) -> str:
        """Equal for equal prompts, wherever they come from."""
        return json.dumps([self.instruction, self.n_examples], ensure_ascii=False)


Score = Callable[[Candidate, Sequence[Case]], Sequence[float]]
"""A candidate's score on each case, higher is better: -nats of the reference, or 0 to 1. One call of the model a
case."""

Propose = Callable[[str, int], Sequence[str]]
"""An instruction and a number -> at most so many variations of it. One call of the model each, unless they are
given."""


@dataclass(frozen=True)
class SearchSettings:
    """How the budget is spent."""

    budget: int
    """Calls of the model at most: search, variations and held-out cases together."""

    generations: int = 2
    """Rounds of halving; each later one begins with the best so far and its variations."""

    variations: int = 4
    """Variations that a generation asks for."""

    example_counts: tuple[int, ...] = (0,)
    """Numbers of examples that each instruction is tried with."""

    proposals_cost: bool = True
    """Whether a variation takes a call of the model; given paraphrases do not."""

    seed: int = 0


@dataclass(frozen=True)
class Round:
    """One round of halving: the candidates on the first `n_cases` of the search cases."""

    generation: int
    n_cases: int
    means: tuple[tuple[Candidate, float], ...]
    """Best first."""


@dataclass(frozen=True)
class SearchResult:
    """The winner, and what it gained on cases that chose nothing."""

    winner: Candidate
    baseline: Candidate
    """The first candidate that was given."""

    gain: PairedComparison
    """Held-out cases: winner minus baseline. All 0 where the baseline won."""

    winner_score: Interval
    baseline_score: Interval
    search_score: float
    """The winner's mean on the search cases it was tried on: too high, as it was picked for it."""

    rounds: tuple[Round, ...]
    calls: int
    budget: int
    n_held_out: int


class Budget:
    """Counts calls, and allows none above the limit."""

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.spent = 0

    @property
    def left(self) -> int:
        """Calls that may still be made."""
        return self.limit - self.spent

    def spend(self, calls: int) -> None:
        """Count calls, before they are made.

        Raises:
            RuntimeError: there are not so many left, which the caller must have seen to.
        """
        if calls > self.left:
            raise RuntimeError(f"{calls} calls asked for with {self.left} left of {self.limit}")
        self.spent += calls
