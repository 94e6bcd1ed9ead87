"""Conversations and preferences from JSON lines: shapes, rejects with their lines, and files that cannot be used."""

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from roadmap_shared.errors import UserError
from text_generation.backends.types import Message
from text_generation.corpora.types import Reject, rejected_line
from text_generation.training.chat_data import (
    RowError,
    conversation_of,
    preference_of,
    read_conversations,
    read_preferences,
    split,
)

QUESTION, ANSWER = Message("user", "Who is Mira?"), Message("assistant", "An otter.")


def written(path: Path, *rows: Any) -> Path:
    path.write_text("\n".join(row if isinstance(row, str) else json.dumps(row) for row in rows) + "\n", "utf-8")
    return path


@pytest.mark.parametrize(
    "row",
    [
        {"messages": [{"role": "user", "content": "Who is Mira?"}, {"role": "assistant", "content": "An otter."}]},
        {"prompt": "Who is Mira?", "completion": "An otter."},
        {"prompt": [{"role": "user", "content": "Who is Mira?"}], "completion": "An otter."},
        {"instruction": "Who is Mira?", "output": "An otter."},
        {"instruction": "Who is Mira?", "input": "", "output": "An otter."},
    ],
)
def test_every_shape_becomes_the_same_conversation(row: dict[str, Any]):
    assert conversation_of(row, "a:1").messages == (QUESTION, ANSWER)


def test_the_input_of_an_instruction_follows_it():
    found = conversation_of({"instruction": "Translate.", "input": "Otter", "output": "Loutre"}, "a:1")
    assert found.messages[0] == Message("user", "Translate.\n\nOtter")


def test_a_longer_conversation_keeps_its_turns():
    turns = [("system", "Be brief."), ("user", "Hi"), ("assistant", "Hello"), ("user", "Bye"), ("assistant", "Bye")]
    row = {"messages": [{"role": role, "content": text} for role, text in turns]}
    assert [(turn.role, turn.content) for turn in conversation_of(row, "a:1").messages] == turns


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        ({}, "has nothing, but neither messages, nor prompt and completion, nor instruction and output"),
        ({"text": "a"}, "has text, but neither messages, nor prompt and completion, nor instruction and output"),
        ({"messages": []}, "'messages' is no list of turns"),
        ({"messages": ["hi"]}, "turn 1 is no object with role and content"),
        ({"messages": [{"role": "bot", "content": "hi"}]}, "turn 1 is by 'bot', not by system, user or assistant"),
        ({"messages": [{"role": "user", "content": " "}]}, "turn 1 has no text"),
        ({"messages": [{"role": "user", "content": "hi"}]}, "ends with a turn of the user, with no answer to learn"),
        ({"completion": "a"}, "has no 'prompt'"),
        ({"promt": "b", "completion": "a"}, "has no 'prompt'. Did you mean 'promt'?"),
        ({"prompt": "b", "completion": ""}, "'completion' holds no text"),
        ({"prompt": 3, "completion": "a"}, "'prompt' holds no text"),
        ({"instruction": "b", "output": None}, "'output' holds no text"),
        ({"prompt": [{"role": "assistant", "content": "b"}], "completion": "a"}, "'prompt' ends with an answer"),
    ],
)
def test_a_row_that_is_no_conversation_says_why(row: dict[str, Any], reason: str):
    with pytest.raises(RowError) as error:
        conversation_of(row, "a:1")
    assert str(error.value) == reason


def test_preferences_as_texts_and_as_conversations():
    turns = [{"role": "user", "content": "Who is Mira?"}]
    as_turns = {
        "prompt": turns,
        "chosen": [*turns, {"role": "assistant", "content": "An otter."}],
        "rejected": [*turns, {"role": "assistant", "content": "A seal."}],
    }
    as_texts = {"prompt": "Who is Mira?", "chosen": "An otter.", "rejected": "A seal."}
    assert preference_of(as_turns, "a:1") == preference_of(as_texts, "a:1")
    assert preference_of(as_texts, "a:1").prompt == (QUESTION,)


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        ({"prompt": "a", "chosen": "b", "rejected": "b"}, "'chosen' and 'rejected' are the same"),
        ({"prompt": "a", "chosen": "b"}, "has no 'rejected'"),
        (
            {"prompt": "a", "chosen": [{"role": "user", "content": "b"}], "rejected": "c"},
            "'chosen' ends with a turn of the user",
        ),
    ],
)
def test_a_row_that_is_no_preference_says_why(row: dict[str, Any], reason: str):
    with pytest.raises(RowError) as error:
        preference_of(row, "a:1")
    assert str(error.value) == reason


def test_bad_rows_are_set_apart_with_their_lines(tmp_path: Path):
    path = written(
        tmp_path / "chats.jsonl",
        {"prompt": "Who is Mira?", "completion": "An otter."},
        "",
        '{"prompt": ',
        "[1]",
        {"prompt": "Who?"},
        {"instruction": "Who is Mira?", "output": "An otter."},
        '{"prompt": "Who?", "completion": "\\ud800"}',
        '{"prompt": ' + "9" * 5000 + "}",
        "[" * 100_000,
    )
    found, rejects = read_conversations(path)
    assert [(each.source, each.messages) for each in found] == [
        ("chats.jsonl:1", (QUESTION, ANSWER)),
        ("chats.jsonl:6", (QUESTION, ANSWER)),
    ]
    assert rejects == [
        Reject("chats.jsonl:3", "no JSON: expecting value at column 12"),
        Reject("chats.jsonl:4", "is no JSON object"),
        Reject(
            "chats.jsonl:5", "has prompt, but neither messages, nor prompt and completion, nor instruction and output"
        ),
        Reject("chats.jsonl:7", "holds half of a surrogate pair, which has no UTF-8 form"),
        Reject("chats.jsonl:8", "no JSON: a number with too many digits"),
        Reject("chats.jsonl:9", "no JSON: nested too deeply"),
    ]


def test_only_the_first_rows_are_read(tmp_path: Path):
    path = written(tmp_path / "chats.jsonl", *({"prompt": f"{n}", "completion": "a"} for n in range(5)))
    found, _ = read_conversations(path, max_rows=2)
    assert [each.source for each in found] == ["chats.jsonl:1", "chats.jsonl:2"]


def test_a_line_may_hold_separators_that_are_no_line_ends(tmp_path: Path):
    path = tmp_path / "chats.jsonl"
    path.write_text('{"prompt": "a\u2028b", "completion": "c"}\n', "utf-8")
    found, rejects = read_conversations(path)
    assert (found[0].messages[0].content, rejects) == ("a\u2028b", [])


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        (
            "a.jsonl",
            b"",
            "{path}: holds no row with messages, prompt and completion, or instruction and output",
        ),
        (
            "a.jsonl",
            b"{}\n",
            "{path}: holds no row with messages, prompt and completion, or instruction and output: 1 row left out: "
            "a.jsonl:1 (has nothing, but neither messages, nor prompt and completion, nor instruction and output)",
        ),
        ("a.csv", b"a,b", "--data.path {path}: give a .jsonl file, with one JSON object a line"),
        ("a.jsonl", b"\xff\xfe\xff", "--data.path {path}: is not UTF-8 text: convert it first"),
    ],
)
def test_a_file_that_cannot_be_used(tmp_path: Path, name: str, content: bytes, message: str):
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises(UserError) as error:
        read_conversations(path)
    assert str(error.value) == message.format(path=path)


def test_a_missing_file_names_its_neighbour(tmp_path: Path):
    written(tmp_path / "pairs.jsonl", {})
    with pytest.raises(UserError) as error:
        read_preferences(tmp_path / "pair.jsonl")
    expected = f"--data.path {tmp_path / 'pair.jsonl'}: there is no such file. Did you mean 'pairs.jsonl'?"
    assert str(error.value) == expected


def test_many_rejects_are_counted():
    rejects = [Reject(f"a:{n}", "bad") for n in range(1, 6)]
    assert rejected_line(rejects) == "5 rows left out: a:1 (bad), a:2 (bad), a:3 (bad) and 2 more"


@given(st.lists(st.text(min_size=1, max_size=3), min_size=1, max_size=40), st.floats(0, 0.89), st.integers(0, 9))
def test_equal_rows_stay_on_one_side(texts: list[str], share: float, seed: int):
    train, validation = split(texts, share, seed, key=lambda text: text)
    assert train
    assert sorted(train + validation) == sorted(texts)
    assert not set(train) & set(validation)


def test_without_a_share_nothing_is_held_out():
    assert split(["a", "b"], 0.0, 1, key=str) == (["a", "b"], [])
