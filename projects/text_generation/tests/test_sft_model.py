"""The model that fine-tuning starts from: its template, its adapters, and the folders that are kept of it."""

import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import PeftModel
from tokenizers import Tokenizer, models, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerFast

from roadmap_shared.errors import UserError
from text_generation.backends.hf_loading import load_causal_lm
from text_generation.backends.types import Message
from text_generation.config.data import TokenizerConfig
from text_generation.config.finetuning import AdapterConfig, StartConfig
from text_generation.config.training import ModelConfig
from text_generation.tokenizer import END_OF_TEXT, END_OF_TURN, train_tokenizer
from text_generation.training.chat_data import Conversation
from text_generation.training.model import build_model
from text_generation.training.sft import train_rows, training_rows
from text_generation.training.sft_model import (
    ChatModel,
    add_built_in_template,
    chat_model,
    check_four_bits,
    end_of_answer,
    load_chat_model,
    load_start,
    lora_config,
    save_tuned,
)
from text_generation.training.sft_trainer import Workplace

from .tiny_chat_models import CONFIG, LORA, TEXTS, logits, tiny, weights

CHATS = [
    Conversation((Message("user", text[:11]), Message("assistant", text)), f"chats:{number}")
    for number, text in enumerate(TEXTS[:10], start=1)
]


def test_an_adapter_saved_loaded_and_merged_is_the_same(tmp_path: Path):
    start, model = tmp_path / "start", tiny()
    model.network.save_pretrained(start)
    model.tokenizer.save_pretrained(start)
    before = load_chat_model(StartConfig(name=str(start)), LORA)
    frozen = weights(before)
    rows = training_rows(before, CHATS, 48).rows
    trained = train_rows(before, rows, CONFIG, Workplace(1), LORA)
    assert isinstance(trained, PeftModel)
    expected = logits(trained, rows[0]["input_ids"])
    assert not torch.allclose(expected, logits(model.network, rows[0]["input_ids"]), atol=1e-3)
    merged, folder = save_tuned(trained, before.tokenizer, tmp_path / "out", merge=True)
    assert folder == tmp_path / "out" / "model"
    from_adapter, _ = load_start(str(tmp_path / "out" / "adapter"))
    from_merged, _ = load_causal_lm(str(folder), "cpu")
    as_adapter, _ = load_causal_lm(str(tmp_path / "out" / "adapter"), "cpu")
    for network in (merged, from_adapter, from_merged, as_adapter):
        torch.testing.assert_close(logits(network, rows[0]["input_ids"]), expected, atol=1e-5, rtol=0)
    # What is no layer of the adapter has not moved.
    assert torch.equal(from_merged.state_dict()["transformer.wte.weight"], frozen["transformer.wte.weight"])


def test_answers_end_where_the_template_ends_them(tmp_path: Path):
    model = tiny()
    ends = [model.tokenizer.convert_tokens_to_ids(mark) for mark in (END_OF_TEXT, END_OF_TURN)]
    assert model.network.generation_config is not None
    assert model.network.generation_config.eos_token_id == ends
    save_tuned(model.network, model.tokenizer, tmp_path, merge=True)
    network, _ = load_causal_lm(str(tmp_path / "model"), "cpu")
    assert network.generation_config is not None
    assert network.generation_config.eos_token_id == ends


def test_a_base_model_gets_the_built_in_template(tmp_path: Path):
    model = tiny()
    plain = train_tokenizer(TEXTS, TokenizerConfig(vocabulary=320), context=48)
    plain.chat_template = None
    model.network.save_pretrained(tmp_path)
    plain.save_pretrained(tmp_path)
    start = StartConfig(name=str(tmp_path))
    with pytest.raises(UserError) as error:
        load_chat_model(start, AdapterConfig())
    assert str(error.value) == (
        f"--model.name {tmp_path}: its tokenizer has no chat template, so no conversation can be written for it. Give "
        "an instruct model, or --model.chat_template built-in"
    )
    found = load_chat_model(replace(start, chat_template="built-in"), AdapterConfig())
    assert found.encode(CHATS[0].messages) == model.encode(CHATS[0].messages)
    with pytest.raises(UserError) as error:
        load_chat_model(replace(start, chat_template="built-in"), LORA)
    assert str(error.value) == (
        "--model.chat_template built-in adds tokens, which an adapter does not train: give --adapter.method full"
    )


def test_a_template_without_marks_is_refused():
    model = tiny()
    model.tokenizer.chat_template = "{% for m in messages %}{{ m.role }}: {{ m.content }}\n{% endfor %}"
    with pytest.raises(UserError) as error:
        chat_model(model.network, model.tokenizer, "mine")
    assert str(error.value) == (
        "--model.name mine: its chat template does not mark the answers, to which the loss is kept. Put "
        "{% generation %} and {% endgeneration %} around them in it, or give --model.chat_template built-in"
    )


def test_a_conversation_that_the_template_refuses_is_left_out():
    model = tiny()
    template = "{{ raise_exception('no system turns') if messages[0].role == 'system' }}" + model.template
    strict = ChatModel(model.network, model.tokenizer, template, "strict")
    chats = [Conversation((Message("system", "Be brief."), *CHATS[0].messages), "chats:1"), CHATS[1]]
    found = training_rows(strict, chats, 48)
    assert len(found.rows) == 1
    assert [reject.reason for reject in found.left_out] == [
        "the chat template does not take the conversation: no system turns"
    ]


def test_qlora_says_what_it_needs(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(UserError) as error:
        load_chat_model(StartConfig(name=str(tmp_path)), AdapterConfig(method="qlora"))
    assert str(error.value) == (
        "--adapter.method qlora needs a GPU, and this machine has none that torch can use: give lora or full"
    )
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr("text_generation.training.sft_model.find_spec", lambda name: None)
    with pytest.raises(UserError) as error:
        check_four_bits()
    assert str(error.value) == "--adapter.method qlora needs bitsandbytes: pip install bitsandbytes, or give lora"


def test_a_layer_that_is_not_there_is_named():
    with pytest.raises(UserError) as error:
        lora_config(tiny().network, AdapterConfig(method="lora", target_modules=("c_attn", "q_proj")))
    assert str(error.value) == "--adapter.target_modules: the model has no layer 'q_proj'"


def test_a_damaged_adapter_is_named(tmp_path: Path):
    (tmp_path / "adapter_config.json").write_text("{}")
    with pytest.raises(UserError) as error:
        load_start(str(tmp_path))
    assert str(error.value) == f"--model.name {tmp_path}: has an adapter's config, but no adapter_model.safetensors"
    (tmp_path / "adapter_model.safetensors").write_bytes(b"")
    with pytest.raises(UserError) as error:
        load_start(str(tmp_path))
    assert str(error.value) == (f"--model.name {tmp_path / 'adapter_config.json'}: is damaged, or names no base model")


def test_a_model_that_is_not_there_is_named(tmp_path: Path):
    with pytest.raises(UserError) as error:
        load_start(str(tmp_path / "gone"))
    assert str(error.value) == f"--model.name {tmp_path / 'gone'}: there is no such folder"


def test_lora_resumes_exactly(tmp_path: Path):
    config, rows = replace(CONFIG, steps=4), training_rows(tiny(), CHATS, 48).rows
    whole = train_rows(tiny(), rows, config, Workplace(1, tmp_path), LORA)
    shutil.rmtree(tmp_path / "checkpoint-4")
    resumed = train_rows(tiny(), rows, config, Workplace(1, tmp_path, resumed=True), LORA)
    ids = rows[0]["input_ids"]
    assert torch.equal(logits(whole, ids), logits(resumed, ids))


def test_new_marks_get_embeddings():
    raw = Tokenizer(models.BPE())
    raw.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)  # pyright: ignore[reportAttributeAccessIssue]
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    raw.train_from_iterator(TEXTS, trainers.BpeTrainer(vocab_size=300, initial_alphabet=alphabet, show_progress=False))
    raw.add_special_tokens([END_OF_TEXT])
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=raw, eos_token=END_OF_TEXT)
    shape = ModelConfig(n_layers=2, width=32, n_heads=2, context=48)
    network: Any = build_model(shape, tokenizer, seed=3)
    before = network.get_input_embeddings().weight.detach().clone()
    add_built_in_template(network, tokenizer)
    model = chat_model(network, tokenizer, "base")
    # Four marks of turns and one for padding.
    after = network.get_input_embeddings().weight
    assert len(tokenizer) == after.shape[0] == before.shape[0] + 5
    assert torch.equal(after[: before.shape[0]], before)
    assert end_of_answer(model) == tokenizer.convert_tokens_to_ids(END_OF_TURN)
    rows = training_rows(model, CHATS, 48).rows
    assert len(rows) == len(CHATS)
    assert all(row["labels"][-1] == end_of_answer(model) for row in rows)
