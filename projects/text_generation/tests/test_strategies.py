"""The comparison of strategies: its figures by hand, on a scripted back end."""

import math
import re
from dataclasses import replace
from itertools import combinations
from typing import Any

import pytest
from matplotlib.text import Text

from roadmap_shared.report import figure_svg
from text_generation.backends.scripted import ScriptedBackend
from text_generation.backends.types import Generation
from text_generation.config.decoding import GREEDY, NUCLEUS, DecodingConfig
from text_generation.decoding.frontier import frontier_figure
from text_generation.decoding.strategies import (
    STRATEGIES,
    StrategyResult,
    answer_once,
    compare_strategies,
    measure_strategy,
    sweep,
)
from text_generation.evaluation.diversity_metrics import compression_ratio, self_bleu


class ScoredBackend(ScriptedBackend):
    """Gives every answer a log-probability of -2 a word."""

    def generate(self, prompts, decoding, seed=0):  # type: ignore[no-untyped-def]
        return [replace(answer, logprob=-2.0 * answer.new_tokens) for answer in super().generate(prompts, decoding)]


def test_figures_of_one_strategy() -> None:
    texts = ["a b a b", "c d e f", "a b a b a b a b", "g h"]
    backend = ScoredBackend(texts)
    result = measure_strategy(backend, ["p", "q"], "nucleus", NUCLEUS, samples=2, checker=lambda p, t: float("a" in t))
    assert [[answer.text for answer in samples] for samples in result.answers] == [texts[:2], texts[2:]]
    assert backend.asked == ["p", "p", "q", "q"]
    assert result.texts == texts
    assert result.logprob_per_token == -2.0
    assert result.checked == 0.5
    # One answer to each prompt: "a b a b" with "a b" four times, and "c d e f" with "g h".
    assert result.diversity.distinct_1 == pytest.approx((2 / 12 + 6 / 6) / 2)
    assert result.diversity.distinct_2_per_document == pytest.approx(((2 / 3 + 2 / 7) / 2 + 1) / 2)
    ratios = [compression_ratio(texts[::2]), compression_ratio(texts[1::2])]
    assert result.diversity.compression_ratio == pytest.approx(sum(ratios) / 2)
    assert result.new_tokens == 18
    # 4-grams: one, one, and five of which abab comes thrice and baba twice.
    assert result.repetition == pytest.approx(3 / 7)
    assert result.self_bleu == pytest.approx((self_bleu(texts[:2]) + self_bleu(texts[2:])) / 2)
    assert result.tokens_per_second == pytest.approx(18 / result.seconds)


def test_more_samples_of_the_same_texts_are_no_less_diverse() -> None:
    few = measure_strategy(ScoredBackend(["a b", "c d"]), ["p", "q"], "nucleus", NUCLEUS, samples=1)
    many = measure_strategy(ScoredBackend(["a b"] * 3 + ["c d"] * 3), ["p", "q"], "nucleus", NUCLEUS, samples=3)
    assert few.diversity.distinct_1 == many.diversity.distinct_1 == 1.0
    assert few.diversity.compression_ratio == pytest.approx(many.diversity.compression_ratio)


def test_another_prompt_is_answered_with_the_same_settings() -> None:
    results = compare_strategies(ScoredBackend(["x y z"], repeat=True), ["p"], max_new_tokens=2)
    answers = [f"a{number} b c" for number in range(len(results))]
    backend = ScoredBackend(answers)
    assert answer_once(backend, "q", results) == [f"a{number} b" for number in range(len(results))]
    assert backend.asked == ["q"] * len(results)


def test_what_is_not_left_to_chance_is_asked_once() -> None:
    backend = ScoredBackend(["a b", "c d"])
    result = measure_strategy(backend, ["p", "q"], "greedy", GREEDY, samples=5)
    assert [len(samples) for samples in result.answers] == [1, 1]
    assert result.self_bleu == 1.0
    assert math.isnan(result.checked)


def test_one_sample_a_prompt_is_compared_over_the_prompts() -> None:
    result = measure_strategy(ScoredBackend(["a b", "a c"]), ["p", "q"], "nucleus", NUCLEUS, samples=1)
    assert result.self_bleu == pytest.approx(self_bleu(["a b", "a c"]))


def test_a_back_end_that_does_not_say_how_probable() -> None:
    result = measure_strategy(ScriptedBackend(["a"], repeat=True), ["p"], "nucleus", NUCLEUS)
    assert math.isnan(result.logprob_per_token)


def test_answers_without_a_token_give_no_figures() -> None:
    class Silent(ScriptedBackend):
        def generate(self, prompts, decoding, seed=0):  # type: ignore[no-untyped-def]
            return [Generation("", "stop", 1, 0, logprob=0.0) for _ in prompts]

    result = measure_strategy(Silent([]), ["p"], "nucleus", NUCLEUS)
    assert math.isnan(result.logprob_per_token)
    assert math.isnan(result.diversity.distinct_1)
    assert math.isnan(result.self_bleu)


def test_the_usual_strategies_are_compared_with_one_length_and_stop() -> None:
    results = compare_strategies(
        ScoredBackend(["a b c END d"], repeat=True), ["p"], max_new_tokens=2, samples=2, stop=("END",)
    )
    assert [result.name for result in results] == list(STRATEGIES)
    assert list(STRATEGIES)[:4] == ["greedy", "beam_search", "sampling", "nucleus"]
    assert {(result.decoding.max_new_tokens, result.decoding.stop) for result in results} == {(2, ("END",))}
    sampling = results[2].decoding
    assert (sampling.temperature, sampling.top_k) == (0.7, 50)
    assert results[3].decoding.top_p == 0.9
    assert (results[1].decoding.num_beams, results[1].decoding.early_stopping) == (5, True)


def test_the_frontier_is_drawn_with_every_point_named() -> None:
    script = [f"w{i} w{i % 3} w{i % 5} w{i % 7} w{i % 2}" for i in range(40)]
    backend = ScoredBackend(script, repeat=True)
    curves = sweep(backend, ["p"], temperatures=(0.5, 1.0), top_ps=(0.25, 0.75), samples=3)
    assert {what: [result.name for result in curve] for what, curve in curves.items()} == {
        "temperature": ["0.5", "1"],
        "top-p": ["0.25", "0.75"],
    }
    assert curves["temperature"][0].decoding == DecodingConfig(temperature=0.5)
    marked = compare_strategies(backend, ["p"], {"my $greedy$": GREEDY}, checker=lambda p, t: 1.0)
    figure = frontier_figure(curves, marked)
    assert len(figure.axes) == 2  # a panel for what the checker says, because one result has it
    svg = figure_svg(figure)
    for text in ("0.25", "0.75", "temperature", "top-p", "my $greedy$"):
        assert text in svg
    assert len(frontier_figure(curves).axes) == 1


def test_names_of_crowded_points_do_not_cover_each_other() -> None:
    def point(name: str, diversity: float, logprob: float) -> StrategyResult:
        return replace(empty, name=name, self_bleu=1 - diversity, logprob_per_token=logprob)

    (empty,) = compare_strategies(ScoredBackend(["a b"], repeat=True), ["p"], {"greedy": GREEDY})
    curve = [point(f"0.{n}", 0.5 + 0.001 * n, -0.5) for n in range(40)]
    marked = [point(name, 0.52, -0.5) for name in ("sampling", "nucleus", "min_p")]
    figure = frontier_figure({"temperature": [*curve, point("1.5", 0.9, -4.0)]}, marked)
    figure.draw_without_rendering()
    names = [text for text in figure.axes[0].texts if text.get_text()]
    assert {"sampling", "nucleus", "min p", "0.0", "1.5"} <= {text.get_text() for text in names}
    assert len(names) < 30  # there is no room for all
    boxes = [Text.get_window_extent(text) for text in names]
    assert not any(a.shrunk(0.99, 0.9).overlaps(b.shrunk(0.99, 0.9)) for a, b in combinations(boxes, 2))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"max_new_tokens": 0}, "--decoding.max_new_tokens 0 must be at least 1"),
        ({"num_beams": 0}, "--decoding.num_beams 0 must be at least 1"),
        ({"temperature": 0.0}, "--decoding.temperature 0.0 must be between 0.0001 and 10000"),
        ({"temperature": math.nan}, "--decoding.temperature nan must be between 0.0001 and 10000"),
        ({"repetition_penalty": 1e-300}, "--decoding.repetition_penalty 1e-300 must be between 0.0001 and 10000"),
        ({"top_k": 0}, "--decoding.top_k 0 must be at least 1, or None for all tokens"),
        ({"top_p": 0.0}, "--decoding.top_p 0.0 must be above 0 and at most 1"),
        ({"typical_p": 1.5}, "--decoding.typical_p 1.5 must be above 0 and at most 1"),
        ({"min_p": 1.0}, "--decoding.min_p 1.0 must be at least 0 and below 1"),
        ({"no_repeat_ngram_size": -1}, "--decoding.no_repeat_ngram_size -1 must be at least 0"),
        ({"stop": ("",)}, "--decoding.stop holds an empty text, which would end every answer at once"),
    ],
)
def test_a_setting_out_of_range_is_named(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        DecodingConfig(**settings)
