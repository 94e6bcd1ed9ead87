"""Self-consistency: sample several answers and take the one that most of them agree on.

Wang et al. (2023), "Self-Consistency Improves Chain of Thought Reasoning in Language Models", §2: the reasoning of a
sample is thrown away, and the answers vote with equal weights (their Table 1 finds weights by probability no better).
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from roadmap_shared.metrics import Interval, PairedComparison, paired_bootstrap, share_interval
from text_generation.backends.types import Backend, Generation, Prompt
from text_generation.config.decoding import DecodingConfig
from text_generation.prompting.answers import Extractor


@dataclass(frozen=True)
class Vote:
    """What the samples of one prompt agree on."""

    answer: str | None
    """The most frequent answer. Of several with equally many votes, the one that was given first; None where no sample
    has an answer."""

    counts: dict[str, int]
    """Votes of each answer, the most frequent first."""

    n_samples: int
    tied: tuple[str, ...] = ()
    """All answers with the most votes, where there are several: `answer` is then one of equals."""

    samples: tuple[Generation, ...] = ()

    @property
    def n_without_answer(self) -> int:
        """Samples in which the extractor found no answer. They have no vote."""
        return self.n_samples - sum(self.counts.values())

    @property
    def agreement(self) -> float:
        """Share of all samples that gave the answer: how sure the model is (Wang et al., §3.5)."""
        return self.counts[self.answer] / self.n_samples if self.answer is not None else 0.0


def vote(answers: Sequence[str | None], samples: Sequence[Generation] = ()) -> Vote:
    """Count votes; None is no vote."""
    # Counter keeps the order of first occurrence among equals, and most_common is stable.
    counts = Counter(answer for answer in answers if answer is not None)
    ranked = dict(counts.most_common())
    winners = [answer for answer, count in ranked.items() if count == max(ranked.values())]
    return Vote(
        answer=winners[0] if winners else None,
        counts=ranked,
        n_samples=len(answers),
        tied=tuple(winners) if len(winners) > 1 else (),
        samples=tuple(samples),
    )


def self_consistency(
    backend: Backend,
    prompts: Sequence[Prompt],
    decoding: DecodingConfig,
    extract: Extractor,
    *,
    n_samples: int = 10,
    seed: int = 0,
) -> list[Vote]:
    """Let the samples of each prompt vote.

    Args:
        backend: the model.
        prompts: usually chain-of-thought prompts.
        decoding: sampling; Wang et al. use temperature 0.5 to 0.7 with top-k 40.
        extract: takes the answer out of a sample.
        n_samples: samples a prompt; the gain levels off between 10 and 40.
        seed: of the samples.

    Raises:
        ValueError: no sample is asked for, or the decoding is not sampling, so that all samples would be equal.
        UserError, BackendError: see `Backend.generate`.
    """
    if n_samples < 1:
        raise ValueError(f"n_samples must be at least 1, got {n_samples}")
    if decoding.strategy != "sampling":
        raise ValueError(f"self-consistency needs strategy sampling: with {decoding.strategy} all samples are equal")
    repeated = [prompt for prompt in prompts for _ in range(n_samples)]
    samples = backend.generate(repeated, decoding, seed)
    groups = [samples[start : start + n_samples] for start in range(0, len(samples), n_samples)]
    return [vote([_answer(sample, extract) for sample in group], group) for group in groups]


@dataclass(frozen=True)
class SharesRight:
    """How often the answers are right, over prompts, with 95 % intervals.

    Those of the shares are Wilson's where every prompt scores 0 or 1, as each vote does, else the bootstrap's.
    """

    by_vote: Interval
    by_one_sample: Interval
    """On average over a prompt's samples; one without an answer is wrong."""

    gain: PairedComparison
    """The vote minus a sample, over the same prompts."""


def shares_right(votes: Sequence[Vote], references: Sequence[str]) -> SharesRight:
    """Compare votes with single samples. `references`: the right answer of each prompt.

    Raises:
        ValueError: no vote, or another number of references.
    """
    pairs = list(zip(votes, references, strict=True))
    voted = [float(vote.answer == reference) for vote, reference in pairs]
    single = [vote.counts.get(reference, 0) / vote.n_samples for vote, reference in pairs]
    return SharesRight(share_interval(voted), share_interval(single), paired_bootstrap(single, voted))


def _answer(sample: Generation, extract: Extractor) -> str | None:
    return None if sample.finish_reason == "error" else extract(sample.text)
