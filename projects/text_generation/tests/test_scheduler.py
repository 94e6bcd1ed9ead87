"""Continuous batching: the same answers as one by one, whoever joins and leaves, and nobody harmed by another's end."""

import threading
from collections.abc import Callable, Sequence
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import ByteLevelBPETokenizer
from transformers import (
    DynamicCache,
    GPT2Config,
    GPT2LMHeadModel,
    LlamaConfig,
    LlamaForCausalLM,
    MistralConfig,
    PreTrainedModel,
    PreTrainedTokenizerFast,
)
from transformers.cache_utils import DynamicLayer

from text_generation.backends.answers import Answer
from text_generation.backends.hf import HuggingFaceBackend
from text_generation.backends.types import Generation
from text_generation.config.decoding import DecodingConfig
from text_generation.serving.kv_rows import join_rows, keep_rows, mask_of, rows_can_move
from text_generation.serving.scheduler import Ending, Scheduler, can_batch
from text_generation.serving.scheduler import Sequence as Row

LINES = ["The fox ran over the hill and slept.", "A bird sang in the old tree by the river.", "def add(a, b): return a"]
PROMPTS = ["The fox", "A bird sang in the old tree", "d", "the river by the hill by the river", "sleep é", "add(a"]
GREEDY = DecodingConfig(strategy="greedy", max_new_tokens=12)
SAMPLED = DecodingConfig(temperature=1.3, top_k=40, top_p=0.95, repetition_penalty=1.2, max_new_tokens=12)


@pytest.fixture(scope="module")
def tokenizer() -> PreTrainedTokenizerFast:
    bpe = ByteLevelBPETokenizer()
    bpe.train_from_iterator(LINES, vocab_size=300, special_tokens=["<|endoftext|>"])
    return PreTrainedTokenizerFast(tokenizer_object=bpe._tokenizer, eos_token="<|endoftext|>", model_max_length=64)


def tiny(kind: str, vocabulary: int) -> PreTrainedModel:
    """A model whose greedy texts vary: random weights, enlarged, since small ones repeat one token for ever."""
    torch.manual_seed(5)
    if kind == "gpt2":
        sizes: dict[str, Any] = {"n_embd": 32, "n_layer": 2, "n_head": 2, "n_positions": 64}
        model: PreTrainedModel = GPT2LMHeadModel(
            GPT2Config(vocab_size=vocabulary, bos_token_id=0, eos_token_id=0, **sizes)
        )
    else:  # rotary positions, and fewer heads for keys than for queries
        model = LlamaForCausalLM(
            LlamaConfig(
                vocab_size=vocabulary, hidden_size=32, intermediate_size=48, num_hidden_layers=2, num_attention_heads=4,
                num_key_value_heads=2, max_position_embeddings=64, bos_token_id=0, eos_token_id=0,
            )
        )  # fmt: skip
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.dim() > 1:
                parameter *= 4
    return model.eval()


@pytest.fixture(scope="module", params=["gpt2", "llama"])
def model(request: pytest.FixtureRequest, tokenizer: PreTrainedTokenizerFast) -> HuggingFaceBackend:
    return HuggingFaceBackend(tiny(request.param, len(tokenizer)), tokenizer)


class Heard:
    """What one sequence told."""

    def __init__(self) -> None:
        self.pieces: list[str] = []
        self.endings: list[Ending] = []

    @property
    def answer(self) -> Generation:
        (ending,) = self.endings
        assert isinstance(ending, Generation), ending
        assert "".join(self.pieces) == ending.text
        return ending


def row_of(
    model: HuggingFaceBackend, prompt: str, decoding: DecodingConfig, seed: int = 0, on_text: Callable[[str], Any] = id
) -> tuple[Row, Heard]:
    heard = Heard()

    def hear(text: str) -> None:
        heard.pieces.append(text)
        on_text(text)

    answer = Answer(model.tokenizer, model.encode(prompt), decoding.stop, model.end_tokens)
    return Row(answer, decoding, seed, hear, heard.endings.append), heard


def play(
    model: HuggingFaceBackend, jobs: Sequence[tuple[str, DecodingConfig, int, int]], **options: int
) -> list[Heard]:
    """Run jobs (prompt, decoding, seed, step of arrival) to their end, step by step, without a thread."""
    scheduler = Scheduler(model.network, **options)
    rows = [row_of(model, prompt, decoding, seed) for prompt, decoding, seed, _ in jobs]
    for step in range(200):
        for (row, _), job in zip(rows, jobs, strict=True):
            if job[3] == step:
                scheduler.submit(row)
        scheduler.step()
        if all(heard.endings for _, heard in rows):
            return [heard for _, heard in rows]
    raise AssertionError("not done after 200 steps")


def test_the_same_answers_as_one_by_one_whoever_joins_and_leaves(model: HuggingFaceBackend) -> None:
    jobs = [
        (prompt, DecodingConfig(strategy="greedy", max_new_tokens=3 + 4 * (n % 4)), 0, n // 2)
        for n, prompt in enumerate(PROMPTS * 2)
    ]
    alone = [model.generate([prompt], decoding)[0] for prompt, decoding, _, _ in jobs]
    assert len({answer.text for answer in alone}) >= len(PROMPTS)  # the texts differ: a mixed-up row would show
    for heard, expected in zip(play(model, jobs), alone, strict=True):
        got = heard.answer
        assert (got.text, got.finish_reason, got.new_tokens) == (
            expected.text, expected.finish_reason, expected.new_tokens,
        )  # fmt: skip
        assert got.logprob == pytest.approx(expected.logprob, abs=1e-4)


def test_a_sampled_answer_depends_on_its_seed_and_not_on_its_company(model: HuggingFaceBackend) -> None:
    jobs = [(prompt, SAMPLED, seed, seed % 3) for seed, prompt in enumerate(PROMPTS)]
    mixed = [*jobs, ("The hill", GREEDY, 0, 1), ("The tree", DecodingConfig(min_p=0.1, max_new_tokens=9), 3, 2)]
    expected = [model.generate([prompt], decoding, seed)[0].text for prompt, decoding, seed, _ in mixed]
    assert [heard.answer.text for heard in play(model, mixed)] == expected


@settings(max_examples=15, deadline=None)
@given(
    st.lists(
        st.tuples(st.sampled_from(PROMPTS), st.integers(1, 9), st.integers(0, 6), st.integers(0, 3)),
        min_size=1, max_size=7,
    ),
    st.integers(1, 40),
)  # fmt: skip
def test_any_timetable(
    tokenizer: PreTrainedTokenizerFast, plan: list[tuple[str, int, int, int]], prefill_tokens: int
) -> None:
    model = HuggingFaceBackend(tiny("gpt2", len(tokenizer)), tokenizer)
    jobs = [
        (prompt, DecodingConfig(temperature=1.2, max_new_tokens=n_new), seed, arrival)
        for prompt, n_new, arrival, seed in plan
    ]
    expected = [model.generate([prompt], decoding, seed)[0].text for prompt, decoding, seed, _ in jobs]
    assert [heard.answer.text for heard in play(model, jobs, prefill_tokens=prefill_tokens)] == expected


def test_stop_sequences_and_the_end_token_end_a_row(model: HuggingFaceBackend) -> None:
    whole = model.generate(["The fox"], GREEDY)[0]
    stop = whole.text[len(whole.text) // 2 :][:2]
    decoding = DecodingConfig(strategy="greedy", max_new_tokens=12, stop=(stop,))
    stopped, other = play(model, [("The fox", decoding, 0, 0), ("A bird", GREEDY, 0, 0)])
    assert (stopped.answer.text, stopped.answer.finish_reason) == (whole.text.partition(stop)[0], "stop")
    assert other.answer.text == model.generate(["A bird"], GREEDY)[0].text

    tokens = model.tokenizer(whole.text)["input_ids"]
    ending = HuggingFaceBackend(model.network, model.tokenizer)
    ending.end_tokens = frozenset({tokens[0]})
    (heard,) = play(ending, [("The fox", GREEDY, 0, 0)])
    assert (heard.answer.text, heard.answer.new_tokens, heard.answer.finish_reason) == ("", 0, "stop")


def test_a_cancelled_row_leaves_within_a_step_and_the_others_go_on(model: HuggingFaceBackend) -> None:
    scheduler = Scheduler(model.network)
    (gone, left), (stays, heard) = row_of(model, PROMPTS[1], GREEDY), row_of(model, PROMPTS[0], GREEDY)
    scheduler.submit(gone)
    scheduler.submit(stays)
    scheduler.step()
    scheduler.step()
    tokens = len(gone.answer.tokens)
    gone.cancelled.set()
    scheduler.step()
    assert left.endings == [None]
    assert len(gone.answer.tokens) == tokens
    assert scheduler.n_running == 1
    late, unheard = row_of(model, PROMPTS[2], GREEDY)
    late.cancelled.set()
    scheduler.submit(late)
    for _ in range(15):
        scheduler.step()
    assert (unheard.pieces, unheard.endings) == ([], [None])
    assert heard.answer.text == model.generate([PROMPTS[0]], GREEDY)[0].text
    assert scheduler.n_running == 0
    assert scheduler._cache is None


@pytest.mark.parametrize("poison", [torch.nan, torch.inf, -torch.inf])
@pytest.mark.parametrize("decoding", [GREEDY, SAMPLED], ids=["greedy", "sampled"])
def test_a_failing_reader_and_broken_logits_end_one_row_alone(
    model: HuggingFaceBackend, decoding: DecodingConfig, poison: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(text: str) -> None:
        raise ZeroDivisionError

    scheduler = Scheduler(model.network)
    bad, ended = row_of(model, PROMPTS[0], decoding, on_text=fail)
    good, heard = row_of(model, PROMPTS[1], decoding)
    broken, unheard = row_of(model, PROMPTS[2], decoding)
    forward = scheduler._forward

    def poisoned(sequences: list[Row], cache: DynamicCache) -> torch.Tensor:
        logits = forward(sequences, cache).clone()
        if broken in sequences:
            logits[sequences.index(broken)] = poison
        return logits

    monkeypatch.setattr(scheduler, "_forward", poisoned)
    for row in (bad, good, broken):
        scheduler.submit(row)
    for _ in range(15):
        scheduler.step()
    assert isinstance(ended.endings[0], ZeroDivisionError)
    assert str(unheard.endings[0]) == "the model's logits are not numbers"
    assert heard.answer.text == model.generate([PROMPTS[1]], decoding)[0].text


def test_out_of_memory_ends_those_concerned_and_the_scheduler_goes_on(
    model: HuggingFaceBackend, monkeypatch: pytest.MonkeyPatch
) -> None:
    scheduler = Scheduler(model.network)
    first, heard = row_of(model, PROMPTS[0], GREEDY)
    scheduler.submit(first)
    scheduler.step()
    forward = scheduler._forward

    def out_of_memory(*_: object) -> torch.Tensor:
        raise MemoryError

    monkeypatch.setattr(scheduler, "_join", out_of_memory)  # anywhere between two forward passes
    scheduler.step()
    assert isinstance(heard.endings[0], MemoryError)
    monkeypatch.undo()

    second, too_late = row_of(model, PROMPTS[1], GREEDY)
    monkeypatch.setattr(scheduler, "_forward", out_of_memory)
    scheduler.submit(second)
    scheduler.step()
    assert isinstance(too_late.endings[0], MemoryError)
    monkeypatch.setattr(scheduler, "_forward", forward)
    third, fine = row_of(model, PROMPTS[2], GREEDY)
    scheduler.submit(third)
    for _ in range(13):
        scheduler.step()
    assert fine.answer.text == model.generate([PROMPTS[2]], GREEDY)[0].text


def test_a_step_takes_in_newcomers_within_its_budget(model: HuggingFaceBackend) -> None:
    scheduler = Scheduler(model.network, prefill_tokens=2 * len(model.encode(PROMPTS[3])))
    for prompt in (PROMPTS[3], PROMPTS[0], PROMPTS[1], PROMPTS[2]):
        scheduler.submit(row_of(model, prompt, GREEDY)[0])
    running = []
    for _ in range(2):
        scheduler.step()
        running.append(scheduler.n_running)
    assert running == [2, 4]


def test_the_thread_serves_and_closing_cancels(model: HuggingFaceBackend) -> None:
    scheduler = Scheduler(model.network)
    scheduler.start()
    done = threading.Event()
    long = DecodingConfig(strategy="greedy", max_new_tokens=50, repetition_penalty=5.0)
    row, heard = row_of(model, PROMPTS[0], GREEDY, on_text=lambda _: done.set())
    scheduler.submit(row)
    assert done.wait(60)
    others = [row_of(model, PROMPTS[2], long) for _ in range(3)]
    for other, _ in others:
        scheduler.submit(other)
    scheduler.close()
    late, unheard = row_of(model, PROMPTS[0], GREEDY)
    scheduler.submit(late)
    assert unheard.endings == [None]
    for ending in (heard, *(other for _, other in others)):
        assert len(ending.endings) == 1


def test_beam_search_is_no_single_row(model: HuggingFaceBackend) -> None:
    with pytest.raises(ValueError, match=r"^a sequence is one row: greedy or sampling, not beam search$"):
        row_of(model, "The", DecodingConfig(strategy="beam_search"))


def cache_of(*rows: tuple[int, ...]) -> DynamicCache:
    """One layer whose keys and values count: (B, 1, T, 1)."""
    keys = torch.tensor(rows, dtype=torch.float)[:, None, :, None]
    cache = DynamicCache()
    cache.update(keys, keys + 100, 0)
    return cache


def test_rows_join_on_the_right_edge_and_leave_with_their_padding() -> None:
    cache = cache_of((1, 2, 3))
    join_rows(cache, cache_of((0, 4, 5, 6, 7), (0, 0, 0, 8, 9)))
    (layer,) = cache.layers
    assert isinstance(layer, DynamicLayer)
    assert layer.keys is not None
    assert layer.values is not None
    keys = layer.keys[:, 0, :, 0].tolist()
    assert [row[-n:] for row, n in zip(keys, (3, 4, 2), strict=True)] == [[1, 2, 3], [4, 5, 6, 7], [8, 9]]
    assert layer.values[0, 0, -3:, 0].tolist() == [101, 102, 103]
    keep_rows(cache, [0, 2], 3)
    assert layer.keys[:, 0, :, 0].tolist() == [[1, 2, 3], [0, 8, 9]]
    assert layer.values[1, 0, -2:, 0].tolist() == [108, 109]
    assert mask_of([3, 2], 3, torch.device("cpu")).tolist() == [[1, 1, 1], [0, 1, 1]]


def test_which_models_can_batch(model: HuggingFaceBackend) -> None:
    assert can_batch(model.network)
    assert not rows_can_move(MistralConfig(sliding_window=8, num_hidden_layers=2))
