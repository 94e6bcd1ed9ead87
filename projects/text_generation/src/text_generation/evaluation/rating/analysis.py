"""What the votes say: who wins, how sure that is, whether raters agree, and whether the side mattered.

Intervals are 95 % percentile bootstrap intervals over prompts: all items of a prompt, and all votes on them, are drawn
together, for they share what makes the prompt easy for a system.

Shapes: K systems, P prompts with a vote, R resamples.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations
from statistics import median

import numpy as np
from numpy.typing import NDArray

from roadmap_shared.errors import UserError
from roadmap_shared.metrics import Interval, bootstrap_ratio
from text_generation.evaluation.rating.agreement import alpha_of_coincidences, coincidences
from text_generation.evaluation.rating.bradley_terry import bradley_terry, connected_groups
from text_generation.evaluation.rating.power import Outlook, outlook
from text_generation.evaluation.rating.study import Key, Study
from text_generation.evaluation.rating.votes import Vote, VoteFile
from text_generation.json_lines import Reject

FloatArray = NDArray[np.float64]


@dataclass(frozen=True)
class SystemScore:
    """How a system does against all others."""

    system: str
    strength: Interval
    """Bradley-Terry log-odds against the average of the systems."""

    win_rate: Interval
    """Share of the votes on its texts that it won, ties as one half."""

    probability_best: float
    """Share of the resamples in which its strength is the highest."""

    n_votes: int


@dataclass(frozen=True)
class PairScore:
    """Two systems against each other."""

    a: str
    b: str
    wins: int
    """Votes for a."""

    losses: int
    ties: int
    win_rate: Interval
    """Of a, ties as one half."""

    items_won: int
    """Items on which a has more votes than b."""

    items_lost: int
    items_tied: int
    outlook: Outlook


@dataclass(frozen=True)
class RaterScore:
    """What a rater did."""

    rater: str
    n_votes: int
    """Without skips."""

    n_ties: int
    n_skipped: int
    median_seconds: float | None


@dataclass(frozen=True)
class VoteAnalysis:
    """All that the votes on a study say. Skips count for nothing."""

    study: Study
    systems: tuple[SystemScore, ...]
    """The strongest first."""

    pairs: tuple[PairScore, ...]
    """Pairs with a vote; a is the stronger of the two."""

    raters: tuple[RaterScore, ...]
    chose_a: Interval | None
    """Share of the votes for one of the sides that went to A, on either text alike. None: there are only ties."""

    alpha: Interval | None
    """Krippendorff's alpha. None: no item has two raters, or all said the same."""

    n_shared_items: int
    """Items with two raters or more."""

    n_items_rated: int
    n_votes: int
    n_skipped: int
    rejects: tuple[Reject, ...]


def analyse(
    study: Study, key: Key, found: VoteFile, *, power: float = 0.8, n_resamples: int = 2000, seed: int = 0
) -> VoteAnalysis:
    """Analyse the votes on a study.

    Args:
        study, key: as `read_study` and `read_key` give them.
        found: as `read_votes` gives them.
        power: probability with which further votes shall decide a pair.
        n_resamples: bootstrap draws.
        seed: of the draws and simulations.

    Raises:
        UserError: there are no votes, or no chain of votes joins all systems.
    """
    votes = [vote for vote in found.votes if vote.winner != "skip"]
    if not votes:
        raise UserError("there is no vote to analyse yet: rate some items first")
    tally = _Tally(study, key, votes)
    tally.check_connected()
    counts = _resampled_counts(len(tally.prompts), n_resamples, seed)
    strengths = tally.strengths(counts)
    order = np.argsort(-strengths[0], kind="stable").tolist()
    items = [tally.votes_by_item.get(item.item, {}) for item in study.items]
    return VoteAnalysis(
        study=study,
        systems=tuple(tally.system_score(index, strengths, counts) for index in order),
        pairs=tuple(tally.pair_score(a, b, counts, power, seed) for a, b in combinations(order, 2) if tally.met[a, b]),
        raters=_rater_scores(found.votes),
        chose_a=_chose_a(tally, votes, n_resamples, seed),
        alpha=_alpha(study, items, n_resamples, seed),
        n_shared_items=sum(len(values) >= 2 for values in items),
        n_items_rated=len(tally.votes_by_item),
        n_votes=len(votes),
        n_skipped=len(found.votes) - len(votes),
        rejects=found.rejects,
    )


class _Tally:
    """The votes, counted by prompt and pair of systems."""

    def __init__(self, study: Study, key: Key, votes: Sequence[Vote]) -> None:
        self.key = key
        self.votes_by_item: dict[str, dict[str, str]] = {}
        for vote in votes:
            self.votes_by_item.setdefault(vote.item, {})[vote.rater] = vote.winner
        self.prompt_of = {item.item: item.prompt for item in study.items}
        self.prompts = {
            prompt: index for index, prompt in enumerate(dict.fromkeys(self.prompt_of[vote.item] for vote in votes))
        }
        number = {system: index for index, system in enumerate(key.systems)}
        n_systems = len(number)
        self.wins = np.zeros((len(self.prompts), n_systems, n_systems))  # ties as half a win each
        self.ties = np.zeros((n_systems, n_systems), dtype=np.int64)
        self.item_wins = np.zeros((n_systems, n_systems), dtype=np.int64)
        self.item_ties = np.zeros((n_systems, n_systems), dtype=np.int64)
        for item, values in self.votes_by_item.items():
            first, second = (number[system] for system in key.authors[item])
            self._count(self.prompts[self.prompt_of[item]], first, second, list(values.values()))
        self.met = self.wins.sum(axis=0) + self.wins.sum(axis=0).T > 0

    def _count(self, prompt: int, first: int, second: int, winners: Sequence[str]) -> None:
        n_first, n_second, n_ties = (winners.count(winner) for winner in ("first", "second", "tie"))
        self.wins[prompt, first, second] += n_first + n_ties / 2
        self.wins[prompt, second, first] += n_second + n_ties / 2
        for a, b in ((first, second), (second, first)):
            self.ties[a, b] += n_ties
            self.item_ties[a, b] += n_first == n_second
        self.item_wins[first, second] += n_first > n_second
        self.item_wins[second, first] += n_second > n_first

    def check_connected(self) -> None:
        groups = connected_groups(self.wins.sum(axis=0))
        if len(groups) > 1:
            names = ["{" + ", ".join(self.key.systems[index] for index in group) + "}" for group in groups]
            raise UserError(
                f"no chain of votes joins {' with '.join(names)}, so that they cannot be compared yet: rate more items"
            )

    def strengths(self, counts: FloatArray) -> FloatArray:
        """(R + 1, K): of all votes first, then of each resample."""
        n_prompts, n_systems, _ = self.wins.shape
        resampled = (counts @ self.wins.reshape(n_prompts, -1)).reshape(-1, n_systems, n_systems)
        return bradley_terry(resampled, met=self.met)

    def system_score(self, index: int, strengths: FloatArray, counts: FloatArray) -> SystemScore:
        won, lost = self.wins[:, index].sum(axis=1), self.wins[:, :, index].sum(axis=1)  # (P,)
        best = strengths[1:] >= strengths[1:].max(axis=1, keepdims=True) - 1e-9
        return SystemScore(
            system=self.key.systems[index],
            strength=_interval(strengths[:, index]),
            win_rate=_interval(_rates(counts, won, lost)),
            probability_best=float((best[:, index] / best.sum(axis=1)).mean()),
            n_votes=round(float((won + lost).sum())),
        )

    def pair_score(self, a: int, b: int, counts: FloatArray, power: float, seed: int) -> PairScore:
        won, lost = self.wins[:, a, b], self.wins[:, b, a]  # (P,)
        ties = int(self.ties[a, b])
        items = int(self.item_wins[a, b]), int(self.item_wins[b, a]), int(self.item_ties[a, b])
        return PairScore(
            a=self.key.systems[a],
            b=self.key.systems[b],
            wins=round(float(won.sum()) - ties / 2),
            losses=round(float(lost.sum()) - ties / 2),
            ties=ties,
            win_rate=_interval(_rates(counts, won, lost)),
            items_won=items[0],
            items_lost=items[1],
            items_tied=items[2],
            outlook=outlook(*items, power=power, seed=seed),
        )


def _resampled_counts(n_prompts: int, n_resamples: int, seed: int) -> FloatArray:
    """(R + 1, P) how often each prompt is drawn; the first row is the votes as they are."""
    generator = np.random.default_rng(seed)
    drawn = generator.multinomial(n_prompts, np.full(n_prompts, 1 / n_prompts), size=n_resamples)
    return np.vstack([np.ones(n_prompts), drawn]).astype(np.float64)


def _rates(counts: FloatArray, won: FloatArray, lost: FloatArray) -> FloatArray:
    """Share of the votes won in each resample, NaN where it drew none of them: (R + 1,)."""
    votes = counts @ (won + lost)
    return np.where(votes > 0, counts @ won / np.maximum(votes, 1e-9), math.nan)


def _interval(values: FloatArray) -> Interval:
    """The first value, with the percentiles of the others that are known."""
    known = values[1:][~np.isnan(values[1:])]
    low, high = np.quantile(known, [0.025, 0.975]) if len(known) else (math.nan, math.nan)
    return Interval(float(values[0]), float(low), float(high))


def _chose_a(tally: _Tally, votes: Sequence[Vote], n_resamples: int, seed: int) -> Interval | None:
    sides = np.zeros((len(tally.prompts), 2))  # votes for A, votes for either
    for vote in votes:
        if vote.chose_a is not None:
            sides[tally.prompts[tally.prompt_of[vote.item]]] += (vote.chose_a, 1)
    sides = sides[sides[:, 1] > 0]
    return bootstrap_ratio(sides[:, 0], sides[:, 1], n_resamples=n_resamples, seed=seed) if len(sides) else None


def _alpha(study: Study, items: Sequence[dict[str, str]], n_resamples: int, seed: int) -> Interval | None:
    shared = [(item.prompt, values) for item, values in zip(study.items, items, strict=True) if len(values) >= 2]
    if not shared:
        return None
    prompts = {prompt: index for index, prompt in enumerate(dict.fromkeys(prompt for prompt, _ in shared))}
    each = coincidences([values for _, values in shared])  # (n_shared, V, V)
    matrices = np.zeros((len(prompts), *each.shape[1:]))  # (P, V, V)
    np.add.at(matrices, [prompts[prompt] for prompt, _ in shared], each)
    counts = _resampled_counts(len(prompts), n_resamples, seed)
    summed = (counts @ matrices.reshape(len(prompts), -1)).reshape(-1, *matrices.shape[1:])
    alpha = _interval(alpha_of_coincidences(summed))
    return None if math.isnan(alpha.estimate) else alpha


def _rater_scores(votes: Sequence[Vote]) -> tuple[RaterScore, ...]:
    scores = []
    for rater in dict.fromkeys(vote.rater for vote in votes):
        own = [vote for vote in votes if vote.rater == rater]
        seconds = [vote.seconds for vote in own if vote.seconds is not None]
        n_skipped = sum(vote.winner == "skip" for vote in own)
        n_ties = sum(vote.winner == "tie" for vote in own)
        scores.append(RaterScore(rater, len(own) - n_skipped, n_ties, n_skipped, median(seconds) if seconds else None))
    return tuple(scores)
