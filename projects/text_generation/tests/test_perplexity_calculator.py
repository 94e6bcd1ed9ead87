"""Perplexity against a loop that predicts one token at a time."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import GPT2Config, GPT2LMHeadModel, PreTrainedTokenizerFast

from roadmap_shared.errors import UserError
from text_generation.evaluation.perplexity_calculator import (
    context_length,
    measure_perplexity,
    token_losses,
    window_spans,
)

END = "<|endoftext|>"
LINES = ["def add(a, b):", "    return a + b", "the cat sat on the mat", "这部电影很好", "for x in range(10):"] * 3
TEXTS = ["def add(a, b):\n    return a + b\n", "the cat", "这部电影很好 🙂 " * 9, "a"]


@pytest.fixture(scope="module")
def tokenizer():
    bpe = Tokenizer(models.BPE())
    bpe.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    bpe.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=300,
        special_tokens=[END],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    bpe.train_from_iterator(LINES, trainer)
    return PreTrainedTokenizerFast(tokenizer_object=bpe, bos_token=END, eos_token=END, unk_token=END)


@pytest.fixture(scope="module")
def model(tokenizer):
    torch.manual_seed(0)
    config = GPT2Config(
        vocab_size=len(tokenizer), n_positions=32, n_embd=32, n_layer=2, n_head=2, bos_token_id=0, eos_token_id=0
    )
    made = GPT2LMHeadModel(config).double().eval()
    with torch.no_grad():
        for parameter in made.parameters():
            parameter *= 3  # fresh weights find all tokens nearly equally likely, whatever stands before
    return made


@torch.no_grad()
def losses_by_loop(model, ids, window, stride):
    """One forward pass a token: what the description says, and nothing else."""
    losses = []
    for place in range(1, len(ids)):
        begin = 0
        while place >= begin + window:  # the first window that reaches the token predicts it
            begin += stride
        logits = model(torch.tensor([ids[begin:place]])).logits[0, -1]
        losses.append(float(-torch.log_softmax(logits, dim=-1)[ids[place]]))
    return losses


@pytest.mark.parametrize(("window", "stride"), [(2, 1), (8, 1), (8, 3), (8, 7), (32, 16), (31, 5)])
@pytest.mark.parametrize("batch_size", [1, 3])
def test_losses_equal_a_loop(model, tokenizer, window, stride, batch_size):
    sequences = [[0, *tokenizer(text)["input_ids"]] for text in TEXTS]
    found = token_losses(model, sequences, window, stride, batch_size)
    for losses, ids in zip(found, sequences, strict=True):
        np.testing.assert_allclose(losses, losses_by_loop(model, ids, window, stride), rtol=1e-10)


def test_figures(model, tokenizer):
    found = measure_perplexity(model, tokenizer, TEXTS, window=16, stride=4)
    nats = [sum(losses_by_loop(model, [0, *tokenizer(text)["input_ids"]], 16, 4)) for text in TEXTS]
    n_tokens = sum(len(tokenizer(text)["input_ids"]) for text in TEXTS)
    assert [text.nats for text in found.texts] == pytest.approx(nats, rel=1e-10)
    assert found.per_token == pytest.approx(math.exp(sum(nats) / n_tokens), rel=1e-10)
    assert found.per_word == pytest.approx(math.exp(sum(nats) / sum(len(text.split()) for text in TEXTS)), rel=1e-10)
    n_bytes = sum(len(text.encode("utf-8")) for text in TEXTS)
    assert found.per_byte == pytest.approx(math.exp(sum(nats) / n_bytes), rel=1e-10)
    assert found.bits_per_byte == pytest.approx(sum(nats) / math.log(2) / n_bytes, rel=1e-10)
    assert found.bits_per_character == pytest.approx(sum(nats) / math.log(2) / sum(map(len, TEXTS)), rel=1e-10)
    interval = found.bits_per_byte_interval()
    assert interval.estimate == pytest.approx(found.bits_per_byte, rel=1e-12)
    assert interval.low < interval.estimate < interval.high
    assert (found.window, found.stride, found.start_token_id) == (16, 4, 0)
    assert not any(text.n_unknown for text in found.texts)


def test_half_precision_and_training_mode_are_left_as_they_were(model, tokenizer):
    half = GPT2LMHeadModel(model.config).bfloat16().train()
    found = measure_perplexity(half, tokenizer, TEXTS)
    assert half.training
    assert next(half.parameters()).dtype == torch.bfloat16
    assert (found.window, found.stride) == (32, 16)
    assert found.per_token == pytest.approx(len(tokenizer), rel=0.1)  # fresh weights: no better than chance


@settings(derandomize=True, deadline=None)
@given(st.integers(0, 60), st.integers(2, 12), st.data())
def test_spans_predict_every_token_once_with_enough_context(length, window, data):
    stride = data.draw(st.integers(1, window - 1))
    predicted = []
    for span in window_spans(length, window, stride):
        assert span.end - span.begin <= window
        for place in range(span.first_scored, span.end):
            predicted.append(place)
            assert place - span.begin >= min(place, window - stride)
    assert predicted == list(range(1, length))


def test_more_context_gives_a_trained_model_better_predictions(tokenizer):
    torch.manual_seed(0)
    text = "".join(f"{n}: the cat sat on the mat\n" for n in range(40))
    config = GPT2Config(vocab_size=len(tokenizer), n_positions=32, n_embd=32, n_layer=2, n_head=2)
    learner = GPT2LMHeadModel(config).train()
    ids = torch.tensor(tokenizer(text)["input_ids"])
    optimizer = torch.optim.AdamW(learner.parameters(), lr=5e-3)
    for _ in range(40):
        starts = torch.randint(len(ids) - 32, (8,)).tolist()
        batch = torch.stack([ids[start : start + 32] for start in starts])
        learner(batch, labels=batch).loss.backward()
        optimizer.step()
        optimizer.zero_grad()
    by_stride = [measure_perplexity(learner, tokenizer, [text], window=8, stride=n).per_token for n in (1, 7)]
    assert by_stride[0] < by_stride[1]


def test_unknown_tokens_are_counted(model):
    word_level = Tokenizer(models.WordLevel({"<unk>": 0, "<s>": 1, "cat": 2}, unk_token="<unk>"))
    word_level.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=word_level, bos_token="<s>", unk_token="<unk>")
    found = measure_perplexity(model, tokenizer, ["cat dog cat bird", "cat"])
    assert [text.n_unknown for text in found.texts] == [2, 0]
    assert [text.n_tokens for text in found.texts] == [4, 1]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"window": 33}, "window 33 is longer than the model's context of 32 tokens: give at most that"),
        ({"window": 1}, "window 1 must be at least 2 tokens: one to predict, and one before it"),
        ({"window": 8, "stride": 8}, "stride 8 must be at least 1 and below the window of 8 tokens"),
        ({"stride": 0}, "stride 0 must be at least 1 and below the window of 32 tokens"),
        ({"texts": ["a", ""]}, "text 2 is empty: leave it out"),
        ({"texts": ["\ud800"]}, "text 1 holds half of a surrogate pair, which has no UTF-8 form: mend it"),
        ({"texts": []}, "perplexity needs at least one text"),
    ],
)
def test_errors(model, tokenizer, arguments, message):
    texts = arguments.pop("texts", TEXTS)
    with pytest.raises(UserError) as caught:
        measure_perplexity(model, tokenizer, texts, **arguments)
    assert str(caught.value) == message


def test_a_tokenizer_without_marks_needs_a_start_token(model, tokenizer):
    bare = PreTrainedTokenizerFast(tokenizer_object=tokenizer.backend_tokenizer)
    with pytest.raises(UserError) as caught:
        measure_perplexity(model, bare, TEXTS)
    assert str(caught.value) == (
        "the tokenizer has neither a BOS nor an EOS token to stand before a text: give one as start_token_id"
    )
    assert measure_perplexity(model, bare, TEXTS, start_token_id=0) == measure_perplexity(model, tokenizer, TEXTS)


def test_misuse(model, tokenizer):
    with pytest.raises(ValueError, match=r"^give a list of texts, not one string$"):
        measure_perplexity(model, tokenizer, "one")
    with pytest.raises(ValueError, match=r"^stride 4 must be at least 1 and below window 4$"):
        window_spans(10, 4, 4)
    with pytest.raises(ValueError, match=r"^an interval over texts needs at least two of them$"):
        measure_perplexity(model, tokenizer, ["one"]).bits_per_byte_interval()
    assert context_length(model) == 32
