"""GPT-2 checkpoints written by transformers and read by us: the same logits, the same tokens, and clear refusals."""

import json
import os
import re
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import assume, given
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file
from transformers import GPT2Tokenizer as HuggingFaceTokenizer

from roadmap_shared.errors import UserError
from transformer_from_scratch.generate import generate
from transformer_from_scratch.gpt2 import load_gpt2
from transformer_from_scratch.gpt2_tokenizer import END_OF_TEXT, GPT2Tokenizer, load_gpt2_tokenizer
from transformer_from_scratch.tokenizers import ByteBPETokenizer
from transformer_from_scratch.tokenizers.bpe import base_vocabulary, to_printable

WriteGPT2 = Callable[..., Any]
ODD_TEXTS = [
    "Hello, world!",
    "  two  spaces,\ttab\r\n\nnewlines   ",
    "don't we'll I'VE 'tis 's",
    "naïve Ångström ﬁ Straße 你好，世界 नमस्ते",
    "🙂👨‍👩‍👧 e\u0301 \u200b\u00a0\u3000\x00\x1f",
    "x=3.14e-10; 1234567890 ½²",
    "# # ## #version: 0.2",
    "",
]


def logits_of(model: Any, ids: torch.Tensor) -> torch.Tensor:
    with torch.no_grad():
        output = model(ids)
    return getattr(output, "logits", output)


def assert_same_logits(reference: Any, folder: Path) -> None:
    model, _ = load_gpt2(folder)
    assert not model.training
    ids = torch.randint(0, 29, (3, 24), generator=torch.Generator().manual_seed(1))
    expected = logits_of(reference, ids)
    assert expected.std() > 0.1
    torch.testing.assert_close(logits_of(model, ids), expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"n_inner": 40},
        {"activation_function": "gelu"},
        {"activation_function": "relu"},
        {"activation_function": "gelu_pytorch_tanh"},
        {"layer_norm_epsilon": 0.1},
        {"tie_word_embeddings": False},
        {"n_layer": 1, "n_head": 1},
    ],
    ids=str,
)
def test_logits_equal_transformers(tmp_path: Path, write_gpt2: WriteGPT2, settings: dict[str, Any]) -> None:
    assert_same_logits(write_gpt2(tmp_path, **settings), tmp_path)


def test_sharded_weights(tmp_path: Path, write_gpt2: WriteGPT2) -> None:
    reference = write_gpt2(tmp_path, max_shard_size="20KB")
    assert len(list(tmp_path.glob("model-*.safetensors"))) > 2
    assert not (tmp_path / "model.safetensors").exists()
    assert_same_logits(reference, tmp_path)


def test_names_without_prefix_and_the_causal_masks_of_old_checkpoints(tmp_path: Path, write_gpt2: WriteGPT2) -> None:
    """As in openai-community/gpt2; other old checkpoints also hold the tied head."""
    reference = write_gpt2(tmp_path)
    tensors = {
        name.removeprefix("transformer."): tensor for name, tensor in load_file(tmp_path / "model.safetensors").items()
    }
    assert "wte.weight" in tensors
    for layer in range(2):
        tensors[f"h.{layer}.attn.bias"] = torch.ones(24, 24, dtype=torch.bool).tril().view(1, 1, 24, 24)
        tensors[f"h.{layer}.attn.masked_bias"] = torch.tensor(-1e4)
    tensors["lm_head.weight"] = tensors["wte.weight"].clone()
    save_file(tensors, tmp_path / "model.safetensors")
    assert_same_logits(reference, tmp_path)


def test_half_precision_weights_are_computed_with_in_float32(tmp_path: Path, write_gpt2: WriteGPT2) -> None:
    reference = write_gpt2(tmp_path).bfloat16()
    reference.save_pretrained(tmp_path)
    assert_same_logits(reference.float(), tmp_path)


def test_greedy_tokens_equal_transformers(tmp_path: Path, write_gpt2: WriteGPT2) -> None:
    reference = write_gpt2(tmp_path, n_positions=40)
    model, _ = load_gpt2(tmp_path)
    prompts = [[3, 1, 4], [28], [1, 5, 9, 2, 6]]
    expected = []
    for prompt in prompts:
        ids = torch.tensor([prompt])
        output = reference.generate(
            ids, attention_mask=torch.ones_like(ids), do_sample=False, max_new_tokens=35, pad_token_id=0
        )
        expected.append(output[0, len(prompt) :].tolist())
    assert len({tuple(tokens) for tokens in expected}) == 3
    assert generate(model, prompts, max_new_tokens=35) == expected


# What is wrong with a folder, and the one line that says so.


def edit_config(folder: Path, **settings: Any) -> None:
    path = folder / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | settings))


def edit_tensors(folder: Path, edit: Callable[[dict[str, torch.Tensor]], Any]) -> None:
    tensors = load_file(folder / "model.safetensors")
    edit(tensors)
    save_file(tensors, folder / "model.safetensors")


def damage(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-100])


def pickle_only(folder: Path) -> None:
    (folder / "model.safetensors").unlink()
    (folder / "pytorch_model.bin").write_bytes(b"never read")


REFUSALS: dict[str, tuple[Callable[[Path], Any], str]] = {
    "no config": (
        lambda f: (f / "config.json").unlink(),
        r"{f} holds no config.json: is it a Hugging Face GPT-2 folder\?",
    ),
    "broken config": (
        lambda f: (f / "config.json").write_text("{"),
        r"{f}/config.json is damaged: .*; download it again",
    ),
    "config is a list": (
        lambda f: (f / "config.json").write_text("[]"),
        r"{f}/config.json is damaged: expected a JSON object; download it again",
    ),
    "other architecture": (
        lambda f: edit_config(f, model_type="llama"),
        r"{f}/config.json: model_type 'llama' is not 'gpt2'; only GPT-2 models can be loaded",
    ),
    "other activation": (
        lambda f: edit_config(f, activation_function="silu"),
        r"{f}/config.json: activation_function 'silu' is not supported; known are gelu_new, .*, gelu, relu",
    ),
    "cross-attention": (
        lambda f: edit_config(f, add_cross_attention=True),
        r"{f}/config.json: add_cross_attention must be False, as in all models that OpenAI published",
    ),
    "unscaled attention": (
        lambda f: edit_config(f, scale_attn_weights=False),
        r"{f}/config.json: scale_attn_weights must be True, as in all models that OpenAI published",
    ),
    "attention scaled by layer": (
        lambda f: edit_config(f, scale_attn_by_inverse_layer_idx=True),
        r"{f}/config.json: scale_attn_by_inverse_layer_idx must be False, as in all models that OpenAI published",
    ),
    "no layers": (
        lambda f: edit_config(f, n_layer=0),
        r"{f}/config.json: n_layer 0 must be a whole number of at least 1",
    ),
    "width is a text": (
        lambda f: edit_config(f, n_embd="24"),
        r"{f}/config.json: n_embd '24' must be a whole number of at least 1",
    ),
    "heads do not divide": (
        lambda f: edit_config(f, n_head=5),
        r"{f}/config.json: n_embd 24 is not a multiple of n_head 5",
    ),
    "bad epsilon": (
        lambda f: edit_config(f, layer_norm_epsilon=0),
        r"{f}/config.json: layer_norm_epsilon 0 must be a number above 0",
    ),
    "no weights": (
        lambda f: (f / "model.safetensors").unlink(),
        r"{f} holds no model.safetensors: is it a Hugging Face GPT-2 folder\?",
    ),
    "pickle only": (
        pickle_only,
        r"{f} has its weights only as a pickle \(pytorch_model.bin\), which could run any code and is never opened: "
        r"convert it to model.safetensors",
    ),
    "cut weights": (
        lambda f: damage(f / "model.safetensors"),
        r"{f}/model.safetensors is damaged \(.+\); download it again",
    ),
    "weights are no safetensors": (
        lambda f: (f / "model.safetensors").write_bytes(b"PK\x03\x04"),
        r"{f}/model.safetensors is damaged \(.+\); download it again",
    ),
    "missing tensor": (
        lambda f: edit_tensors(f, lambda t: t.pop("transformer.h.1.ln_2.bias")),
        r"the weights in {f} lack the tensor h.1.ln_2.bias: is it a GPT-2 of another kind\?",
    ),
    "unknown tensor": (
        lambda f: edit_tensors(f, lambda t: t.update({"score.weight": torch.ones(2, 24)})),
        r"the weights in {f} have a tensor that is no part of GPT-2's language model: score.weight",
    ),
    "more layers than the config says": (
        lambda f: edit_config(f, n_layer=1),
        r"the weights in {f} have a tensor that is no part of GPT-2's language model: h.1.attn.c_attn.bias",
    ),
    "another shape": (
        lambda f: edit_config(f, n_positions=30),
        r"the weights in {f} do not fit its config.json: wpe.weight has shape \(24, 24\), not \(30, 24\)",
    ),
    "a tied head that differs": (
        lambda f: edit_tensors(f, lambda t: t.update({"lm_head.weight": torch.zeros(29, 24)})),
        r"{f}: lm_head.weight differs from wte.weight, which config.json ties: set tie_word_embeddings to false there",
    ),
    "broken tokenizer": (
        lambda f: (f / "tokenizer.json").write_text("{}"),
        r"the tokenizer in {f} cannot be read: tokenizer.json describes no byte-level BPE",
    ),
}


@pytest.mark.parametrize("what", REFUSALS)
def test_a_folder_that_is_no_gpt2_is_refused_in_one_line(tmp_path: Path, write_gpt2: WriteGPT2, what: str) -> None:
    spoil, message = REFUSALS[what]
    write_gpt2(tmp_path)
    spoil(tmp_path)
    with pytest.raises(UserError) as error:
        load_gpt2(tmp_path)
    assert re.fullmatch(message.replace("{f}", re.escape(str(tmp_path))), str(error.value))


def test_a_missing_shard_is_named(tmp_path: Path, write_gpt2: WriteGPT2) -> None:
    write_gpt2(tmp_path, max_shard_size="20KB")
    shard = sorted(tmp_path.glob("model-*.safetensors"))[1]
    shard.unlink()
    with pytest.raises(UserError) as error:
        load_gpt2(tmp_path)
    assert str(error.value) == f"{shard} is missing although the index names it; download it again"


@pytest.mark.parametrize("places", [{"wte.weight": "../model.safetensors"}, {"wte.weight": 3}, None])
def test_an_index_that_leads_out_of_the_folder_is_refused(tmp_path: Path, write_gpt2: WriteGPT2, places: Any) -> None:
    write_gpt2(tmp_path / "model")
    shutil.move(tmp_path / "model" / "model.safetensors", tmp_path / "model.safetensors")
    index = tmp_path / "model" / "model.safetensors.index.json"
    index.write_text(json.dumps({"weight_map": places}))
    with pytest.raises(UserError) as error:
        load_gpt2(tmp_path / "model")
    assert str(error.value) == f"{index} is damaged: weight_map must name files beside it; download it again"


def test_a_file_in_place_of_the_folder(tmp_path: Path, write_gpt2: WriteGPT2) -> None:
    write_gpt2(tmp_path)
    with pytest.raises(UserError) as error:
        load_gpt2(tmp_path / "config.json")
    assert str(error.value) == (
        f"{tmp_path}/config.json is a file: give the folder that holds config.json and model.safetensors"
    )


# Hub ids, without a network.


@pytest.fixture
def hub_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty hub cache and no network."""
    import huggingface_hub.constants

    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path))
    return tmp_path


def test_a_hub_id_is_read_from_the_cache(hub_cache: Path, write_gpt2: WriteGPT2) -> None:
    commit = "0" * 40
    repository = hub_cache / "models--someone--tiny-gpt2"
    reference = write_gpt2(repository / "snapshots" / commit)
    (repository / "refs").mkdir()
    (repository / "refs" / "main").write_text(commit)
    model, _ = load_gpt2("someone/tiny-gpt2")
    ids = torch.arange(20)[None]
    torch.testing.assert_close(logits_of(model, ids), logits_of(reference, ids), rtol=1e-5, atol=1e-5)


def test_a_hub_id_without_network_names_the_folder_option(hub_cache: Path) -> None:
    with pytest.raises(UserError) as error:
        load_gpt2("openai-community/gpt2")
    assert re.fullmatch(
        r"openai-community/gpt2: no such folder, and not to be had from the hub \([^\n]+\); "
        r"give a folder that holds config.json and model.safetensors instead",
        str(error.value),
    )


def test_a_hub_id_without_huggingface_hub_names_both_ways_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    with pytest.raises(UserError) as error:
        load_gpt2("openai-community/gpt2")
    assert str(error.value) == (
        "openai-community/gpt2: no such folder, and hub ids need the package huggingface_hub; install it, or "
        "give a folder that holds config.json and model.safetensors instead"
    )


@pytest.mark.parametrize("name", ["./missing", "/missing/folder", "models/gpt2/small", "my model"])
def test_what_can_be_no_hub_id_never_asks_the_hub(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    with pytest.raises(UserError) as error:
        load_gpt2(name)
    assert str(error.value) == (f"{name}: no such folder, and no hub id (as openai-community/gpt2) looks like this")


# The tokenizer.

TRAINING_TEXT = "the cat sat on the mat, and the other cat didn't; naïve cats — 你好 你好 — sat there 1234 1234. " * 3


def write_tokenizer(folder: Path, *, special_first: bool) -> ByteBPETokenizer:
    """vocab.json and merges.txt with `<|endoftext|>` behind all tokens, as GPT-2 has it, or before them."""
    tokenizer = ByteBPETokenizer.train(TRAINING_TEXT, 300)
    merges = tokenizer.to_json()["merges"]
    tokens = [to_printable(token) for token in base_vocabulary()] + [line.replace(" ", "") for line in merges]
    tokens = [END_OF_TEXT, *tokens] if special_first else [*tokens, END_OF_TEXT]
    (folder / "vocab.json").write_text(json.dumps({token: i for i, token in enumerate(tokens)}), encoding="utf-8")
    (folder / "merges.txt").write_text("\n".join(["#version: 0.2", *merges, ""]), encoding="utf-8")
    return tokenizer


@pytest.fixture(scope="module", params=["special token last", "special token first", "tokenizer.json"])
def tokenizers(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> tuple[HuggingFaceTokenizer, GPT2Tokenizer]:
    """Hugging Face's tokenizer and ours, from the same files."""
    folder = tmp_path_factory.mktemp("tokenizer")
    write_tokenizer(folder, special_first=request.param == "special token first")
    reference = HuggingFaceTokenizer.from_pretrained(folder)
    if request.param == "tokenizer.json":
        folder = tmp_path_factory.mktemp("joint")
        reference.save_pretrained(folder)
        assert not (folder / "vocab.json").exists()
    ours = load_gpt2_tokenizer(folder)
    assert ours is not None
    return reference, ours


def test_the_tokenizer_equals_transformers(tokenizers: tuple[HuggingFaceTokenizer, GPT2Tokenizer]) -> None:
    reference, ours = tokenizers
    assert ours.vocab_size == len(reference) == 301
    assert ours.special_id(END_OF_TEXT) == reference.eos_token_id
    assert len(ours.encode(TRAINING_TEXT)) < len(TRAINING_TEXT) / 2
    for text in [TRAINING_TEXT, *ODD_TEXTS]:
        ids = ours.encode(text)
        assert ids == reference.encode(text)
        assert ours.decode(ids) == text


@given(text=st.text())
def test_any_text_equals_transformers(tokenizers: tuple[HuggingFaceTokenizer, GPT2Tokenizer], text: str) -> None:
    reference, ours = tokenizers
    assume(END_OF_TEXT not in text)  # there we differ on purpose, see below
    assert ours.encode(text) == reference.encode(text)
    assert ours.decode(ours.encode(text)) == text


def test_a_text_cannot_forge_the_special_token(
    tokenizers: tuple[HuggingFaceTokenizer, GPT2Tokenizer],
) -> None:
    reference, ours = tokenizers
    end = ours.special_id(END_OF_TEXT)
    assert reference.encode(END_OF_TEXT) == [end]
    assert end not in ours.encode(END_OF_TEXT)
    assert ours.decode([end, *ours.encode("cat"), end]) == "cat"
    assert ours.token_text(end) == END_OF_TEXT
    with pytest.raises(UserError, match=r"^the tokenizer has no special token '<pad>' \(it has: <\|endoftext\|>\)$"):
        ours.special_id("<pad>")


def test_the_tokenizer_survives_json(tokenizers: tuple[HuggingFaceTokenizer, GPT2Tokenizer]) -> None:
    _, ours = tokenizers
    again = GPT2Tokenizer.from_json(json.loads(json.dumps(ours.to_json())))
    assert again.encode(TRAINING_TEXT) == ours.encode(TRAINING_TEXT)
    assert again.special_id(END_OF_TEXT) == ours.special_id(END_OF_TEXT)
    with pytest.raises(UserError, match=r"^not the JSON of a gpt2 tokenizer: expected an object with 'kind': 'gpt2'$"):
        GPT2Tokenizer.from_json(ByteBPETokenizer([]).to_json())


def test_gpt2s_own_vocabulary(tmp_path: Path) -> None:
    data = os.environ.get("ROADMAP_DATA")
    if data is None:
        pytest.skip("ROADMAP_DATA is unset: GPT-2's vocabulary is not at hand")
    shutil.copy(Path(data) / "tokenizers" / "gpt2_encoder.json", tmp_path / "vocab.json")
    shutil.copy(Path(data) / "tokenizers" / "huggingface_gpt2_merges.txt", tmp_path / "merges.txt")
    reference, ours = HuggingFaceTokenizer.from_pretrained(tmp_path), load_gpt2_tokenizer(tmp_path)
    assert ours is not None
    assert ours.vocab_size == 50257
    assert ours.special_id(END_OF_TEXT) == 50256
    assert ours.encode("Hello, world!") == [15496, 11, 995, 0]
    play = (Path(data) / "tinyshakespeare" / "input.txt").read_text(encoding="utf-8")[:50_000]
    for text in [play, *ODD_TEXTS]:
        assert ours.encode(text) == reference.encode(text)
        assert ours.decode(ours.encode(text)) == text


def test_a_checkpoint_without_tokenizer_has_none(tmp_path: Path, write_gpt2: WriteGPT2) -> None:
    write_gpt2(tmp_path)
    assert load_gpt2(tmp_path)[1] is None


def test_the_tokenizer_comes_with_the_model(tmp_path: Path, write_gpt2: WriteGPT2) -> None:
    write_gpt2(tmp_path, vocab_size=301)
    write_tokenizer(tmp_path, special_first=False)
    model, tokenizer = load_gpt2(tmp_path)
    assert tokenizer is not None
    assert len(tokenizer.decode(generate(model, [tokenizer.encode("the cat")], max_new_tokens=5)[0])) > 0


@pytest.mark.parametrize(
    ("file", "old", "new", "message"),
    [
        ("vocab.json", "{", "[", r"Expecting ',' delimiter.*"),
        (
            "vocab.json",
            '"at": 256',
            '"xx": 256',
            r"damaged GPT-2 tokenizer: token 'at' of its merges has no id",
        ),
        ("vocab.json", '"!": 0', '"!": 1', r"damaged GPT-2 tokenizer: ids must be distinct and not negative"),
        (
            "vocab.json",
            '"!": 0',
            '"!": -1',
            r"damaged GPT-2 tokenizer: ids must be distinct and not negative",
        ),
        ("vocab.json", '"!": 0', '"!": "0"', r"the vocabulary must be an object of token ids"),
        (
            "merges.txt",
            "\nh e\n",
            "\nh e e\n",
            r"damaged tokenizer JSON: merge 1 'h e e' is not two tokens.*",
        ),
    ],
)
def test_a_damaged_tokenizer_is_refused_in_one_line(
    tmp_path: Path, file: str, old: str, new: str, message: str
) -> None:
    write_tokenizer(tmp_path, special_first=False)
    path = tmp_path / file
    text = path.read_text(encoding="utf-8")
    text = json.dumps(json.loads(text), ensure_ascii=False) if file == "vocab.json" else text
    assert old in text
    path.write_text(text.replace(old, new, 1), encoding="utf-8")
    with pytest.raises(UserError) as error:
        load_gpt2_tokenizer(tmp_path)
    assert re.fullmatch(rf"the tokenizer in {re.escape(str(tmp_path))} cannot be read: {message}", str(error.value))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"normalizer": {"type": "Lowercase"}}, "tokenizer.json cuts texts into words otherwise than GPT-2"),
        (
            {"pre_tokenizer": {"type": "Whitespace"}},
            "tokenizer.json cuts texts into words otherwise than GPT-2",
        ),
        (
            {"pre_tokenizer": {"type": "ByteLevel", "add_prefix_space": True}},
            "tokenizer.json cuts texts into words otherwise than GPT-2",
        ),
        ({"model": {"type": "WordPiece"}}, "tokenizer.json describes no byte-level BPE"),
        (
            {"model": {"type": "BPE", "vocab": {"a": 0}, "merges": None}},
            "the merges must be a list of strings",
        ),
    ],
)
def test_a_tokenizer_json_of_another_kind_is_refused(tmp_path: Path, change: dict[str, Any], message: str) -> None:
    write_tokenizer(tmp_path, special_first=False)
    HuggingFaceTokenizer.from_pretrained(tmp_path).save_pretrained(tmp_path / "joint")
    path = tmp_path / "joint" / "tokenizer.json"
    path.write_text(json.dumps(json.loads(path.read_text(encoding="utf-8")) | change), encoding="utf-8")
    with pytest.raises(UserError) as error:
        load_gpt2_tokenizer(tmp_path / "joint")
    assert str(error.value) == f"the tokenizer in {tmp_path / 'joint'} cannot be read: {message}"
