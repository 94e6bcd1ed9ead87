"""Bounds, persistence and separation of conversations."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rag_qa.generation.memory import ConversationMemory, bounded, estimated_tokens
from rag_qa.protocols import Turn
from roadmap_shared.errors import UserError


@given(st.lists(st.builds(Turn, st.text(max_size=9), st.text(max_size=9))), st.integers(0, 5), st.integers(0, 12))
def test_bounded_is_the_longest_suffix_that_fits(turns: list[Turn], max_turns: int, max_tokens: int) -> None:
    def fits(suffix: list[Turn]) -> bool:
        size = sum(estimated_tokens(turn.question) + estimated_tokens(turn.answer) for turn in suffix)
        return len(suffix) <= max_turns and size <= max_tokens

    expected = next(turns[i:] for i in range(len(turns) + 1) if fits(turns[i:]))
    assert bounded(turns, max_turns, max_tokens) == expected


def test_conversations_come_back_after_a_restart(tmp_path: Path) -> None:
    memory = ConversationMemory(tmp_path)
    memory.add("ada", "first", Turn("Q\n1?", "A 1 中"))
    memory.add("ada", "first", Turn("Q 2?", "A 2"))
    again = ConversationMemory(tmp_path, max_turns=1)
    assert again.all_turns("ada", "first") == [Turn("Q\n1?", "A 1 中"), Turn("Q 2?", "A 2")]
    assert again.history("ada", "first") == [Turn("Q 2?", "A 2")]
    assert again.conversations("ada") == ["first"]


def test_users_do_not_see_each_other(tmp_path: Path) -> None:
    memory = ConversationMemory(tmp_path)
    memory.add("ada", "c", Turn("secret?", "yes"))
    for other in ("bob", "../ada", "ADA", ""):
        assert memory.all_turns(other, "c") == []
        assert memory.conversations(other) == []
    assert all(tmp_path in path.parents for path in tmp_path.rglob("*"))


@pytest.mark.parametrize("name", ["", "../x", "a/b", "-x", "x" * 65, "a b"])
def test_names_that_could_leave_the_folder_are_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(UserError) as caught:
        ConversationMemory(tmp_path).add("ada", name, Turn("q", "a"))
    assert str(caught.value) == (
        f"'{name}' is no name of a conversation: use 1 to 64 letters, digits, hyphens and underscores"
    )


def test_a_torn_line_costs_no_other_turn(tmp_path: Path) -> None:
    memory = ConversationMemory(tmp_path)
    memory.add("ada", "c", Turn("1", "1"))
    (path,) = tmp_path.rglob("*.jsonl")
    with path.open("ab") as file:
        file.write(b'{"question": "torn')
    again = ConversationMemory(tmp_path)
    again.add("ada", "c", Turn("2", "2"))
    assert ConversationMemory(tmp_path).all_turns("ada", "c") == [Turn("1", "1"), Turn("2", "2")]


def test_forgetting_removes_the_file(tmp_path: Path) -> None:
    memory = ConversationMemory(tmp_path)
    memory.add("ada", "c", Turn("1", "1"))
    assert memory.forget("ada", "c")
    assert not memory.forget("ada", "c")
    assert memory.all_turns("ada", "c") == []
    assert list(tmp_path.rglob("*.jsonl")) == []


def test_memory_without_a_folder() -> None:
    memory = ConversationMemory()
    memory.add("ada", "c", Turn("1", "1"))
    assert memory.history("ada", "c") == [Turn("1", "1")]
    assert memory.conversations("ada") == ["c"]
