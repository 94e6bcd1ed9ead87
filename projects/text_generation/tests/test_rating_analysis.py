"""Bradley-Terry, Krippendorff's alpha, the power calculation and the whole analysis, against independent versions."""

import math
from collections import Counter

import krippendorff
import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from roadmap_shared.errors import UserError
from roadmap_shared.report import Report, render
from text_generation.evaluation.rating.agreement import krippendorff_alpha
from text_generation.evaluation.rating.analysis import analyse
from text_generation.evaluation.rating.bradley_terry import bradley_terry, connected_groups
from text_generation.evaluation.rating.making import Output, make_study
from text_generation.evaluation.rating.power import MOST_ITEMS, decision_probability, is_decided, outlook
from text_generation.evaluation.rating.report import lines, remarks, votes_section
from text_generation.evaluation.rating.votes import Vote, VoteFile

deterministic = settings(derandomize=True, deadline=None, max_examples=80)


def newton(wins):
    """Bradley-Terry strengths by Newton's method on the log-likelihood, damped."""
    n_systems = len(wins)
    votes, strengths = wins + wins.T, np.zeros(n_systems)
    for _ in range(500):
        p = 1 / (1 + np.exp(strengths[None, :] - strengths[:, None]))
        gradient = wins.sum(axis=1) - (votes * p).sum(axis=1)
        information = votes * p * (1 - p)
        hessian = np.diag(information.sum(axis=1)) - information + 1 / n_systems
        step = np.linalg.solve(hessian, gradient)
        strengths = strengths + step / max(1, np.abs(step).max())
    return strengths - strengths.mean()


WINS = st.integers(2, 4).flatmap(
    lambda n: st.lists(st.lists(st.integers(0, 12), min_size=n, max_size=n), min_size=n, max_size=n)
)


@deterministic
@given(WINS)
def test_bradley_terry_equals_newtons_method(rows):
    wins = np.array(rows, dtype=float) / 2
    np.fill_diagonal(wins, 0)
    assume(len(connected_groups(wins)) == 1)
    expected = newton(wins + 0.5 * (wins + wins.T > 0))
    np.testing.assert_allclose(bradley_terry(wins), expected, atol=1e-6)


def test_two_systems_by_hand():
    assert bradley_terry([[0, 3], [1, 0]], extra_wins=0) == pytest.approx([math.log(3) / 2, -math.log(3) / 2])
    assert bradley_terry([[0, 3], [1, 0]]) == pytest.approx([math.log(3.5 / 1.5) / 2, -math.log(3.5 / 1.5) / 2])
    assert bradley_terry([[0, 9], [0, 0]]) == pytest.approx([math.log(19) / 2, -math.log(19) / 2])


def test_many_sets_at_once_equal_each_alone():
    generator = np.random.default_rng(0)
    sets = generator.integers(0, 9, (20, 3, 3)) * (1 - np.eye(3))
    met = np.ones((3, 3)) - np.eye(3)
    together = bradley_terry(sets, met=met)
    for each, strengths in zip(sets, together, strict=True):
        np.testing.assert_allclose(strengths, bradley_terry(each, met=met), atol=1e-8)


def test_bradley_terry_recovers_the_strengths_that_made_the_votes():
    truth = np.array([1.0, 0.2, -1.2])
    wins = 10_000 / (1 + np.exp(truth[None, :] - truth[:, None]))
    np.fill_diagonal(wins, 0)
    np.testing.assert_allclose(bradley_terry(wins), truth, atol=1e-3)


@pytest.mark.parametrize(
    ("wins", "extra", "message"),
    [
        ([[0, 1, 0, 0], [1, 0, 0, 0], [0, 0, 0, 2], [0, 0, 1, 0]], 0.5,
         "no chain of votes joins the systems [0, 1] with [2, 3]"),
        ([[0, 4], [0, 0]], 0,
         "the strengths are infinite: some systems never lost to the others. Use extra_wins above 0"),
        ([[0, -1], [1, 0]], 0.5, "wins must not be negative, and 0 on the diagonal"),
        ([[1, 1], [1, 0]], 0.5, "wins must not be negative, and 0 on the diagonal"),
        ([[0]], 0.5, "wins must be (..., K, K) with at least two systems, got shape (1, 1)"),
    ],
)  # fmt: skip
def test_bradley_terry_errors(wins, extra, message):
    with pytest.raises(ValueError) as caught:
        bradley_terry(wins, extra_wins=extra)
    assert str(caught.value) == message


RATINGS = st.lists(
    st.dictionaries(st.sampled_from("abcd"), st.sampled_from(["first", "second", "tie"]), max_size=4),
    min_size=1,
    max_size=12,
)


@deterministic
@given(RATINGS)
def test_alpha_equals_the_krippendorff_package(items):
    codes = {"first": 0, "second": 1, "tie": 2}
    table = np.array([[codes.get(item.get(rater, ""), np.nan) for item in items] for rater in "abcd"], dtype=float)
    paired = {value for item in items if len(item) >= 2 for value in item.values()}
    if len(paired) < 2:
        assert math.isnan(krippendorff_alpha(items))
        return
    expected = krippendorff.alpha(reliability_data=table, level_of_measurement="nominal")
    assert krippendorff_alpha(items) == pytest.approx(expected, abs=1e-12)


def test_alpha_by_hand():
    # Two raters, three items, one disagreement: o_xy = 2, n = 6, n_x = 3, n_y = 3; 1 - 5 * 2 / (2 * 3 * 3).
    items = [{"p": "x", "q": "x"}, {"p": "y", "q": "y"}, {"p": "x", "q": "y"}, {"p": "x"}]
    assert krippendorff_alpha(items) == pytest.approx(1 - 10 / 18)
    assert krippendorff_alpha([{"p": "x", "q": "x"}, {"p": "y", "q": "y"}]) == 1
    assert math.isnan(krippendorff_alpha([{"p": "x", "q": "x"}]))
    assert math.isnan(krippendorff_alpha([]))


def exact_p_value(wins, losses):
    n = wins + losses
    tail = sum(math.comb(n, k) for k in range(max(wins, losses), n + 1)) / 2**n
    return min(1.0, 2 * tail)


def test_the_sign_test_is_close_to_the_exact_one():
    differing = sum(
        bool(is_decided(wins, losses)) != (exact_p_value(wins, losses) <= 0.05)
        for wins in range(60)
        for losses in range(60)
    )
    assert differing <= 8
    assert not is_decided(5, 0)
    assert is_decided(6, 0)


@pytest.mark.parametrize(("wins", "losses", "ties"), [(9, 4, 2), (7, 3, 0), (0, 0, 0), (12, 6, 20)])
def test_outlook_equals_a_simulation_vote_by_vote(wins, losses, ties):
    found = outlook(wins, losses, ties, n_simulations=2000)
    assert not found.decided
    generator = np.random.default_rng(7)
    share = 0
    for _ in range(600):
        p = generator.dirichlet([wins + 0.5, losses + 0.5, ties + 0.5])
        drawn = Counter(generator.choice(3, size=found.more_items, p=p).tolist())
        share += exact_p_value(wins + drawn[0], losses + drawn[1]) <= 0.05
    assert share / 600 == pytest.approx(0.8, abs=0.06)


def test_outlook_of_clear_even_and_hopeless_comparisons():
    assert outlook(20, 3, 0) == outlook(3, 20, 0)
    assert (outlook(20, 3, 0).decided, outlook(20, 3, 0).more_items) == (True, 0)
    assert outlook(5000, 5000, 0).more_items is None
    assert MOST_ITEMS == 20_000
    slight, strong = outlook(12, 8, 0).more_items, outlook(8, 2, 0).more_items
    assert slight is not None
    assert strong is not None
    assert strong < slight
    shares = np.array([[1.0, 0.0, 0.0]] * 4)
    assert decision_probability(shares, 0, 0, 5) == 0
    assert decision_probability(shares, 0, 0, 6) == 1
    with pytest.raises(ValueError, match=r"^counts must not be negative, got -1, 0 and 0$"):
        outlook(-1, 0, 0)


def test_a_comparison_that_almost_the_most_items_decide_is_not_given_up():
    wins, losses = 60, 50
    shares = np.random.default_rng(0).dirichlet([wins + 0.5, losses + 0.5, 0.5], size=4000)
    few, most = (decision_probability(shares, wins, losses, more) for more in (16_384, MOST_ITEMS))
    found = outlook(wins, losses, 0, power=(few + most) / 2).more_items
    assert found is not None
    assert 16_384 < found <= MOST_ITEMS
    assert outlook(wins, losses, 0, power=most + 1e-9).more_items is None


SYSTEMS = ("gold", "silver", "tin")


def study_of(n_prompts, systems=SYSTEMS):
    return make_study("s", [Output(f"p{n}", name, f"{name} {n}") for n in range(n_prompts) for name in systems])


def votes_of(draft, raters, decide):
    """decide(rater, item, system of the first, system of the second) -> winner; every other rater sees them swapped."""
    return [
        Vote(draft.study.fingerprint, item.item, rater, decide(rater, item, *draft.key.authors[item.item]),
             swapped=bool(index % 2), seconds=2.0)
        for index, rater in enumerate(raters)
        for item in draft.study.items
    ]  # fmt: skip


def better(_rater, _item, first, second):
    return "first" if SYSTEMS.index(first) < SYSTEMS.index(second) else "second"


def test_analysis_of_unanimous_votes():
    draft = study_of(12)
    analysis = analyse(draft.study, draft.key, VoteFile(tuple(votes_of(draft, ("ann", "bob"), better)), ()))
    assert [score.system for score in analysis.systems] == list(SYSTEMS)
    gold, silver, tin = analysis.systems
    assert (gold.win_rate.estimate, silver.win_rate.estimate, tin.win_rate.estimate) == (1, 0.5, 0)
    assert (gold.probability_best, tin.probability_best) == (1, 0)
    assert gold.n_votes == 48
    assert [(p.a, p.b, p.wins, p.losses, p.ties, p.items_won, p.items_lost) for p in analysis.pairs] == [
        ("gold", "silver", 24, 0, 0, 12, 0),
        ("gold", "tin", 24, 0, 0, 12, 0),
        ("silver", "tin", 24, 0, 0, 12, 0),
    ]
    assert all(pair.outlook.decided for pair in analysis.pairs)
    assert analysis.alpha is not None
    assert analysis.alpha.estimate == 1
    assert analysis.chose_a is not None
    assert analysis.chose_a.estimate == 0.5  # one of the raters sees all items swapped
    assert (analysis.n_votes, analysis.n_skipped, analysis.n_items_rated, analysis.n_shared_items) == (72, 0, 36, 36)


def test_counts_ties_skips_and_raters():
    draft = study_of(10, ("gold", "tin"))
    said = dict(
        zip([item.item for item in draft.study.items], ["w"] * 5 + ["l"] * 2 + ["tie"] * 2 + ["skip"], strict=True)
    )

    def decide(_rater, item, first, _second):
        gold, other = ("first", "second") if first == "gold" else ("second", "first")
        return {"w": gold, "l": other}.get(said[item.item], said[item.item])

    analysis = analyse(draft.study, draft.key, VoteFile(tuple(votes_of(draft, ["ann"], decide)), ()))
    (pair,) = analysis.pairs
    assert (pair.a, pair.wins, pair.losses, pair.ties) == ("gold", 5, 2, 2)
    assert pair.win_rate.estimate == pytest.approx(6 / 9)
    assert pair.win_rate.low < 6 / 9 < pair.win_rate.high
    assert (analysis.n_votes, analysis.n_skipped, analysis.alpha) == (9, 1, None)
    assert analysis.raters[0] == type(analysis.raters[0])("ann", 9, 2, 1, 2.0)
    strength = math.log((6 + 0.5) / (3 + 0.5)) / 2
    assert analysis.systems[0].strength.estimate == pytest.approx(strength, abs=1e-8)


def test_an_items_raters_are_one_piece_of_evidence():
    draft = study_of(5, ("gold", "tin"))
    analysis = analyse(draft.study, draft.key, VoteFile(tuple(votes_of(draft, "abcdefgh", better)), ()))
    (pair,) = analysis.pairs
    assert (pair.wins, pair.items_won) == (40, 5)
    assert not pair.outlook.decided


def test_the_interval_of_alpha_draws_prompts_and_not_items():
    """Of two prompts, a resample holds one twice or each once: the ends are the alphas of two such sets."""
    draft = study_of(2)

    def decide(rater, item, first, second):
        return "tie" if item.prompt == "p1" and rater == "bob" else better(rater, item, first, second)

    votes = votes_of(draft, ("ann", "bob"), decide)
    analysis = analyse(draft.study, draft.key, VoteFile(tuple(votes), ()))
    said = {
        item.item: {vote.rater: vote.winner for vote in votes if vote.item == item.item} for item in draft.study.items
    }
    by_prompt = [[said[item.item] for item in draft.study.items if item.prompt == name] for name in ("p0", "p1")]
    assert analysis.alpha is not None
    assert analysis.alpha.estimate == pytest.approx(krippendorff_alpha(by_prompt[0] + by_prompt[1]))
    assert analysis.alpha.low == pytest.approx(krippendorff_alpha(by_prompt[1] * 2))
    assert analysis.alpha.high == pytest.approx(krippendorff_alpha(by_prompt[0] * 2))


def test_raters_who_always_choose_a_are_found_out():
    draft = study_of(12)
    votes = votes_of(draft, ["ann", "bob"], lambda rater, *_: "first" if rater == "ann" else "second")
    analysis = analyse(draft.study, draft.key, VoteFile(tuple(votes), ()))
    assert analysis.chose_a is not None
    assert analysis.chose_a.estimate == 1
    assert all(score.win_rate.estimate == 0.5 for score in analysis.systems)
    assert any(text.startswith("Raters prefer side A, whichever text stands there.") for text in remarks(analysis))


def test_report_and_lines():
    draft = study_of(12)
    found = VoteFile(tuple(votes_of(draft, ("ann", "<b>bob</b>"), better)), ())
    analysis = analyse(draft.study, draft.key, found, n_resamples=200)
    html = render(Report(title="t", project="text_generation", command="c", sections=[votes_section(analysis)]))
    assert "gold : silver" in html
    assert "&lt;b&gt;bob&lt;/b&gt;" in html
    shown = lines(analysis)
    assert shown[0] == "72 votes of 2 raters on 36 of 36 items, 0 skipped"
    assert "gold : silver: 24, 0, 0; 12 : 0 : 0; decided" in shown


def test_votes_that_cannot_be_analysed():
    draft = study_of(3, ("a", "b", "c", "d"))
    with pytest.raises(UserError) as caught:
        analyse(draft.study, draft.key, VoteFile((), ()))
    assert str(caught.value) == "there is no vote to analyse yet: rate some items first"
    joined = ({"a", "b"}, {"c", "d"})
    votes = [
        vote for vote in votes_of(draft, ["ann"], lambda *_: "first") if set(draft.key.authors[vote.item]) in joined
    ]
    with pytest.raises(UserError) as caught:
        analyse(draft.study, draft.key, VoteFile(tuple(votes), ()))
    assert str(caught.value) == (
        "no chain of votes joins {a, b} with {c, d}, so that they cannot be compared yet: rate more items"
    )
