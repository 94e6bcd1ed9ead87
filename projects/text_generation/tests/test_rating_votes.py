"""Votes: on the disk one by one, resumable, and nothing of them lost, by the book and from the terminal."""

import json
from pathlib import Path

import pytest

from text_generation.evaluation.rating.making import Output, make_study
from text_generation.evaluation.rating.terminal import rate_in_terminal
from text_generation.evaluation.rating.votes import AlreadyVotedError, VoteBook, rater_name, read_votes
from text_generation.json_lines import Reject

from .rating_studies import SYSTEMS, error_of, lines_of, new_book, outputs, written_study


@pytest.fixture
def book(tmp_path: Path) -> VoteBook:
    return new_book(written_study(tmp_path))


def test_votes_name_the_text_and_not_the_side(book: VoteBook):
    for rater in ("ann", "bob", "cleo", "dan"):
        item = book.next_item(rater)
        assert item is not None
        a, b = book.shown(item, rater)
        assert {a, b} == {item.first, item.second}
        vote = book.vote(rater, item, "a")
        assert (item.first if vote.winner == "first" else item.second) == a
        assert vote.chose_a is True
        assert book.vote(rater, item, "b", replaces=True).chose_a is False
        assert book.vote(rater, item, "tie", replaces=True).chose_a is None


def test_rating_goes_on_where_it_stopped(book: VoteBook):
    order = [item.item for item in book.study.order("ann")]
    for _ in range(3):
        item = book.next_item("ann")
        assert item is not None
        book.vote("ann", item, "tie")
    again = VoteBook(book.study, book.path)
    assert list(again.of("ann")) == order[:3]
    following = again.next_item("ann")
    assert following is not None
    assert following.item == order[3]
    assert again.next_item("bob") == book.study.order("bob")[0]


def test_a_vote_is_on_the_disk_at_once_and_half_a_line_spoils_nothing_else(book: VoteBook):
    first, second = book.study.order("ann")[:2]
    book.vote("ann", first, "a", seconds=1.26)
    with book.path.open("ab") as file:
        file.write(b'{"study": "half a li')  # a process that was killed
    book.vote("ann", second, "b")
    found = read_votes([book.path], book.study)
    assert [(vote.item, vote.seconds) for vote in found.votes] == [(first.item, 1.3), (second.item, None)]
    assert found.rejects == (Reject(book.path, 2, "broken JSON (Unterminated string starting at)"),)


def test_a_second_vote_needs_to_replace_the_first(book: VoteBook):
    item = book.study.items[0]
    book.vote("ann", item, "a")
    with pytest.raises(AlreadyVotedError):
        book.vote("ann", item, "b")
    vote = book.vote("ann", item, "b", replaces=True)
    assert len(lines_of(book.path)) == 2
    assert read_votes([book.path], book.study).votes == (vote,)


def test_lines_that_are_no_votes_are_named(book: VoteBook):
    item = book.study.items[0].item
    good = {"study": book.study.fingerprint, "item": item, "rater": "ann", "winner": "tie", "swapped": False}
    bad = [
        {**good, "winner": "left"},
        {**good, "rater": ""},
        {**good, "swapped": 1},
        {**good, "item": "999"},
        {**good, "winner": "first"},
        {**good, "rater": "bob", "seconds": "slow"},
    ]
    book.path.parent.mkdir()
    book.path.write_text("\n".join(json.dumps(value) for value in (good, *bad)) + "\nnonsense\n", "utf-8")
    found = read_votes([book.path], book.study)
    assert [vote.rater for vote in found.votes] == ["ann", "bob"]
    assert [(reject.line, reject.reason) for reject in found.rejects] == [
        (2, "winner must be one of first, second, tie, skip"),
        (3, "rater must be there, and a text"),
        (4, "swapped must be true or false"),
        (5, "item '999' is not in the study"),
        (6, f"ann has voted on item {item} already, in line 1"),
        (8, "broken JSON (Expecting value)"),
    ]


@pytest.mark.parametrize("seconds", ["1" + "0" * 400, "1e999", "NaN", "true", '"slow"', "null"])
def test_a_duration_that_is_none_costs_no_vote(book: VoteBook, seconds: str):
    vote = {"study": book.study.fingerprint, "item": "01", "rater": "ann", "winner": "tie", "swapped": False}
    book.path.parent.mkdir()
    book.path.write_text(f'{json.dumps(vote)[:-1]}, "seconds": {seconds}}}\n', "utf-8")
    (found,) = read_votes([book.path], book.study).votes
    assert (found.winner, found.seconds) == ("tie", None)


def test_votes_on_another_study_are_refused(book: VoteBook, tmp_path: Path):
    other = make_study("other", outputs(2)).study
    book.vote("ann", book.study.items[0], "a")
    message = (
        f"{book.path}:1: a vote on study {book.study.fingerprint}, not on this one ({other.fingerprint}): the file "
        "belongs to another study, or the study was changed since"
    )
    assert error_of(read_votes, [book.path], other) == message
    assert error_of(VoteBook, other, book.path) == message


def test_rater_names():
    assert rater_name("  Ann\tLee\x1b ") == "Ann Lee"
    assert rater_name("e\u0301") == "é"
    assert error_of(rater_name, " \n") == "the rater needs a name: give one with --rater NAME"
    assert error_of(rater_name, "x" * 41) == "the rater's name has 41 characters: give at most 40"


# The terminal


def rate_with(book: VoteBook, typed: str) -> list[str]:
    answers, said = iter(typed.split()), []

    def ask(_prompt: str) -> str:
        try:
            return next(answers)
        except StopIteration:
            raise EOFError from None

    rate_in_terminal(book, "ann", ask, said.append)
    return said


def test_terminal(book: VoteBook):
    said = rate_with(book, "z A b what t s z b")
    order = [item.item for item in book.study.order("ann")]
    found = lines_of(book.path)
    assert [line["item"] for line in found] == [*order[:4], order[3]]
    assert [vote.chose_a for vote in book.of("ann").values()] == [True, False, None, False]
    assert [line["replaces"] for line in found] == [False] * 4 + [True]
    assert said[1] == "There is nothing to take back."
    assert said[-1] == f"4 of 21 are done, saved in {book.path}. The same command continues here."
    assert rate_with(book, "q")[0] == "Welcome back, ann: 4 of 21 are done."
    assert rate_with(book, "t " * 17)[-1] == f"21 of 21 are done, saved in {book.path}. Thank you, that was all."
    assert not any(name in line for line in said for name in SYSTEMS)


def test_texts_cannot_steer_the_terminal_and_stay_as_they_are_otherwise(tmp_path: Path):
    texts = [Output("p", "x", "a\n\tb\x1b[2J\r\u202e"), Output("p", "y", "\u3000好\u00a0👨‍👩‍👧")]
    said = rate_with(VoteBook(make_study("s", texts).study, tmp_path / "votes.jsonl"), "q")
    assert "a\n\tb�[2J��" in said[0]
    assert "\u3000好\u00a0👨‍👩‍👧" in said[0]
