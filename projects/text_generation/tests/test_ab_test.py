"""A/B comparison: numbers by hand, the bootstrap against a brute-force one, resumption, bad case files."""

import json
from pathlib import Path

import numpy as np
import pytest

from roadmap_shared.errors import UserError
from roadmap_shared.metrics import bootstrap_interval, wilson_interval
from text_generation.backends.scripted import ScriptedBackend
from text_generation.backends.types import BackendError, Generation, Prompt
from text_generation.config.decoding import GREEDY, SAMPLING
from text_generation.prompting.ab_test import choose_by_likelihood, compare_templates, prompt_for, score_interval
from text_generation.prompting.answers import contains, exact_match
from text_generation.prompting.call_log import LoggedBackend
from text_generation.prompting.cases import SENTIMENT_CASES, Case, read_cases, rejected_in_words, split_cases
from text_generation.prompting.examples import SimilarExamples
from text_generation.prompting.template_files import TemplateLibrary
from text_generation.prompting.templates import Template


def template(name: str, text: str, **more: object) -> Template:
    return Template(name, "1", "", {"x": ""}, f"{name}.yaml", text=text, **more)  # type: ignore[arg-type]


A, B = template("a", "A {{ x }}"), template("b", "B {{ x }}", answer_prefix=" ")
CASES = [Case({"x": number}, str(number % 3), f"cases.jsonl:{number + 1}") for number in range(30)]


def answers(prompt: Prompt) -> str:
    """Template A is right for multiples of 3, B for all but multiples of 5."""
    assert isinstance(prompt, str)
    which, number = prompt.split()
    right = int(number) % 3 == 0 if which == "A" else int(number) % 5 != 0
    return str(int(number) % 3) if right else "no"


def nats(prompt: Prompt, continuation: str) -> float:
    assert isinstance(prompt, str)
    return (2.0 if prompt.startswith("A") else 1.0) + int(prompt.split()[1]) / 10


def test_scores_by_hand() -> None:
    result = compare_templates(ScriptedBackend(answers, likelihood=nats), [A, B], CASES, GREEDY, scorer=exact_match)
    a, b = (np.asarray(of.scores) for of in result.scores)
    assert a is not None
    assert b is not None
    assert a.tolist() == [float(number % 3 == 0) for number in range(30)]
    assert b.tolist() == [float(number % 5 != 0) for number in range(30)]
    by_score, by_nats = result.comparisons
    assert by_score.difference.difference == pytest.approx(24 / 30 - 10 / 30)
    wins = np.where(b > a, 1.0, np.where(b == a, 0.5, 0.0))
    assert by_score.b_better.estimate == pytest.approx(wins.mean())
    assert by_score.n_ties == int((a == b).sum())
    assert by_score.verdict == "b better"
    # One byte against a blank and a byte: (1 + n / 10) / 2 - (2 + n / 10).
    expected = np.mean([(1 + n / 10) / 2 - (2 + n / 10) for n in range(30)])
    assert by_nats.difference.difference == pytest.approx(expected)
    assert by_nats.verdict == "b better"
    assert by_nats.b_better == wilson_interval(30, 30)
    assert result.scores[0].mean("score") == wilson_interval(10, 30)


def test_the_interval_against_brute_force() -> None:
    result = compare_templates(ScriptedBackend(answers), [A, B], CASES, GREEDY, scorer=exact_match, likelihood=False)
    share = result.comparisons[0].b_better
    a, b = (np.asarray(of.scores) for of in result.scores)
    wins = np.where(b > a, 1.0, np.where(b == a, 0.5, 0.0))
    generator = np.random.default_rng(7)
    means = [np.mean([wins[index] for index in generator.integers(30, size=30)]) for _ in range(4000)]
    low, high = np.quantile(means, [0.025, 0.975])
    assert share.low == pytest.approx(low, abs=0.025)
    assert share.high == pytest.approx(high, abs=0.025)
    assert result.comparisons[0].in_words() == (
        f"b better than a in {100 * share.estimate:.0f} % [{100 * share.low:.0f}, {100 * share.high:.0f}] of 30 "
        "cases by score: b better"
    )


def test_intervals_of_scores() -> None:
    # Nought of 30: up to z² / (30 + z²) with z² = 3.841459.
    nought = score_interval([0.0] * 30)
    assert (nought.estimate, nought.low, nought.high) == (0.0, 0.0, pytest.approx(0.113513, abs=1e-6))
    assert score_interval([0.0, 1.0, 1.0]) == wilson_interval(2, 3)
    for others in ([0.0, 0.5, 1.0], [-2.0, 0.0, 1.0], [0.0, 1.0, 2.0]):
        assert score_interval(others, seed=5) == bootstrap_interval(others, seed=5)


def test_equal_templates_cannot_be_told_apart() -> None:
    same = template("c", "A {{ x }}")
    result = compare_templates(ScriptedBackend(answers), [A, same], CASES, GREEDY, scorer=exact_match, likelihood=False)
    assert result.comparisons[0].verdict == "cannot tell apart"
    assert result.comparisons[0].b_better.estimate == 0.5


def test_a_case_without_an_answer_is_left_out_of_the_pair() -> None:
    class Failing(ScriptedBackend):
        def generate(self, prompts, decoding, seed=0):  # type: ignore[no-untyped-def]
            found = super().generate(prompts, decoding, seed)
            return [
                Generation("503", "error", 1, 0) if prompt == "B 7" else of
                for prompt, of in zip(prompts, found, strict=True)
            ]

    result = compare_templates(Failing(answers), [A, B], CASES, GREEDY, scorer=exact_match, likelihood=False)
    assert result.comparisons[0].n_cases == 29
    mean = result.scores[1].mean("score")
    assert mean is not None
    assert mean.estimate == pytest.approx(23 / 29)


def test_a_templates_stops_end_its_answers() -> None:
    stopping = template("s", "S {{ x }}", stop=("\n",))
    backend = ScriptedBackend(lambda prompt: "0\n1\n2")
    result = compare_templates(backend, [A, stopping], CASES[:1], GREEDY, scorer=contains, likelihood=False)
    assert [of.answers[0].text for of in result.scores] == ["0\n1\n2", "0"]


def test_examples_are_chosen_for_each_case() -> None:
    few = TemplateLibrary().get("sentiment_few_shot")
    pool = [{"review": "awful noise", "answer": "negative"}, {"review": "lovely colour", "answer": "positive"}]
    selector = SimilarExamples(pool, "review")
    case = Case({"review": "what a colour", "extra": 1}, "positive")
    prompt = prompt_for(few, case, lambda case: selector.select(case.variables["review"], 1))
    assert isinstance(prompt, str)
    assert "lovely colour" in prompt
    assert "awful noise" not in prompt


def test_what_cannot_be_compared() -> None:
    backend = ScriptedBackend(answers)
    for templates, cases, keywords, message in [
        ([A], CASES, {}, "a comparison needs two templates at least. Name another one."),
        ([A, A], CASES, {}, "the template 'a' is named twice. Compare different ones."),
        ([A, B], [], {}, "there is no case to compare the templates on"),
        ([A, B], CASES, {"likelihood": False}, "nothing to measure: choose a scorer, the likelihood, or both"),
        ([A, B], CASES, {}, "the back end 'scripted' cannot tell how probable a text is. Use a local model."),
        (
            [A, B],
            [Case({"y": 1}, "1", "cases.jsonl:9")],
            {},
            "cases.jsonl:9: a.yaml: 1 variable has no value: x ()",
        ),
    ]:
        with pytest.raises(UserError) as caught:
            compare_templates(backend, templates, cases, GREEDY, **keywords)  # type: ignore[arg-type]
        assert str(caught.value) == message


def test_choices_by_likelihood() -> None:
    table = {("p", " yes"): 2.0, ("p", " no, never"): 3.0, ("q", " yes"): 1.0, ("q", " no, never"): 0.5}
    backend = ScriptedBackend([], likelihood=lambda prompt, text: table[str(prompt), text])
    assert choose_by_likelihood(backend, ["p", "q"], ["yes", "no, never"], prefix=" ") == ["yes", "no, never"]
    assert choose_by_likelihood(backend, ["p"], ["yes", "no, never"], prefix=" ", per_byte=True) == ["no, never"]
    with pytest.raises(UserError, match="there is no choice to choose among"):
        choose_by_likelihood(backend, ["p"], [])


# The log


def test_an_interrupted_comparison_goes_on_without_paying_twice(tmp_path: Path) -> None:
    path = tmp_path / "logs" / "answers.jsonl"
    whole = compare_templates(
        LoggedBackend(ScriptedBackend(answers, likelihood=nats), tmp_path / "x"),
        [A, B],
        CASES,
        GREEDY,
        scorer=exact_match,
    )

    class Broken(ScriptedBackend):
        def generate(self, prompts, decoding, seed=0):  # type: ignore[no-untyped-def]
            if "B 20" in prompts:
                raise BackendError("gone")
            return super().generate(prompts, decoding, seed)

    with pytest.raises(BackendError):
        compare_templates(
            LoggedBackend(Broken(answers, likelihood=nats), path), [A, B], CASES, GREEDY, scorer=exact_match
        )
    with path.open("a") as file:
        file.write('{"key": "half a li')
    backend = ScriptedBackend(answers, likelihood=nats)
    logged = LoggedBackend(backend, path)
    resumed = compare_templates(logged, [A, B], CASES, GREEDY, scorer=exact_match)
    assert [of.answers for of in resumed.scores] == [of.answers for of in whole.scores]
    assert backend.asked == [f"B {number}" for number in range(16, 30)]
    again = ScriptedBackend([])
    third = compare_templates(LoggedBackend(again, path), [A, B], CASES, GREEDY, scorer=exact_match)
    assert third.comparisons == resumed.comparisons
    assert again.asked == []


def test_chunks_have_seeds_of_their_own_and_errors_are_not_remembered(tmp_path: Path) -> None:
    seeds: list[int] = []

    class Backend(ScriptedBackend):
        def generate(self, prompts, decoding, seed=0):  # type: ignore[no-untyped-def]
            seeds.append(seed)
            return [Generation("503", "error", 1, 0) for _ in prompts]

    logged = LoggedBackend(Backend([]), tmp_path / "log", chunk=2)
    logged.generate(["a"] * 5, SAMPLING, seed=3)
    logged.generate(["a"] * 5, SAMPLING, seed=3)
    assert len(set(seeds)) == 3
    assert seeds[:3] == seeds[3:]
    assert not (tmp_path / "log").exists()


def test_a_file_that_is_no_log(tmp_path: Path) -> None:
    path = tmp_path / "notes.txt"
    path.write_text("hello\n")
    with pytest.raises(UserError) as caught:
        LoggedBackend(ScriptedBackend([]), path)
    assert str(caught.value) == (
        f"{path}, line 1: is not a line of such a log. Choose another file, or remove this line."
    )


# Case files


def test_the_shipped_cases() -> None:
    cases, rejects = read_cases(SENTIMENT_CASES)
    assert len(cases) == 30
    assert not rejects
    assert {case.reference for case in cases} == {"positive", "negative"}


def test_lines_that_are_no_cases(tmp_path: Path) -> None:
    path = tmp_path / "cases.jsonl"
    path.write_text('{"x": 1, "reference": "a"}\n\n{"x": \n[1]\n{"x": 2}\n{"x": 3, "reference": ""}\n')
    cases, rejects = read_cases(path)
    assert [case.source for case in cases] == ["cases.jsonl:1"]
    assert [(of.source, of.reason) for of in rejects] == [
        ("cases.jsonl:3", "is not JSON: Expecting value at character 7"),
        ("cases.jsonl:4", "is not a JSON object"),
        ("cases.jsonl:5", "has no text 'reference'"),
        ("cases.jsonl:6", "has no text 'reference'"),
    ]
    assert rejected_in_words(rejects, len(cases)) == (
        "4 of 5 lines left out; the first is cases.jsonl:3: is not JSON: Expecting value at character 7"
    )
    hostile = ["9" * 5000, "[" * 100_000, '{"x": "\\ud83d", "reference": "a"}']
    path.write_text("\n".join(['{"x": 1, "reference": "a"}', *hostile]))
    assert [of.reason for of in read_cases(path)[1]] == [
        "is not JSON: a number with too many digits",
        "is not JSON: nested too deeply",
        "holds half of a surrogate pair, which has no UTF-8 form",
    ]
    path.write_text("nonsense\n")
    with pytest.raises(UserError) as caught:
        read_cases(path)
    assert str(caught.value) == (
        f"{path}: holds no case (line 1: is not JSON: Expecting value at character 1). Write one a line: "
        '{"review": "…", "reference": "positive"}'
    )
    with pytest.raises(UserError, match=r"none.jsonl: cannot be read \(No such file or directory\)"):
        read_cases(tmp_path / "none.jsonl")


def test_splits_are_disjoint_and_whole() -> None:
    first, second = split_cases(CASES, 0.3, seed=1)
    assert len(second) == 9
    assert sorted(case.source for case in first + second) == sorted(case.source for case in CASES)
    assert [len(part) for part in split_cases(CASES[:2], 0.0)] == [1, 1]
    with pytest.raises(UserError, match="1 case cannot be split"):
        split_cases(CASES[:1], 0.5)
    assert json.loads(CASES[0].key) == [{"x": 0}, "0"]
