"""Beam search, against the enumeration of every continuation and against Hugging Face."""

import functools
import operator
from collections import Counter
from collections.abc import Callable
from itertools import product
from pathlib import Path
from typing import Any

import pytest
import torch

from roadmap_shared.errors import UserError
from transformer_from_scratch.beam_search import beam_search
from transformer_from_scratch.config import ModelConfig
from transformer_from_scratch.generate import generate
from transformer_from_scratch.gpt2 import load_gpt2
from transformer_from_scratch.models import DecoderLM

PROMPT = [2, 0, 1]


def build(vocab_size: int, **settings: Any) -> DecoderLM:
    shape: dict[str, Any] = {"n_layers": 2, "d_model": 16, "n_heads": 2, "d_hidden": 32, "context": 12}
    shape["tie_embeddings"] = False
    with torch.random.fork_rng():
        torch.manual_seed(11)
        model = DecoderLM(ModelConfig(**shape | settings), vocab_size).eval()
        if model.ngrams is not None:
            with torch.no_grad():
                for table in model.ngrams.tables.parameters():  # fresh ones are zero and would add nothing
                    table.normal_()
        return model


@torch.no_grad()
def log_prob(model: DecoderLM, prompt: list[int], tokens: tuple[int, ...]) -> float:
    """Log-probability of a whole continuation, from one pass over it."""
    logits = model(torch.tensor([[*prompt, *tokens]]))[0, len(prompt) - 1 : -1]
    return float(logits.log_softmax(-1)[range(len(tokens)), list(tokens)].sum())


def every_continuation(vocab_size: int, n_new: int, end_token: int | None) -> list[tuple[int, ...]]:
    """All sequences that end with `end_token`, or with the n-th token."""
    sequences = set()
    for tokens in product(range(vocab_size), repeat=n_new):
        end = tokens.index(end_token) + 1 if end_token in tokens else n_new
        sequences.add(tokens[:end])
    return sorted(sequences)


@pytest.mark.parametrize("end_token", [None, 0])
@pytest.mark.parametrize("alpha", [0.0, 0.8, 3.0])
@pytest.mark.parametrize("settings", [{}, {"positions": "alibi", "ngram_orders": (2, 3)}], ids=str)
def test_with_enough_beams_it_finds_every_continuation_in_order(
    end_token: int | None, alpha: float, settings: dict[str, Any]
) -> None:
    vocab_size, n_new = 3, 4
    model = build(vocab_size, **settings)
    scores = {}
    for tokens in every_continuation(vocab_size, n_new, end_token):
        scores[tokens] = log_prob(model, PROMPT, tokens) / ((5 + len(tokens)) / 6) ** alpha
    found = beam_search(model, PROMPT, n_beams=3**4, max_new_tokens=n_new, end_token=end_token, length_penalty=alpha)
    best_first = sorted(scores, key=lambda tokens: -scores[tokens])
    assert [tuple(hypothesis.tokens) for hypothesis in found] == best_first
    torch.testing.assert_close(
        [hypothesis.score for hypothesis in found],
        [scores[tokens] for tokens in best_first],
        rtol=1e-5,
        atol=1e-5,
    )


def test_a_higher_length_penalty_favours_longer_texts() -> None:
    model = build(3)
    lengths = [
        len(beam_search(model, PROMPT, n_beams=81, max_new_tokens=4, end_token=0, length_penalty=alpha)[0].tokens)
        for alpha in (0.0, 8.0)
    ]
    assert lengths[0] < lengths[1]


@pytest.mark.parametrize("n_new", [5, 14])  # 14: the window has to slide
def test_one_beam_is_greedy(n_new: int) -> None:
    model = build(13)
    for prompt in ([1], [5, 5], [3, 1, 4, 1, 5, 9, 2, 6]):
        (expected,) = generate(model, [prompt], max_new_tokens=n_new)
        (found,) = beam_search(model, prompt, n_beams=1, max_new_tokens=n_new)
        assert found.tokens == expected


def test_more_beams_find_a_more_probable_text_than_greedy() -> None:
    model = build(13)
    gains = []
    for prompt in ([token] for token in range(13)):
        (greedy,) = beam_search(model, prompt, n_beams=1, max_new_tokens=6)
        best = beam_search(model, prompt, n_beams=8, max_new_tokens=6)[0]
        assert best.log_prob == pytest.approx(log_prob(model, prompt, tuple(best.tokens)), abs=1e-5)
        gains.append(best.log_prob - greedy.log_prob)
    assert min(gains) > -1e-5
    assert max(gains) > 0.1


def test_beyond_the_context_the_scores_are_those_of_the_sliding_window() -> None:
    model = build(3)
    best = beam_search(model, [1, 2] * 5, n_beams=9, max_new_tokens=4)[0]
    expected = 0.0
    for n, token in enumerate(best.tokens):
        window = ([1, 2] * 5 + best.tokens[:n])[-12:]
        with torch.no_grad():
            expected += float(model(torch.tensor([window]))[0, -1].log_softmax(-1)[token])
    assert best.log_prob == pytest.approx(expected, abs=1e-5)


@pytest.mark.parametrize("n_beams", [2, 3, 5])
@pytest.mark.parametrize("end_rank", [None, 0, 1, 3])
def test_it_finds_what_hugging_face_finds(
    tmp_path: Path, write_gpt2: Callable[..., Any], n_beams: int, end_rank: int | None
) -> None:
    reference = write_gpt2(tmp_path, n_positions=40)
    model, _ = load_gpt2(tmp_path)
    prompts = [[7], [3, 14, 15, 9], [2, 6, 5, 3, 5], [20, 1]]
    # A token that the model often takes ends its texts early, a rarer one late.
    counts = Counter(functools.reduce(operator.iadd, generate(model, prompts, max_new_tokens=10), []))
    end_token = None if end_rank is None else counts.most_common()[end_rank][0]
    lengths = set()
    for prompt in prompts:
        ids = torch.tensor([prompt])
        output = reference.generate(
            ids,
            attention_mask=torch.ones_like(ids),
            num_beams=n_beams,
            num_return_sequences=n_beams,
            do_sample=False,
            max_new_tokens=10,
            length_penalty=0.0,
            early_stopping=False,
            eos_token_id=end_token,
            pad_token_id=28,
            output_scores=True,
            return_dict_in_generate=True,
        )
        found = beam_search(model, prompt, n_beams=n_beams, max_new_tokens=10, end_token=end_token)
        expected = output.sequences[:, len(prompt) :].tolist()
        n_new = [row.index(end_token) + 1 if end_token in row else 10 for row in expected]
        assert [hypothesis.tokens for hypothesis in found] == [row[:n] for row, n in zip(expected, n_new, strict=True)]
        torch.testing.assert_close(
            torch.tensor([hypothesis.score for hypothesis in found]),
            output.sequences_scores,
            rtol=1e-5,
            atol=1e-5,
        )
        lengths |= set(n_new)
    assert lengths == {10} if end_token is None else len(lengths) > 1


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"n_beams": 0}, "n_beams 0 must be at least 1"),
        ({"length_penalty": -1.0}, "length_penalty -1.0 must be a finite number of at least 0"),
        ({"prompt": []}, "prompt 1 is empty: it needs at least one token"),
        ({"max_new_tokens": 0}, "max_new_tokens 0 must be at least 1"),
    ],
)
def test_settings_out_of_range_are_refused(settings: dict[str, Any], message: str) -> None:
    arguments = {"prompt": [1], "n_beams": 2, "max_new_tokens": 3} | settings
    with pytest.raises(UserError) as error:
        beam_search(build(3), **arguments)
    assert str(error.value) == message
