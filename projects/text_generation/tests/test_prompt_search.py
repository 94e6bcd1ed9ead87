"""Prompt search: the budget is kept whatever happens, the best is found, and an interrupted search goes on."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from roadmap_shared.errors import UserError
from roadmap_shared.metrics import bootstrap_interval, wilson_interval
from text_generation.backends.scripted import ScriptedBackend
from text_generation.backends.types import Prompt
from text_generation.config.decoding import SAMPLING
from text_generation.prompting.answers import contains
from text_generation.prompting.cases import Case
from text_generation.prompting.examples import SimilarExamples
from text_generation.prompting.search import least_budget, search_prompts
from text_generation.prompting.search_parts import (
    CandidatePrompts,
    by_answer,
    by_likelihood,
    given_paraphrases,
    model_variations,
)
from text_generation.prompting.search_types import Budget, Candidate, SearchSettings
from text_generation.prompting.template_files import TemplateLibrary

CASES = [Case({"input": f"case {number}"}, "yes", f"cases:{number}") for number in range(40)]
SEARCH, HELD_OUT = CASES[:30], CASES[30:]


class Scorer:
    """A candidate's quality is the number in its instruction, plus noise that belongs to the case."""

    def __init__(self, noise: float = 0.1) -> None:
        self.calls = 0
        self.noise = noise

    def __call__(self, candidate: Candidate, cases: Sequence[Case]) -> list[float]:
        self.calls += len(cases)
        quality = float(candidate.instruction.split()[-1])
        numbers = [int(case.source.split(":")[1]) for case in cases]
        return [quality + self.noise * np.sin(number * 7.3) for number in numbers]


class Proposer:
    def __init__(self) -> None:
        self.calls = 0

    def __call__(self, instruction: str, number: int) -> list[str]:
        self.calls += number
        return [f"variation {float(instruction.split()[-1]) + 0.01 * (index + 1)}" for index in range(number)]


@settings(max_examples=40, deadline=None)
@given(
    n_candidates=st.integers(1, 9),
    extra=st.integers(0, 200),
    generations=st.integers(1, 3),
    variations=st.integers(0, 5),
    n_held_out=st.integers(1, 10),
    counts=st.sampled_from([(0,), (0, 2), (1, 2, 4)]),
    proposing=st.booleans(),
)
def test_the_budget_is_never_exceeded(
    n_candidates: int,
    extra: int,
    generations: int,
    variations: int,
    n_held_out: int,
    counts: tuple[int, ...],
    proposing: bool,
) -> None:
    candidates = [Candidate(f"do {number}", counts[0]) for number in range(n_candidates)]
    base = SearchSettings(0, generations, variations, counts)
    pool = n_candidates * len(counts)
    least = least_budget(pool, n_held_out, base, variations=variations if proposing else 0)
    chosen = SearchSettings(least + extra, generations, variations, counts)
    scorer, proposer = Scorer(), Proposer()
    result = search_prompts(
        scorer, candidates, SEARCH, HELD_OUT[:n_held_out], chosen, propose=proposer if proposing else None
    )
    assert scorer.calls + proposer.calls == result.calls <= chosen.budget
    assert len(result.rounds) >= (1 if pool + variations * proposing > 1 else 0)
    assert result.gain.difference == pytest.approx(result.winner_score.estimate - result.baseline_score.estimate)


def test_the_best_candidate_wins_and_its_gain_is_the_true_one() -> None:
    candidates = [Candidate(f"do {quality}") for quality in (0.3, 0.1, 0.9, 0.5, 0.2)]
    result = search_prompts(Scorer(), candidates, SEARCH, HELD_OUT, SearchSettings(300, generations=1))
    assert result.winner.instruction == "do 0.9"
    assert result.gain.difference == pytest.approx(0.6)
    assert result.gain.low == pytest.approx(0.6)
    assert [len(of.means) for of in result.rounds] == [5, 3, 2]
    assert [of.n_cases for of in result.rounds] == sorted(of.n_cases for of in result.rounds)


def test_held_out_scores_of_right_and_wrong_have_wilsons_interval() -> None:
    candidates = [Candidate("do 0"), Candidate("do 1")]
    result = search_prompts(Scorer(0), candidates, SEARCH, HELD_OUT, SearchSettings(100, generations=1))
    assert (result.baseline_score, result.winner_score) == (wilson_interval(0, 10), wilson_interval(10, 10))
    nats = search_prompts(Scorer(), [Candidate("do -2")], SEARCH, HELD_OUT, SearchSettings(100, generations=1))
    assert nats.winner_score == bootstrap_interval(Scorer()(Candidate("do -2"), HELD_OUT))


def test_variations_of_the_best_climb() -> None:
    result = search_prompts(
        Scorer(0), [Candidate("do 0.5")], SEARCH, HELD_OUT, SearchSettings(400, 3, 4), propose=Proposer()
    )
    assert float(result.winner.instruction.split()[-1]) == pytest.approx(0.62)
    assert result.winner.source.startswith("variation of: variation 0.58")


def test_a_search_that_finds_nothing_says_so() -> None:
    result = search_prompts(
        Scorer(), [Candidate("do 0.5"), Candidate("do 0.1")], SEARCH, HELD_OUT, SearchSettings(100, 1)
    )
    assert result.winner == result.baseline
    assert (result.gain.difference, result.gain.low, result.gain.high) == (0, 0, 0)


def test_an_interrupted_search_ends_like_an_uninterrupted_one(tmp_path: Path) -> None:
    candidates = [Candidate(f"do {quality}") for quality in (0.3, 0.1, 0.9, 0.5)]
    chosen = SearchSettings(200, 2, 3)
    whole = search_prompts(Scorer(), candidates, SEARCH, HELD_OUT, chosen, propose=Proposer())

    class Breaking(Scorer):
        def __call__(self, candidate: Candidate, cases: Sequence[Case]) -> list[float]:
            if self.calls > 60:
                raise KeyboardInterrupt
            return super().__call__(candidate, cases)

    log = tmp_path / "search.jsonl"
    broken = Breaking()
    with pytest.raises(KeyboardInterrupt):
        search_prompts(broken, candidates, SEARCH, HELD_OUT, chosen, propose=Proposer(), log=log)
    with log.open("a") as file:
        file.write('{"candidate": "do')
    scorer, proposer = Scorer(), Proposer()
    assert search_prompts(scorer, candidates, SEARCH, HELD_OUT, chosen, propose=proposer, log=log) == whole
    assert broken.calls + scorer.calls + 6 == whole.calls
    again, silent = Scorer(), Proposer()
    assert search_prompts(again, candidates, SEARCH, HELD_OUT, chosen, propose=silent, log=log) == whole
    assert (again.calls, silent.calls) == (0, 0)


def test_bad_searches(tmp_path: Path) -> None:
    one = [Candidate("do 1")]
    log = tmp_path / "log.jsonl"
    search_prompts(Scorer(), one, SEARCH, HELD_OUT, SearchSettings(100), log=log)
    for candidates, cases, held_out, budget, path, message in [
        ([], SEARCH, HELD_OUT, 100, None, "a search needs an instruction to begin with. Give one at least."),
        (
            one,
            [],
            HELD_OUT,
            100,
            None,
            "a search needs cases to search by and held-out cases to measure the winner on. Give some of each.",
        ),
        (
            one,
            SEARCH,
            SEARCH[:1],
            100,
            None,
            "cases:0: is a search case and a held-out case. Keep them apart: a gain on it proves nothing.",
        ),
        (
            one,
            SEARCH,
            HELD_OUT,
            21,
            None,
            "a budget of 21 calls is too small: with 10 held-out cases and 1 candidates a search takes 22 at least. "
            "Give more, or fewer held-out cases, candidates or variations.",
        ),
        (
            [Candidate("do 2")],
            SEARCH,
            HELD_OUT,
            100,
            log,
            f"{log}: is the log of another search (other instructions, cases or settings). Choose another file, or "
            "remove this one to begin anew.",
        ),
    ]:
        with pytest.raises(UserError) as caught:
            search_prompts(Scorer(), candidates, cases, held_out, SearchSettings(budget), log=path)
        assert str(caught.value) == message


def test_a_budget_counts() -> None:
    budget = Budget(3)
    budget.spend(2)
    assert budget.left == 1
    with pytest.raises(RuntimeError, match="2 calls asked for with 1 left of 3"):
        budget.spend(2)


# The parts


def test_prompts_of_candidates() -> None:
    pool = [{"input": "case 1 a", "answer": "A"}, {"input": "other", "answer": "B"}]
    prompts = CandidatePrompts(TemplateLibrary().get("instructed"), "input", SimilarExamples(pool, "input"))
    assert prompts(Candidate("Say yes.", 1), CASES[1]) == (
        "Say yes.\n\nInput: case 1 a\nOutput: A\n\nInput: case 1\nOutput:"
    )
    assert prompts(Candidate("Say yes."), CASES[1]) == "Say yes.\n\nInput: case 1\nOutput:"


def test_scores_by_likelihood_and_by_answer() -> None:
    prompts = CandidatePrompts(TemplateLibrary().get("instructed"), "input")

    def nats(prompt: Prompt, text: str) -> float:
        assert text == " yes"
        return 8.0 if str(prompt).startswith("Bad") else 4.0

    backend = ScriptedBackend(["Yes, of course.\nInput:", "no"], likelihood=nats)
    assert by_likelihood(backend, prompts)(Candidate("Good"), CASES[:2]) == [-1.0, -1.0]
    assert by_likelihood(backend, prompts)(Candidate("Bad"), CASES[:1]) == [-2.0]
    assert by_answer(backend, prompts, SAMPLING, contains)(Candidate("Good"), CASES[:2]) == [1.0, 0.0]


def test_where_variations_come_from() -> None:
    backend = ScriptedBackend(["Label it.\nmore", "Tag it."])
    assert model_variations(backend, SAMPLING)("Sort it.", 2) == ["Label it.", "Tag it."]
    assert "Instruction: Sort it.\n" in str(backend.asked[0])
    assert given_paraphrases({"a": ["b", "c"]})("a", 1) == ["b"]
    assert given_paraphrases({})("a", 1) == []
