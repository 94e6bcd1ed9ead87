"""The local back end against transformers' own `generate` and against brute force, on a tiny random GPT-2."""

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import ByteLevelBPETokenizer
from transformers import (
    GenerationConfig,
    GPT2Config,
    GPT2LMHeadModel,
    LlamaConfig,
    LlamaForCausalLM,
    PreTrainedTokenizerFast,
)
from transformers.generation import logits_process as theirs

from roadmap_shared.errors import UserError
from text_generation.backends.hf import HuggingFaceBackend
from text_generation.backends.hf_loading import quiet_transformers
from text_generation.backends.types import Message
from text_generation.config.decoding import BEAM_SEARCH, GREEDY, DecodingConfig
from text_generation.decoding import logits as ours

LINES = ["the cat sat on the mat and the dog ran to the sea", "à la mer, 你好 world", "User: Assistant: System:"]
PROMPTS = ["the cat", " dog", "world 你好, the mat and the dog ran on and on", "x", "the sea the sea", "mat"]
SAMPLED = DecodingConfig(temperature=1.3, top_k=40, top_p=0.95, max_new_tokens=12)


def tiny_tokenizer() -> PreTrainedTokenizerFast:
    bpe = ByteLevelBPETokenizer()
    bpe.train_from_iterator(LINES * 3, vocab_size=320, special_tokens=["<|end|>"], show_progress=False)
    return PreTrainedTokenizerFast(tokenizer_object=bpe._tokenizer, eos_token="<|end|>")


def tiny_network(tokenizer: PreTrainedTokenizerFast) -> GPT2LMHeadModel:
    torch.manual_seed(0)
    size = {"n_positions": 128, "n_embd": 32, "n_layer": 2, "n_head": 4, "bos_token_id": 0, "eos_token_id": 0}
    # A wide spread of weights: the best token is ahead of the second by more than rounding.
    return GPT2LMHeadModel(GPT2Config(vocab_size=len(tokenizer), initializer_range=0.4, **size)).eval()  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def backend() -> HuggingFaceBackend:
    tokenizer = tiny_tokenizer()
    return HuggingFaceBackend(tiny_network(tokenizer), tokenizer, name="tiny", batch_size=4)


@pytest.fixture
def folder(tmp_path: Path, backend: HuggingFaceBackend) -> Path:
    with quiet_transformers():
        backend.network.save_pretrained(tmp_path / "model")
    backend.tokenizer.save_pretrained(tmp_path / "model")
    return tmp_path / "model"


def logits_and_rows() -> tuple[torch.Tensor, list[list[int]]]:
    torch.manual_seed(3)
    rows = [[1, 5, 5, 9, 1, 5], [2, 2, 2, 2, 2, 2], [7, 8, 9, 7, 8, 3]]
    return torch.randn(3, 50) * 4, rows


@pytest.mark.parametrize("n", [1, 2, 3, 6, 7])
def test_penalties_equal_those_of_transformers(n: int) -> None:
    logits, rows = logits_and_rows()
    ids: Any = torch.tensor(rows)
    assert torch.equal(
        ours.penalise_repetition(logits, rows, 1.7), theirs.RepetitionPenaltyLogitsProcessor(1.7)(ids, logits.clone())
    )
    assert torch.equal(
        ours.forbid_repeated_ngrams(logits, rows, n), theirs.NoRepeatNGramLogitsProcessor(n)(ids, logits.clone())
    )


@settings(deadline=None, max_examples=60)
@given(st.integers(0, 10_000), st.floats(0.02, 0.98), st.integers(1, 60), st.floats(0.3, 3.0))
def test_truncations_equal_those_of_transformers(seed: int, p: float, k: int, temperature: float) -> None:
    logits = torch.randn(2, 50, generator=torch.Generator().manual_seed(seed)) * 3
    ids: Any = torch.zeros(2, 1, dtype=torch.long)
    expected = theirs.TemperatureLogitsWarper(temperature)(ids, logits)
    for name, warper in (
        ("top_k", theirs.TopKLogitsWarper(k)),
        ("top_p", theirs.TopPLogitsWarper(p)),
        ("min_p", theirs.MinPLogitsWarper(p)),
        ("typical_p", theirs.TypicalLogitsWarper(p)),
    ):
        decoding = DecodingConfig(temperature=temperature, **{name: k if name == "top_k" else p})  # type: ignore[arg-type]
        assert torch.equal(ours.shaped_logits(logits, [[0], [0]], decoding), warper(ids, expected.clone())), name


def test_all_stages_together_equal_transformers_in_order() -> None:
    logits, rows = logits_and_rows()
    decoding = DecodingConfig(
        temperature=0.8, top_k=20, top_p=0.9, min_p=0.02, typical_p=0.9, repetition_penalty=1.2, no_repeat_ngram_size=2
    )
    network: Any = tiny_network(tiny_tokenizer())
    config = GenerationConfig(
        do_sample=True, temperature=0.8, top_k=20, top_p=0.9, min_p=0.02, typical_p=0.9, repetition_penalty=1.2,
        no_repeat_ngram_size=2,
    )  # fmt: skip
    network._prepare_special_tokens(config)
    processors = network._get_logits_processor(config, input_ids_seq_length=6)
    assert torch.equal(ours.shaped_logits(logits, rows, decoding), processors(torch.tensor(rows), logits.clone()))


def test_where_every_token_is_forbidden_none_is() -> None:
    logits = torch.zeros(1, 2)
    assert torch.equal(ours.forbid_repeated_ngrams(logits, [[0, 1, 0]], 1), logits)


def test_draws_follow_the_probabilities() -> None:
    logits = torch.tensor([[0.5, 0.0, 0.25, 0.25]]).log()
    uniform = torch.tensor([0.0, 0.49, 0.5, 0.74, 0.76, 1 - 2**-53], dtype=torch.float64)
    drawn = [int(ours.draw(logits, number[None])) for number in uniform]
    assert drawn == [0, 0, 2, 2, 3, 3]


def generated_by_transformers(backend: HuggingFaceBackend, prompt: str, decoding: DecodingConfig) -> list[int]:
    ids = torch.tensor([backend.encode(prompt)])
    beams = decoding.strategy == "beam_search"
    config = GenerationConfig(
        do_sample=False, num_beams=decoding.num_beams if beams else 1, early_stopping=decoding.early_stopping,
        length_penalty=decoding.length_penalty, repetition_penalty=decoding.repetition_penalty,
        no_repeat_ngram_size=decoding.no_repeat_ngram_size, max_new_tokens=decoding.max_new_tokens, eos_token_id=0,
        pad_token_id=0,
    )  # fmt: skip
    found = backend.network.generate(ids, attention_mask=torch.ones_like(ids), generation_config=config)  # type: ignore[operator]
    return found[0, ids.shape[1] :].tolist()


@pytest.mark.parametrize(
    "decoding",
    [
        replace(GREEDY, max_new_tokens=16),
        replace(GREEDY, max_new_tokens=16, repetition_penalty=1.4, no_repeat_ngram_size=2),
        replace(BEAM_SEARCH, max_new_tokens=10, num_beams=3),
        replace(BEAM_SEARCH, max_new_tokens=10, repetition_penalty=1.4, early_stopping=False, length_penalty=0.5),
    ],
    ids=["greedy", "penalties", "beams", "beams_with_penalty"],
)
def test_batched_text_equals_transformers_one_by_one(backend: HuggingFaceBackend, decoding: DecodingConfig) -> None:
    answers = backend.generate(PROMPTS, decoding)
    for prompt, answer in zip(PROMPTS, answers, strict=True):
        ids = generated_by_transformers(backend, prompt, decoding)
        expected = backend.tokenizer.decode(backend.encode(prompt) + ids, skip_special_tokens=True)
        assert prompt + answer.text == expected
        assert answer.finish_reason == ("stop" if 0 in ids else "length")


def test_a_llama_with_grouped_heads_and_rotary_positions_pads_alike() -> None:
    tokenizer = tiny_tokenizer()
    torch.manual_seed(1)
    config = LlamaConfig(
        vocab_size=len(tokenizer), hidden_size=32, intermediate_size=48, num_hidden_layers=2, num_attention_heads=4,
        num_key_value_heads=2, max_position_embeddings=128, initializer_range=0.4, bos_token_id=0, eos_token_id=0,
    )  # fmt: skip
    llama = HuggingFaceBackend(LlamaForCausalLM(config), tokenizer, batch_size=8)
    decoding = replace(GREEDY, max_new_tokens=12)
    assert [answer.text for answer in llama.generate(PROMPTS, decoding)] == [
        llama.generate([prompt], decoding)[0].text for prompt in PROMPTS
    ]


def test_a_sampled_answer_does_not_depend_on_its_batch(backend: HuggingFaceBackend) -> None:
    together = backend.generate(PROMPTS, SAMPLED, seed=5)
    alone = HuggingFaceBackend(backend.network, backend.tokenizer, batch_size=1).generate(PROMPTS, SAMPLED, seed=5)
    assert [a.text for a in together] == [a.text for a in alone]
    assert [a.text for a in together] != [a.text for a in backend.generate(PROMPTS, SAMPLED, seed=6)]
    same = backend.generate(["the cat"] * 4, SAMPLED, seed=5)
    assert len({answer.text for answer in same}) == 4


@pytest.mark.parametrize("decoding", [replace(GREEDY, max_new_tokens=20), replace(SAMPLED, max_new_tokens=20)])
@pytest.mark.parametrize("prompt", PROMPTS[:3])
def test_streamed_pieces_join_to_the_generated_text(
    backend: HuggingFaceBackend, decoding: DecodingConfig, prompt: str
) -> None:
    (answer,) = backend.generate([prompt], decoding, seed=2)
    assert "".join(backend.stream(prompt, decoding, seed=2)) == answer.text
    assert "".join(answer.tokens) == answer.text
    assert len(answer.tokens) == answer.new_tokens


@settings(deadline=None, max_examples=25)
@given(seed=st.integers(0, 999), start=st.integers(0, 20), length=st.integers(1, 5))
def test_a_stop_sequence_never_shows(backend: HuggingFaceBackend, seed: int, start: int, length: int) -> None:
    free = backend.generate(["the cat"], SAMPLED, seed=seed)[0].text
    stop = free[start : start + length] or "the"
    decoding = replace(SAMPLED, stop=(stop,))
    (answer,) = backend.generate(["the cat"], decoding, seed=seed)
    assert answer.text == free.split(stop)[0]
    assert answer.finish_reason == ("stop" if stop in free else answer.finish_reason)
    shown = ""
    for piece in backend.stream("the cat", decoding, seed=seed):
        shown += piece
        assert free.startswith(shown)
        assert stop not in shown
    assert shown == answer.text
    assert "".join(answer.tokens) == answer.text


def brute_force_logprob(backend: HuggingFaceBackend, ids: list[int], n_new: int) -> float:
    """Sum of ln p of the last tokens, one forward pass a token, without cache, padding or batch."""
    total = 0.0
    for position in range(len(ids) - n_new, len(ids)):
        with torch.no_grad():
            logits = backend.network(input_ids=torch.tensor([ids[:position]])).logits[0, -1].double()
        total += float(logits.log_softmax(-1)[ids[position]])
    return total


@pytest.mark.parametrize("decoding", [SAMPLED, replace(BEAM_SEARCH, max_new_tokens=8)], ids=["sampling", "beams"])
def test_logprob_is_that_of_the_model_itself(backend: HuggingFaceBackend, decoding: DecodingConfig) -> None:
    for prompt in PROMPTS[:3]:
        watched: list[int] = []
        (answer,) = backend.generate([prompt], decoding, seed=1)
        if decoding.strategy == "sampling":
            watched = backend.trace(prompt, decoding, 1, lambda rows, new_tokens, logits: logits).tokens
        else:
            watched = [token for token in generated_by_transformers(backend, prompt, decoding) if token != 0]
        ids = backend.encode(prompt) + watched
        assert answer.logprob == pytest.approx(brute_force_logprob(backend, ids, len(watched)), abs=1e-4)


def test_likelihood_equals_brute_force(backend: HuggingFaceBackend) -> None:
    pairs = list(zip(PROMPTS, [" sat on the mat", "s", " and à la mer 你好", "", " the", " dog ran"], strict=True))
    for (prompt, text), found in zip(pairs, backend.likelihood(pairs), strict=True):
        ids = backend.encode(prompt)
        new = backend.encode(text) if text else []
        assert found.n_tokens == len(new)
        assert found.n_bytes == len(text.encode())
        assert found.nats == pytest.approx(-brute_force_logprob(backend, ids + new, len(new)), abs=1e-5)


def test_a_hook_may_forbid_tokens(backend: HuggingFaceBackend) -> None:
    allowed = backend.encode(" the")[0]
    seen: list[tuple[list[int], list[int]]] = []

    def only_the(rows, new_tokens, logits):  # type: ignore[no-untyped-def]
        seen.append((list(rows), [len(tokens) for tokens in new_tokens]))
        return torch.full_like(logits, -torch.inf).index_fill(1, torch.tensor([allowed]), 0.0)

    answers = backend.generate(PROMPTS[:2], replace(SAMPLED, max_new_tokens=3), hook=only_the)
    assert [answer.text for answer in answers] == [" the the the"] * 2
    assert [sorted(rows) for rows, _ in seen] == [[0, 1]] * 3
    assert [lengths for _, lengths in seen] == [[0, 0], [1, 1], [2, 2]]
    # What the hook does is no part of the model's own probability.
    expected = brute_force_logprob(backend, backend.encode(PROMPTS[0]) + [allowed] * 3, 3)
    assert answers[0].logprob == pytest.approx(expected, abs=1e-4)
    with pytest.raises(ValueError, match="beam search takes no hook"):
        backend.generate(["x"], BEAM_SEARCH, hook=only_the)


def test_inference_mode_does_not_leak_from_a_stream(backend: HuggingFaceBackend) -> None:
    for _ in backend.stream("the cat", replace(GREEDY, max_new_tokens=3)):
        assert not torch.is_inference_mode_enabled()


def test_a_conversation_without_a_template_is_plain_text(backend: HuggingFaceBackend) -> None:
    turns = [Message("user", "the cat")]
    assert backend.encode(turns) == backend.encode("User: the cat\n\nAssistant:")
    assert backend.count_tokens(turns) == len(backend.encode("User: the cat\n\nAssistant:"))
    assert backend.likelihood([(turns, " mat")])[0].n_tokens == len(backend.encode(" mat"))


def test_a_conversation_goes_through_the_chat_template(backend: HuggingFaceBackend) -> None:
    tokenizer = tiny_tokenizer()
    tokenizer.chat_template = (
        "{% for m in messages %}{% if m.role == 'system' %}{{ raise_exception('no system prompt here') }}{% endif %}"
        "[{{ m.role }}]{{ m.content }}{% endfor %}{% if add_generation_prompt %}[assistant]{% endif %}"
    )
    chat = HuggingFaceBackend(backend.network, tokenizer, name="chat")
    assert chat.encode([Message("user", "the cat")]) == chat.encode("[user]the cat[assistant]")
    with pytest.raises(UserError) as caught:
        chat.encode([Message("system", "x"), Message("user", "y")])
    assert str(caught.value) == "chat's chat template does not take this conversation: no system prompt here"


def test_a_prompt_longer_than_the_context(backend: HuggingFaceBackend) -> None:
    with pytest.raises(UserError) as caught:
        backend.generate(["x", "x" * 130], replace(GREEDY, max_new_tokens=8))
    assert str(caught.value) == (
        "prompt 2 of 2 has 130 tokens; with --decoding.max_new_tokens 8 that is more than the 128 tokens of tiny's "
        "context. Shorten the prompt or lower --decoding.max_new_tokens."
    )
    with pytest.raises(UserError, match=r"^pair 1 of 1 has 130 \+ 1 tokens, more than the 128 of tiny's context"):
        backend.likelihood([("x" * 130, "x")])


@pytest.mark.parametrize(
    "decoding", [SAMPLED, GREEDY, replace(BEAM_SEARCH, num_beams=2)], ids=["sample", "greedy", "beam"]
)
def test_answers_of_what_fits_end_with_the_context(backend: HuggingFaceBackend, decoding: DecodingConfig) -> None:
    prompts = ["x" * 127, "x" * 125, "x" * 120, "the cat", "x" * 125]
    together = backend.generate(prompts, replace(decoding, max_new_tokens=None, default_new_tokens=9), seed=4)
    limits = [min(9, 128 - answer.prompt_tokens) for answer in together]
    assert limits[:3] == [1, 3, 8]
    assert all(answer.new_tokens <= limit for answer, limit in zip(together, limits, strict=True))
    assert any(answer.finish_reason == "length" for answer in together[:3])
    for row, (answer, limit) in enumerate(zip(together, limits, strict=True)):
        # The same as with the number given: in its own place of the call, which chooses its random numbers.
        shorter = ["x"] * row + [prompts[row]] + ["x"] * (len(prompts) - row - 1)
        explicit = backend.generate(shorter, replace(decoding, max_new_tokens=limit), seed=4)[row]
        assert (answer.text, answer.finish_reason) == (explicit.text, explicit.finish_reason)


def test_a_stream_of_what_fits_is_what_generate_gives(backend: HuggingFaceBackend) -> None:
    fits = replace(SAMPLED, max_new_tokens=None, default_new_tokens=512)
    assert "".join(backend.stream("the cat", fits, 2)) == backend.generate(["the cat"], fits, 2)[0].text
    with pytest.raises(UserError) as caught:
        backend.generate(["x", "x" * 128], fits)
    assert str(caught.value) == (
        "prompt 2 of 2 has 128 tokens: no room for an answer is left in the 128 tokens of tiny's context. Shorten the "
        "prompt."
    )


def test_messages_name_the_flags_that_were_used(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=f"^--model.name {tmp_path}/gone: there is no such folder$"):
        HuggingFaceBackend.load(f"{tmp_path}/gone", flag="--model.name")
    with pytest.raises(UserError, match=f"^--model.name {tmp_path}: is no model folder "):
        HuggingFaceBackend.load(str(tmp_path), flag="--model.name")


def test_a_folder_gives_the_same_answers(backend: HuggingFaceBackend, folder: Path) -> None:
    loaded = HuggingFaceBackend.load(str(folder), device="cpu", batch_size=4)
    decoding = replace(GREEDY, max_new_tokens=8)
    assert loaded.generate(PROMPTS, decoding) == backend.generate(PROMPTS, decoding)
    assert loaded.context_window == 128


def test_a_folder_without_tokenizer(folder: Path) -> None:
    for file in folder.glob("tokenizer*"):
        file.unlink()
    with pytest.raises(UserError) as caught:
        HuggingFaceBackend.load(str(folder), device="cpu")
    assert str(caught.value) == (
        f"--backend.model {folder}: has no tokenizer (none of tokenizer.json, tokenizer.model, spiece.model, "
        "vocab.json, vocab.txt). Save it there with tokenizer.save_pretrained."
    )


def test_a_pickle_is_not_loaded(folder: Path, backend: HuggingFaceBackend) -> None:
    (folder / "model.safetensors").unlink()
    torch.save(backend.network.state_dict(), folder / "pytorch_model.bin")
    with pytest.raises(UserError) as caught:
        HuggingFaceBackend.load(str(folder), device="cpu")
    assert str(caught.value) == (
        f"--backend.model {folder}: has no weights as .safetensors. Other formats may run code when they are read: "
        "convert them where you trust them, with save_pretrained."
    )


def test_code_in_a_folder_is_not_run(folder: Path) -> None:
    settings = json.loads((folder / "config.json").read_text())
    settings |= {"model_type": "strange", "auto_map": {"AutoConfig": "evil.C", "AutoModelForCausalLM": "evil.M"}}
    (folder / "config.json").write_text(json.dumps(settings))
    (folder / "evil.py").write_text(f"open({str(folder / 'ran')!r}, 'w')")
    with pytest.raises(UserError, match="cannot be loaded as a causal language model"):
        HuggingFaceBackend.load(str(folder), device="cpu")
    assert not (folder / "ran").exists()


def test_damaged_and_missing_folders(folder: Path, tmp_path: Path) -> None:
    def message(source: Path | str) -> str:
        with pytest.raises(UserError) as caught:
            HuggingFaceBackend.load(str(source), device="cpu")
        return str(caught.value)

    assert message(tmp_path / "none") == f"--backend.model {tmp_path / 'none'}: there is no such folder"
    assert message("nobody/nothing") == (
        "--backend.model nobody/nothing: there is no such folder, and the hub does not answer or has no such model in "
        "safetensors. Give a folder, or connect to the network."
    )
    (tmp_path / "empty").mkdir()
    assert message(tmp_path / "empty").endswith("is no model folder (no config.json in it)")
    assert message(folder / "config.json").endswith("is a file. Name the folder that holds it.")
    broken = Path(shutil.copytree(folder, tmp_path / "broken"))
    (broken / "model.safetensors").write_bytes(b"\x10" * 40)
    assert "cannot be loaded as a causal language model" in message(broken)
    (broken / "config.json").write_text("{")
    assert message(broken).startswith(f"{broken / 'config.json'}: is damaged (")


def test_a_tokenizer_of_another_model(folder: Path) -> None:
    tokenizer = tiny_tokenizer()
    tokenizer.add_tokens([f"extra{i}" for i in range(50)])
    tokenizer.save_pretrained(folder)
    n = len(tokenizer)
    with pytest.raises(UserError, match=f"its tokenizer has {n} tokens and its model {n - 50}: they do not belong"):
        HuggingFaceBackend.load(str(folder), device="cpu")


@pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has a GPU")
def test_a_gpu_that_is_not_there(folder: Path) -> None:
    with pytest.raises(UserError) as caught:
        HuggingFaceBackend.load(str(folder), device="cuda")
    assert str(caught.value) == ("--backend.device cuda: this machine has no GPU that torch can use. Give auto or cpu.")
