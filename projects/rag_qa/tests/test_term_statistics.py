"""Terms, rarity and question types."""

import math
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rag_qa.generation.question_type import question_type
from rag_qa.generation.span_types import span_type
from rag_qa.generation.term_statistics import TermStatistics
from rag_qa.generation.words import is_chinese, terms, tokens
from roadmap_shared.errors import UserError


@given(st.text(alphabet=st.sampled_from("ab Z9.,-'_中文字（ \n"), max_size=60))
def test_tokens_are_slices_in_order(text: str) -> None:
    last = 0
    for token in tokens(text):
        assert text[token.start : token.end] == token.text
        assert token.start >= last
        last = token.end


def test_terms_are_stems_without_function_words() -> None:
    assert terms("The dogs were running") == ["dog", "run"]
    assert terms("os.path joins") == ["os.path", "os", "path", "join"]
    assert terms("北京大学") == ["北京", "京大", "大学"]
    assert terms("的") == ["的"]


def test_idf_and_bm25_are_those_of_the_formula() -> None:
    statistics = TermStatistics.of(["cats sleep", "cats eat fish", "dogs eat"])
    assert statistics.idf("cat") == pytest.approx(math.log(1 + 1.5 / 2.5))
    assert statistics.idf("unknown") == pytest.approx(math.log(1 + 3.5 / 0.5))
    assert statistics.mean_length == pytest.approx(7 / 3)
    fish, eat = statistics.idf("fish"), statistics.idf("eat")
    norm = 1.2 * (0.25 + 0.75 * 3 / (7 / 3))
    # Reference: BM25 with k1 = 1.2, b = .75, divided by (k1 + 1) · Σ idf.
    expected = fish * 1 * 2.2 / (1 + norm) / (2.2 * (fish + eat + statistics.idf("bird")))
    assert statistics.bm25(["fish", "bird", "eat"], ["fish", "dog", "dog"]) == pytest.approx(expected)
    assert statistics.coverage(["fish", "eat"], {"fish"}) == pytest.approx(fish / (fish + eat))
    assert statistics.coverage([], {"fish"}) == 0.0


def test_statistics_come_back_from_their_file(tmp_path: Path) -> None:
    statistics = TermStatistics.of(["cats sleep", "北京"])
    statistics.save(tmp_path / "terms.json")
    assert TermStatistics.load(tmp_path / "terms.json") == statistics
    (tmp_path / "bad.json").write_text("[]")
    with pytest.raises(UserError, match=r"bad\.json holds no term statistics. Ingest the documents again\."):
        TermStatistics.load(tmp_path / "bad.json")


@pytest.mark.parametrize(
    ("question", "answer"),
    [
        ("How many cats are there?", "number"),
        ("In what year was it built?", "date"),
        ("Who wrote it?", "person"),
        ("Which city hosted the game?", "place"),
        ("Why did it fail?", "reason"),
        ("How is bread made?", "manner"),
        ("What is a decorator?", "thing"),
        ("谁写了这本书？", "person"),
        ("这座城市有多少人口？", "number"),
        ("他什么时候出生？", "date"),
    ],
)
def test_question_types(question: str, answer: str) -> None:
    assert question_type(question).answer == answer


def test_head_and_auxiliary() -> None:
    assert question_type("Which team won the game?").head == {"team"}
    assert question_type("What did the team win?").auxiliary
    assert not question_type("Who won?").auxiliary


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        ("1,234", "number"),
        ("$5 million", "money"),
        ("12 percent", "percent"),
        ("1984", "year"),
        ("May 4", "date"),
        ("19th century", "date"),
        ("Grace Hopper", "name"),
        ("“so it goes”", "quoted"),
        ("os.path", "code"),
        ("the red door", "phrase"),
        ("1984年", "date"),
    ],
)
def test_span_types(text: str, kind: str) -> None:
    assert span_type(tokens(text)) == kind


def test_is_chinese() -> None:
    assert is_chinese("Python 是一种语言")
    assert not is_chinese("The word 中 is Chinese, and this is English")
    assert not is_chinese("")
