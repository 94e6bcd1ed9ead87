"""Decoding strategies compared on the same prompts: what they write, how probable, how varied, and how fast.

All are supported by transformers 5.23 without remote code, typical sampling and min-p included. Two are not:
contrastive search (Su et al. 2022) and DoLa (Chuang et al. 2024) have moved to `custom_generate` repositories of the
hub, which run their code with `trust_remote_code=True`. Nothing here does that, so they are left out.
"""

import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields, replace

from text_generation.backends.types import Backend, Generation, Prompt
from text_generation.config.decoding import BEAM_SEARCH, GREEDY, NUCLEUS, SAMPLING, DecodingConfig
from text_generation.evaluation.diversity_metrics import DiversityScores, diversity, repetition_rate, self_bleu

STRATEGIES: Mapping[str, DecodingConfig] = {
    "greedy": GREEDY,
    "beam_search": BEAM_SEARCH,
    "sampling": SAMPLING,
    "nucleus": NUCLEUS,
    "min_p": DecodingConfig(min_p=0.1),
    "typical": DecodingConfig(typical_p=0.9),
    "repetition_penalty": replace(GREEDY, repetition_penalty=1.3),
}
"""The first four are the usual ones; the last is greedy search that avoids what it has said."""

TEMPERATURES = (0.3, 0.5, 0.7, 0.85, 1.0, 1.2, 1.5)
TOP_PS = (0.2, 0.4, 0.6, 0.75, 0.9, 0.95, 1.0)

Checker = Callable[[Prompt, str], float]
"""How well an answer does what its prompt asks, from 0 to 1."""


@dataclass(frozen=True)
class StrategyResult:
    """What one strategy did. NaN: the back end does not say, or the texts are too short to tell."""

    name: str
    decoding: DecodingConfig
    answers: tuple[tuple[Generation, ...], ...]
    """Of each prompt, its samples. A strategy without chance has one."""

    logprob_per_token: float
    """Mean of ln p over all new tokens, under the model itself."""

    checked: float
    """Mean of the checker over all answers."""

    diversity: DiversityScores
    """Of one answer to each prompt, the mean over the samples. These scores depend on the number of texts, so
    that a strategy which gives one answer is measured on as many as one that gives several."""

    self_bleu: float
    """Of the samples of one prompt, mean over the prompts, 0 to 1: low means varied. 1 where nothing is left to
    chance; over the answers to different prompts where each has one sample."""

    repetition: float
    """Share of the 4-grams of words that have occurred in the same answer."""

    seconds: float
    """For all answers, generated one call a strategy."""

    new_tokens: int

    @property
    def tokens_per_second(self) -> float:
        """New tokens a second over all answers."""
        return self.new_tokens / self.seconds if self.seconds > 0 else math.nan

    @property
    def texts(self) -> list[str]:
        """The text of every answer, prompt by prompt."""
        return [answer.text for samples in self.answers for answer in samples]


def compare_strategies(
    backend: Backend,
    prompts: Sequence[Prompt],
    strategies: Mapping[str, DecodingConfig] = STRATEGIES,
    *,
    max_new_tokens: int = 64,
    samples: int = 4,
    stop: tuple[str, ...] = (),
    seed: int = 0,
    checker: Checker | None = None,
) -> list[StrategyResult]:
    """Answer the prompts with each strategy.

    Args:
        backend: what answers.
        prompts: at least one.
        strategies: by name.
        max_new_tokens: of each answer.
        samples: answers to each prompt where chance has a part; greedy and beam search give one.
        stop: texts that end an answer.
        seed: of all draws.
        checker: judges each answer. None: `checked` is NaN.

    Raises:
        UserError: a prompt is empty or too long, or the back end lacks a strategy.
    """
    return [
        measure_strategy(
            backend,
            prompts,
            name,
            replace(decoding, max_new_tokens=max_new_tokens, stop=stop),
            samples=samples,
            seed=seed,
            checker=checker,
        )
        for name, decoding in strategies.items()
    ]


def measure_strategy(
    backend: Backend,
    prompts: Sequence[Prompt],
    name: str,
    decoding: DecodingConfig,
    *,
    samples: int = 4,
    seed: int = 0,
    checker: Checker | None = None,
) -> StrategyResult:
    """Answer the prompts with one strategy, all in one call, and measure. Arguments as for `compare_strategies`."""
    by_chance = decoding.strategy == "sampling"
    each = samples if by_chance else 1
    asked = [prompt for prompt in prompts for _ in range(each)]
    start = time.perf_counter()
    answers = backend.generate(asked, decoding, seed)
    seconds = time.perf_counter() - start
    texts = [answer.text for answer in answers]
    grouped = [tuple(answers[first : first + each]) for first in range(0, len(answers), each)]
    return StrategyResult(
        name=name,
        decoding=decoding,
        answers=tuple(grouped),
        logprob_per_token=_logprob_per_token(answers),
        checked=_mean([checker(p, t) for p, t in zip(asked, texts, strict=True)]) if checker else math.nan,
        diversity=_diversity(grouped),
        self_bleu=_self_bleu(grouped) if by_chance else 1.0,
        repetition=repetition_rate(texts, 4),
        seconds=seconds,
        new_tokens=sum(answer.new_tokens for answer in answers),
    )


def answer_once(backend: Backend, prompt: Prompt, results: Sequence[StrategyResult], seed: int = 0) -> list[str]:
    """One more prompt, answered by each of the strategies with the settings of its result. Errors as for
    `compare_strategies`."""
    return [backend.generate([prompt], result.decoding, seed)[0].text for result in results]


def sweep(
    backend: Backend,
    prompts: Sequence[Prompt],
    *,
    temperatures: Sequence[float] = TEMPERATURES,
    top_ps: Sequence[float] = TOP_PS,
    max_new_tokens: int = 64,
    samples: int = 4,
    stop: tuple[str, ...] = (),
    seed: int = 0,
    checker: Checker | None = None,
) -> dict[str, list[StrategyResult]]:
    """Measure pure sampling at several temperatures, and nucleus sampling at several p: the points of the
    quality-diversity frontier (Caccia et al. 2020, "Language GANs Falling Short").

    Returns:
        The results by what was varied, "temperature" and "top-p"; each is named by its value.
    """
    varied = {
        "temperature": {f"{value:g}": DecodingConfig(temperature=value) for value in temperatures},
        "top-p": {f"{value:g}": DecodingConfig(top_p=value) for value in top_ps},
    }
    return {
        what: compare_strategies(
            backend,
            prompts,
            settings,
            max_new_tokens=max_new_tokens,
            samples=samples,
            stop=stop,
            seed=seed,
            checker=checker,
        )
        for what, settings in varied.items()
    }


def _logprob_per_token(answers: Sequence[Generation]) -> float:
    known = [(answer.logprob, answer.new_tokens) for answer in answers if answer.logprob is not None]
    tokens = sum(n for _, n in known)
    return math.fsum(logprob for logprob, _ in known) / tokens if tokens else math.nan


def _diversity(grouped: Sequence[Sequence[Generation]]) -> DiversityScores:
    """The mean over the samples of the scores of one answer to each prompt; NaN is left out."""
    scores = [diversity([answer.text for answer in one_each]) for one_each in zip(*grouped, strict=True)]
    means: dict[str, float] = {}
    for field in fields(DiversityScores):
        values = [getattr(score, field.name) for score in scores]
        known = [value for value in values if not math.isnan(value)]
        means[field.name] = _mean(known)
    return DiversityScores(**means)


def _self_bleu(grouped: Sequence[Sequence[Generation]]) -> float:
    if grouped and len(grouped[0]) == 1:
        return self_bleu([samples[0].text for samples in grouped])
    values = [self_bleu([answer.text for answer in samples]) for samples in grouped]
    return _mean([value for value in values if not math.isnan(value)])


def _mean(values: Sequence[float]) -> float:
    return math.fsum(values) / len(values) if values else math.nan
