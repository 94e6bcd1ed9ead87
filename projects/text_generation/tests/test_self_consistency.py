"""Votes, ties, and the answers that are taken out of texts."""

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from roadmap_shared.metrics import bootstrap_interval, wilson_interval
from text_generation.backends.scripted import ScriptedBackend
from text_generation.backends.types import Generation
from text_generation.config.decoding import GREEDY, SAMPLING
from text_generation.prompting.answers import SCORERS, after_marker, last_number, normalised, one_of
from text_generation.prompting.cases import Case
from text_generation.prompting.self_consistency import self_consistency, shares_right, vote


@given(st.lists(st.one_of(st.none(), st.sampled_from("abc")), min_size=1))
def test_votes_against_a_count(answers: list[str | None]) -> None:
    found = vote(answers)
    given_answers = [answer for answer in answers if answer is not None]
    counts = Counter(given_answers)
    most = max(counts.values(), default=0)
    winners = [answer for answer in dict.fromkeys(given_answers) if counts[answer] == most]
    assert found.answer == (winners[0] if winners else None)
    assert found.tied == (tuple(winners) if len(winners) > 1 else ())
    assert found.counts == dict(counts)
    assert found.n_without_answer == answers.count(None)
    assert found.agreement == pytest.approx(most / len(answers))


def test_the_samples_of_each_prompt_vote() -> None:
    backend = ScriptedBackend(["Answer: 4", "Answer: 5", "so 4\nAnswer: 4.", "no idea", "Answer: 7", "Answer: 8"])
    first, second = self_consistency(backend, ["2+2", "3+4"], SAMPLING, after_marker, n_samples=3)
    assert (first.answer, first.counts, first.tied) == ("4", {"4": 2, "5": 1}, ())
    assert (second.answer, second.tied, second.n_without_answer) == ("7", ("7", "8"), 1)
    assert backend.asked == ["2+2"] * 3 + ["3+4"] * 3
    assert [sample.text for sample in second.samples] == ["no idea", "Answer: 7", "Answer: 8"]


def test_a_failed_call_has_no_vote() -> None:
    class Failing(ScriptedBackend):
        def generate(self, prompts, decoding, seed=0):  # type: ignore[no-untyped-def]
            return [Generation("time-out 504", "error", 1, 0) for _ in prompts]

    assert self_consistency(Failing([]), ["x"], SAMPLING, last_number, n_samples=2)[0].n_without_answer == 2


def test_shares_right_by_hand() -> None:
    votes = [vote(["a", "a", "b", None]), vote(["b", "b", "a", "b"]), vote([None] * 4)]
    right = shares_right(votes, ["a", "a", "a"])
    assert right.by_vote == wilson_interval(1, 3)
    assert right.by_one_sample == bootstrap_interval([0.5, 0.25, 0.0])
    assert right.gain.difference == pytest.approx(1 / 3 - 0.25)
    never = shares_right(votes, ["c", "c", "c"])
    assert never.by_vote == never.by_one_sample == wilson_interval(0, 3)


def test_wrong_settings() -> None:
    with pytest.raises(ValueError) as caught:
        self_consistency(ScriptedBackend([]), ["x"], GREEDY, last_number)
    assert str(caught.value) == "self-consistency needs strategy sampling: with greedy all samples are equal"
    with pytest.raises(ValueError, match="n_samples must be at least 1, got 0"):
        self_consistency(ScriptedBackend([]), ["x"], SAMPLING, last_number, n_samples=0)


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("It is 1,250.50 in all.", "1250.5"),
        ("3 apples and 4 pears make 7.", "7"),
        ("-12.00", "-12"),
        ("minus: −3", "-3"),
        ("007", "7"),
        ("0.50", "0.5"),
        ("-0", "0"),
        ("none", None),
    ],
)
def test_last_number(text: str, number: str | None) -> None:
    assert last_number(text) == number


def test_markers_and_choices() -> None:
    assert after_marker("Answer: a\nbut wait\nThe answer is: **Paris**.") == "paris"
    assert after_marker("Paris") is None
    assert after_marker("x\nAnswer:") is None
    label = one_of("positive", "negative")
    assert label("It is Positive.") == "positive"
    assert label("positive or negative") is None
    assert label("a positivelyfine day") is None
    assert normalised('  "Two  Words." ') == "two words"


@pytest.mark.parametrize(
    ("scorer", "answer", "reference", "score"),
    [
        ("exact", " Positive. ", "positive", 1),
        ("exact", "positive indeed", "positive", 0),
        ("contains", "clearly positive, I say", "positive", 1),
        ("contains", "unpositive", "positive", 0),
        ("regex", "in 2024", r"\b20\d\d\b", 1),
        ("regex", "in 1999", r"\b20\d\d\b", 0),
        ("marked", "well, negative\nAnswer: positive", "positive", 1),
        ("marked", "positive", "positive", 1),
    ],
)
def test_scorers(scorer: str, answer: str, reference: str, score: float) -> None:
    assert SCORERS[scorer](answer, Case({}, reference)) == score
