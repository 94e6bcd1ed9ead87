"""Automatic prompt search: the best of many instructions, with or without examples, within a budget of calls.

Zhou et al. (2023), "Large Language Models Are Human-Level Prompt Engineers" (APE): propose instructions, score them on
cases, propose variations of the best ones. Cases are shared out by successive halving (Jamieson & Talwalkar 2016,
"Non-stochastic Best Arm Identification"): all candidates on a few cases, the better half on more, until one is left.

The winner was picked for its score on the search cases, which is therefore too high. What it gained is measured on
cases that the search has never seen, beside the first candidate, and paid from the same budget.
"""

import math
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from roadmap_shared.errors import UserError
from roadmap_shared.metrics import paired_bootstrap
from text_generation.prompting.ab_test import score_interval
from text_generation.prompting.cases import Case
from text_generation.prompting.search_log import SearchLog
from text_generation.prompting.search_types import (
    Budget,
    Candidate,
    Propose,
    Round,
    Score,
    SearchResult,
    SearchSettings,
)


def search_prompts(
    score: Score,
    candidates: Sequence[Candidate],
    cases: Sequence[Case],
    held_out: Sequence[Case],
    settings: SearchSettings,
    *,
    propose: Propose | None = None,
    log: Path | None = None,
) -> SearchResult:
    """Find the candidate with the highest mean score.

    Args:
        score: scores a candidate on cases; the only thing, besides `propose`, that calls the model.
        candidates: instructions to begin with, the baseline first.
        cases: to search by.
        held_out: to measure the winner on; none of `cases`.
        settings: budget and rounds.
        propose: makes variations. None: only the given candidates are tried.
        log: JSONL file to which every score and variation is appended; a search that was interrupted and is repeated
            with the same file goes on where it stopped. What stands in the file counts as spent, as it was.

    Raises:
        UserError: nothing to try, the budget is too small, cases and held-out ones overlap, or the log is of another
            search.
    """
    _check(candidates, cases, held_out, settings, variations=settings.variations if propose else 0)
    record = SearchLog(log, _fingerprint(candidates, cases, held_out, settings))
    return _Search(score, propose, cases, held_out, settings, record).run(list(candidates))


class _Search:
    """The state of one search: what has been scored, and what has been spent."""

    def __init__(
        self,
        score: Score,
        propose: Propose | None,
        cases: Sequence[Case],
        held_out: Sequence[Case],
        settings: SearchSettings,
        log: SearchLog,
    ) -> None:
        order = np.random.default_rng(settings.seed).permutation(len(cases))
        self._cases = [cases[index] for index in order]
        self._held_out = list(held_out)
        self._score, self._propose, self._settings, self._log = score, propose, settings, log
        self._budget = Budget(settings.budget)
        self._scores: dict[tuple[str, str], float] = {}
        self._rounds: list[Round] = []

    def run(self, given: list[Candidate]) -> SearchResult:
        baseline = given[0]
        reserved = 2 * len(self._held_out)
        pool = self._with_examples(given)
        for generation in range(self._settings.generations):
            pool = self._distinct(pool + self._vary(pool, reserved))
            generations_left = self._settings.generations - generation
            share = (self._budget.left - reserved) // generations_left
            pool = self._halve(pool, share, generation)
        winner = pool[0]
        return self._measured(winner, baseline)

    def _with_examples(self, candidates: Sequence[Candidate]) -> list[Candidate]:
        own = [candidate.n_examples for candidate in candidates]
        counts = dict.fromkeys([*own, *self._settings.example_counts])
        return self._distinct(
            [Candidate(candidate.instruction, count, candidate.source) for count in counts for candidate in candidates]
        )

    @staticmethod
    def _distinct(candidates: Sequence[Candidate]) -> list[Candidate]:
        return list({candidate.key: candidate for candidate in reversed(candidates)}.values())[::-1]

    def _vary(self, pool: Sequence[Candidate], reserved: int) -> list[Candidate]:
        """Variations of the first candidate's instruction: of the best so far, or of the baseline at the beginning."""
        if self._propose is None:
            return []
        parent = pool[0]
        wanted = self._settings.variations
        if self._settings.proposals_cost:
            # At least half of what is left after the reserve is kept for scoring.
            wanted = min(wanted, max((self._budget.left - reserved) // 2, 0))
            self._budget.spend(wanted)
        if wanted == 0:
            return []
        texts = self._log.variations(parent.instruction, wanted)
        if texts is None:
            proposed = list(self._propose(parent.instruction, wanted))[:wanted]
            texts = [text.strip() for text in proposed if text.strip()]
            self._log.add_variations(parent.instruction, wanted, texts)
        return [Candidate(text, parent.n_examples, f"variation of: {parent.instruction}") for text in texts]

    def _halve(self, pool: Sequence[Candidate], share: int, generation: int) -> list[Candidate]:
        """Successive halving within `share` calls; returns the candidates, the best first."""
        survivors = list(pool)
        n_rounds = _n_rounds(len(survivors))
        end = self._budget.spent + share
        for number in range(n_rounds):
            left = end - self._budget.spent
            n_cases = self._affordable(survivors, left // (n_rounds - number))
            if n_cases == 0:
                break
            for candidate in survivors:
                self._evaluate(candidate, self._cases[:n_cases])
            means = {candidate.key: self._mean(candidate, n_cases) for candidate in survivors}
            survivors.sort(key=lambda candidate: -means[candidate.key])  # stable: of equals, the earlier one
            ranked = tuple((candidate, means[candidate.key]) for candidate in survivors)
            self._rounds.append(Round(generation, n_cases, ranked))
            survivors = survivors[: math.ceil(len(survivors) / 2)]
        return survivors[:1]

    def _affordable(self, candidates: Sequence[Candidate], calls: int) -> int:
        """The most cases that all candidates can be scored on; what has been scored before costs nothing."""
        most = 0
        for n_cases in range(1, len(self._cases) + 1):
            if sum(self._missing(candidate, self._cases[:n_cases]) for candidate in candidates) > calls:
                break
            most = n_cases
        return most

    def _missing(self, candidate: Candidate, cases: Sequence[Case]) -> int:
        return sum((candidate.key, case.key) not in self._scores for case in cases)

    def _evaluate(self, candidate: Candidate, cases: Sequence[Case]) -> None:
        missing = [case for case in cases if (candidate.key, case.key) not in self._scores]
        self._budget.spend(len(missing))
        new = [case for case in missing if self._log.score(candidate.key, case.key) is None]
        if new:
            values = self._score(candidate, new)
            pairs = [(case.key, float(value)) for case, value in zip(new, values, strict=True)]
            self._log.add_scores(candidate.key, pairs)
        for case in missing:
            value = self._log.score(candidate.key, case.key)
            assert value is not None
            self._scores[candidate.key, case.key] = value

    def _mean(self, candidate: Candidate, n_cases: int) -> float:
        return float(np.mean([self._scores[candidate.key, case.key] for case in self._cases[:n_cases]]))

    def _measured(self, winner: Candidate, baseline: Candidate) -> SearchResult:
        for candidate in (winner, baseline):
            self._evaluate(candidate, self._held_out)
        of_winner, of_baseline = (
            [self._scores[of.key, case.key] for case in self._held_out] for of in (winner, baseline)
        )
        tried = [self._scores[winner.key, case.key] for case in self._cases if (winner.key, case.key) in self._scores]
        seed = self._settings.seed
        return SearchResult(
            winner=winner,
            baseline=baseline,
            gain=paired_bootstrap(of_baseline, of_winner, seed=seed),
            winner_score=score_interval(of_winner, seed=seed),
            baseline_score=score_interval(of_baseline, seed=seed),
            search_score=float(np.mean(tried)) if tried else float("nan"),
            rounds=tuple(self._rounds),
            calls=self._budget.spent,
            budget=self._budget.limit,
            n_held_out=len(self._held_out),
        )


def _n_rounds(n_candidates: int) -> int:
    """Rounds of halving until one is left."""
    return math.ceil(math.log2(n_candidates))


def least_budget(n_candidates: int, n_held_out: int, settings: SearchSettings, *, variations: int) -> int:
    """Calls that a search takes at least: the held-out cases for two candidates, and in every generation the variations
    and one case for every candidate in the first round, of which each round gets an equal share."""
    pool = n_candidates + variations
    asked_for = variations if settings.proposals_cost else 0
    return 2 * n_held_out + settings.generations * (pool * max(_n_rounds(pool), 1) + asked_for)


def _check(
    candidates: Sequence[Candidate],
    cases: Sequence[Case],
    held_out: Sequence[Case],
    settings: SearchSettings,
    *,
    variations: int,
) -> None:
    if not candidates:
        raise UserError("a search needs an instruction to begin with. Give one at least.")
    if not cases or not held_out:
        raise UserError(
            "a search needs cases to search by and held-out cases to measure the winner on. Give some of each."
        )
    for case in held_out:
        if case.key in {of.key for of in cases}:
            raise UserError(
                f"{case.source}: is a search case and a held-out case. Keep them apart: a gain on it proves nothing."
            )
    counts = {candidate.n_examples for candidate in candidates} | set(settings.example_counts)
    pool = len({candidate.instruction for candidate in candidates}) * len(counts)
    least = least_budget(pool, len(held_out), settings, variations=variations)
    if settings.budget < least:
        raise UserError(
            f"a budget of {settings.budget} calls is too small: with {len(held_out)} held-out cases and {pool} "
            f"candidates a search takes {least} at least. Give more, or fewer held-out cases, candidates or variations."
        )


def _fingerprint(
    candidates: Sequence[Candidate], cases: Sequence[Case], held_out: Sequence[Case], settings: SearchSettings
) -> dict[str, Any]:
    """What makes a search this one. The budget is left out: a search may go on with a larger one."""
    return {
        "candidates": [candidate.key for candidate in candidates],
        "cases": [case.key for case in cases],
        "held_out": [case.key for case in held_out],
        "settings": {name: value for name, value in asdict(settings).items() if name != "budget"},
    }
