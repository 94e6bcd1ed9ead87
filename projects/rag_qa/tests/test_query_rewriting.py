"""Follow-up questions, other wordings, and what a language model may answer."""

import pytest

from rag_qa.protocols import Turn
from rag_qa.retrieval.multi_query import query_variants
from rag_qa.retrieval.query_rewriting import is_follow_up, rewrite_question
from roadmap_shared.errors import UserError

TESLA = [Turn("Where was Nikola Tesla born?", "In Smiljan.")]


@pytest.mark.parametrize(
    ("question", "expected"),
    [
        ("And when did he die?", "Nikola Tesla born: And when did he die?"),
        ("What did it cost?", "Nikola Tesla born: What did it cost?"),
        ("Why?", "Nikola Tesla born: Why?"),
        ("In 1943?", "Nikola Tesla born: In 1943?"),
        ("When was he born?", "Nikola Tesla: When was he born?"),
        ("How does a transformer step voltage down?", "How does a transformer step voltage down?"),
        ("When did Edison publish his patent?", "When did Edison publish his patent?"),
    ],
)
def test_rules_carry_the_topic_over(question: str, expected: str) -> None:
    assert rewrite_question(question, TESLA) == expected


def test_the_topic_is_that_of_the_newest_question_with_one() -> None:
    history = [*TESLA, Turn("What is the FAISS library for?", "Search."), Turn("Who wrote it?", "Meta.")]

    assert rewrite_question("And why?", history) == "FAISS library: And why?"
    assert rewrite_question("And why?", [*history, Turn("How is bread baked?", "Hot.")]) == "bread baked: And why?"


def test_chinese_follow_ups() -> None:
    history = [Turn("北京大学是哪一年成立的？", "1898年。")]

    assert rewrite_question("它的校长是谁？", history) == "北京大学 成立，它的校长是谁？"
    assert rewrite_question("那么 1952 年呢？", history) == "北京大学 成立，那么 1952 年呢？"
    assert rewrite_question("清华大学有多少学生？", history) == "清华大学有多少学生？"
    later = [*history, Turn("它有多少学生？", "四万。"), Turn("为什么？", "不知道。")]
    assert rewrite_question("该校在哪里？", later) == "北京大学 成立，该校在哪里？"


def test_without_history_nothing_changes() -> None:
    assert rewrite_question("  And when did he die? ") == "And when did he die?"
    assert rewrite_question("", TESLA) == ""
    assert rewrite_question("And why?", [Turn("Why?", "So.")]) == "And why?"


def test_how_far_back_a_topic_is_looked_for() -> None:
    why = Turn("Why?", "So.")
    assert rewrite_question("And how?", [*TESLA, why, why]) == "Nikola Tesla born: And how?"
    assert rewrite_question("And how?", [*TESLA, why, why, why]) == "And how?"
    # The first question leans on nothing that is known, so what it says is all there is.
    assert rewrite_question("And why?", [Turn("What does it cost?", "Nine."), why]) == "cost: And why?"


@pytest.mark.parametrize(
    ("question", "follows"),
    [
        ("What is it?", True),
        ("那么为什么？", True),
        ("What is a transformer made of?", False),
        ("这本书是谁写的？", True),
        ("其作者是哪国人？", True),
        ("该校有多少学生？", True),
        ("那里有多少学生？", True),
        ("应该如何安装 Python？", False),
        ("吉他有几根弦？", False),
        ("因此循环何时结束运行？", False),
        ("尤其适合初学者的是哪一章？", False),
        ("其他语言怎样写循环？", False),
        ("那不勒斯在哪个国家？", False),
    ],
)
def test_what_counts_as_a_follow_up(question: str, follows: bool) -> None:
    assert is_follow_up(question) is follows


def test_a_language_model_is_given_the_conversation() -> None:
    prompts: list[str] = []

    def ask(prompt: str) -> str:
        prompts.append(prompt)
        return "\nRewritten question: When did Nikola Tesla die?\nBecause he is meant."

    assert rewrite_question("When did he die?", TESLA, ask) == "When did Nikola Tesla die?"
    assert "Question: Where was Nikola Tesla born?\nAnswer: In Smiljan." in prompts[0]
    assert rewrite_question("When did he die?", TESLA, lambda prompt: " \n") == "When did he die?"


def test_a_language_model_that_fails_is_named() -> None:
    def fails(prompt: str) -> str:
        raise ConnectionError("refused\nby the server")

    with pytest.raises(UserError, match=r"^the language model could not rewrite the question: refused by the server$"):
        rewrite_question("Why?", TESLA, fails)
    with pytest.raises(
        UserError, match=r"^the language model could not word the question anew: refused by the server$"
    ):
        query_variants("Why?", 2, fails)


def test_wordings_by_rules_differ_from_the_question_and_each_other() -> None:
    question = "In what year, after the war, was the Treaty of Versailles signed?"

    assert query_variants(question, 9) == [
        "year after war treaty versailles signed",
        "was the Treaty of Versailles signed",
        "treaty versailles signed",
    ]
    assert query_variants("In which year was the treaty?", 9) == ["year treaty"]
    assert query_variants("Is the year of the war the treaty year?", 9) == ["year war treaty", "year treaty"]
    assert query_variants("北京大学在哪一年成立？", 9) == ["北京大学 成立"]
    assert query_variants(question, 1) == ["year after war treaty versailles signed"]
    assert query_variants("versailles", 3) == []
    assert query_variants(question, 0) == []


def test_wordings_by_a_language_model_are_cleaned() -> None:
    answer = "1. blue sky\n\n- the sea\n* blue sky\napple\n---"

    assert query_variants("apple", 5, lambda prompt: answer) == ["blue sky", "the sea"]
