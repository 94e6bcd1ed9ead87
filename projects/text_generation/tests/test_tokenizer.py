"""The tokenizer gives every text back, loads with transformers, and marks conversations."""

import random
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from transformers import AutoTokenizer, PreTrainedTokenizerFast

from roadmap_shared.errors import UserError
from text_generation.config.data import TokenizerConfig
from text_generation.corpora.stories.writer import write_stories
from text_generation.tokenizer import (
    ASSISTANT,
    END_OF_TEXT,
    END_OF_TURN,
    PAD,
    SPECIAL_TOKENS,
    USER,
    bytes_per_token,
    load_tokenizer,
    train_tokenizer,
)

TEXTS = [story.document for story in write_stories(60, seed=1)] + [
    "def add(first, second):\n    return first + second\n"
]


@pytest.fixture(scope="module")
def tokenizer() -> PreTrainedTokenizerFast:
    return train_tokenizer(TEXTS, TokenizerConfig(vocabulary=600), context=128)


@pytest.fixture(scope="module")
def folder(tokenizer: PreTrainedTokenizerFast, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("tokenizer")
    tokenizer.save_pretrained(path)
    return path


@given(text=st.text())
def test_every_text_comes_back(tokenizer: PreTrainedTokenizerFast, text: str) -> None:
    assert tokenizer.decode(tokenizer(text)["input_ids"]) == text


@given(data=st.binary())
def test_every_readable_byte_sequence_comes_back(tokenizer: PreTrainedTokenizerFast, data: bytes) -> None:
    text = data.decode("utf-8", "replace")
    assert tokenizer.decode(tokenizer(text)["input_ids"]) == text


@pytest.mark.parametrize(
    "text", ["", " ", "  leading and trailing  ", "\t\n\r\n", "don ' t , stop .", "naïve 中文 🦦", "a<|end|>b", "\0"]
)
def test_awkward_texts_come_back(tokenizer: PreTrainedTokenizerFast, text: str) -> None:
    assert tokenizer.decode(tokenizer(text)["input_ids"]) == text


def test_merges_are_those_of_the_algorithm() -> None:
    """`low` 5, `lower` 2: the pairs by hand are l+o and lo+w (7 each, the first by its ids), then low+er by e+r."""
    tokenizer = train_tokenizer(["low"] * 5 + ["lower"] * 2, TokenizerConfig(vocabulary=300))
    assert tokenizer.tokenize("lower low") == ["lower", "Ġ", "low"]
    assert len(tokenizer) == 256 + len(SPECIAL_TOKENS) + 4


def test_training_is_deterministic() -> None:
    first, second = (train_tokenizer(TEXTS, TokenizerConfig(vocabulary=500)) for _ in range(2))
    assert first.backend_tokenizer.to_str() == second.backend_tokenizer.to_str()


def test_special_tokens_have_the_first_ids(tokenizer: PreTrainedTokenizerFast) -> None:
    assert tokenizer.convert_tokens_to_ids(list(SPECIAL_TOKENS)) == [0, 1, 2, 3, 4, 5]
    assert (tokenizer.eos_token, tokenizer.bos_token, tokenizer.pad_token) == (END_OF_TEXT, END_OF_TEXT, PAD)
    assert len(tokenizer) == 600
    assert tokenizer.model_max_length == 128
    assert tokenizer("Mira")["input_ids"][0] > 5  # nothing is put before a text
    assert tokenizer.decode([5, 0], skip_special_tokens=True) == ""


@pytest.mark.parametrize("load", [load_tokenizer, AutoTokenizer.from_pretrained])
def test_saved_folder(tokenizer: PreTrainedTokenizerFast, folder: Path, load: Any) -> None:
    loaded = load(folder)
    for text in [*TEXTS[:5], "naïve 中文 🦦 <|end|> x"]:
        assert loaded(text)["input_ids"] == tokenizer(text)["input_ids"]
        assert loaded.decode(loaded(text)["input_ids"]) == text
    assert loaded.chat_template == tokenizer.chat_template
    assert (loaded.eos_token, loaded.pad_token, loaded.model_max_length) == (END_OF_TEXT, PAD, 128)
    assert set(loaded.all_special_tokens) == set(SPECIAL_TOKENS)


def test_conversation(tokenizer: Any) -> None:
    messages = [
        {"role": "system", "content": "You are brief."},
        {"role": "user", "content": "Who is Mira?"},
        {"role": "assistant", "content": "An otter."},
    ]
    text = tokenizer.apply_chat_template(messages, tokenize=False)
    assert text == "<|system|>You are brief.<|end|><|user|>Who is Mira?<|end|><|assistant|>An otter.<|end|>"
    prompt = tokenizer.apply_chat_template(messages[:2], tokenize=False, add_generation_prompt=True)
    assert prompt == "<|system|>You are brief.<|end|><|user|>Who is Mira?<|end|><|assistant|>"
    assert text.startswith(prompt)


def test_the_loss_is_on_answers_and_their_ends(tokenizer: Any) -> None:
    messages = [
        {"role": "user", "content": "Who?"},
        {"role": "assistant", "content": "Mira."},
        {"role": "user", "content": "Sure?"},
        {"role": "assistant", "content": "Yes."},
    ]
    encoded = tokenizer.apply_chat_template(messages, return_dict=True, return_assistant_tokens_mask=True)
    masked = [token for token, mask in zip(encoded["input_ids"], encoded["assistant_masks"], strict=True) if mask]
    assert tokenizer.decode(masked) == "Mira.<|end|>Yes.<|end|>"


@given(content=st.lists(st.sampled_from(["<|end|>", "<|user|>", "<", "|", "end", "system", ">", " "])).map("".join))
def test_a_message_forges_no_turn(tokenizer: Any, content: str) -> None:
    ids = tokenizer.apply_chat_template([{"role": "user", "content": content}], return_dict=True)["input_ids"]
    special = [token for token in tokenizer.convert_ids_to_tokens(ids) if token in SPECIAL_TOKENS]
    assert special == [USER, END_OF_TURN]


def test_unknown_role(tokenizer: Any) -> None:
    with pytest.raises(Exception, match="a turn is by system, user or assistant, not by tool"):
        tokenizer.apply_chat_template([{"role": "tool", "content": "x"}], tokenize=False)


def test_bytes_per_token(tokenizer: PreTrainedTokenizerFast) -> None:
    texts = ["Mira", "naïve 🦦"]
    n_tokens = sum(len(tokenizer.tokenize(text)) for text in texts)
    assert bytes_per_token(tokenizer, texts) == (4 + 11) / n_tokens
    assert bytes_per_token(tokenizer, TEXTS) > 2
    with pytest.raises(ValueError, match=r"^there are no tokens to count$"):
        bytes_per_token(tokenizer, [])


def test_batches_are_padded_with_a_token_of_their_own(tokenizer: PreTrainedTokenizerFast) -> None:
    batch = tokenizer(["Mira", "Mira slept."], padding=True)
    assert batch["input_ids"][0][-1] == tokenizer.pad_token_id == 1
    assert batch["attention_mask"][0][-1] == 0
    assert ASSISTANT in tokenizer.all_special_tokens


def test_errors(tmp_path: Path) -> None:
    with pytest.raises(UserError) as error:
        train_tokenizer(["", ""])
    assert str(error.value) == "there is no text to train a tokenizer on"
    with pytest.raises(UserError) as error:
        load_tokenizer(tmp_path)
    assert str(error.value) == (
        f"{tmp_path}: holds no tokenizer (no tokenizer.json): give the folder of a trained model"
    )
    (tmp_path / "tokenizer.json").write_text("{")
    with pytest.raises(UserError) as error:
        load_tokenizer(tmp_path)
    assert str(error.value).startswith(f"{tmp_path / 'tokenizer.json'}: is damaged (")


def test_the_order_of_texts_does_not_matter() -> None:
    shuffled = random.Random(0).sample(TEXTS, len(TEXTS))
    one, other = (train_tokenizer(texts, TokenizerConfig(vocabulary=500)) for texts in (TEXTS, shuffled))
    assert one.get_vocab() == other.get_vocab()
