"""Token embeddings, and those of n-grams."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from transformer_from_scratch.config import ModelConfig
from transformer_from_scratch.embeddings import NgramEmbedding, TokenEmbedding, latest_ngrams, ngram_rows
from transformer_from_scratch.models import DecoderLM

SMALL = ModelConfig(n_layers=1, d_model=8, n_heads=2, d_hidden=8, context=16, ngram_orders=(2, 3), ngram_width=4)


def test_scaled_embeddings_are_multiplied_by_the_root_of_the_width() -> None:
    torch.manual_seed(0)
    embedding = TokenEmbedding(ModelConfig(d_model=24, n_heads=2, scale_embeddings=True), 11)
    tokens = torch.randint(11, (2, 3))
    torch.testing.assert_close(embedding(tokens), embedding.embedding.weight[tokens] * math.sqrt(24))
    hidden = torch.randn(1, 2, 24)  # the way back is not scaled
    assert torch.equal(embedding.logits(hidden), hidden @ embedding.embedding.weight.T)


@given(
    rows=st.lists(st.lists(st.one_of(st.none(), st.integers(0, 9)), min_size=6, max_size=6), min_size=1, max_size=3),
    before=st.lists(st.integers(0, 9), max_size=2),
)
@settings(derandomize=True, deadline=None, max_examples=200)
def test_latest_ngrams_equal_a_loop_over_real_tokens(rows: list[list[int | None]], before: list[int]) -> None:
    earlier = [-1] * (2 - len(before)) + before
    tokens = torch.tensor([[5 if token is None else token for token in row] for row in rows])
    is_token = torch.tensor([[token is not None for token in row] for row in rows])
    actual = latest_ngrams(torch.tensor([earlier] * len(rows)), tokens, is_token)
    for row, found in zip(rows, actual.tolist(), strict=True):
        real = list(before)
        for token, ngram in zip(row, found, strict=True):
            if token is not None:
                real.append(token)
            newest = real[-3:]
            assert ngram == [-1] * (3 - len(newest)) + newest


def test_latest_ngrams_without_padding_are_the_same() -> None:
    tokens = torch.randint(9, (3, 7), generator=torch.Generator().manual_seed(1))
    before = torch.tensor([[-1, -1], [-1, 4], [2, 3]])
    everything = torch.ones_like(tokens, dtype=torch.bool)
    assert torch.equal(latest_ngrams(before, tokens, None), latest_ngrams(before, tokens, everything))


def test_each_ngram_has_a_row_of_its_own_where_there_is_room() -> None:
    every = torch.cartesian_prod(torch.arange(5), torch.arange(5), torch.arange(5))
    assert sorted(ngram_rows(every, 5, 125).tolist()) == list(range(125))
    assert ngram_rows(torch.tensor([1, 2, 3]), 5, 125).item() == 1 * 25 + 2 * 5 + 3


@pytest.mark.parametrize("vocab_size", [40, 5000])
def test_hashed_rows_are_in_range_and_spread_evenly(vocab_size: int) -> None:
    ngrams = torch.randint(vocab_size, (20_000, 3), generator=torch.Generator().manual_seed(0))
    rows = ngram_rows(ngrams, vocab_size, 100)
    counts = torch.bincount(rows, minlength=100)
    assert len(counts) == 100
    # 200 a row on average, with a standard deviation of 14.
    assert counts.min() > 130
    assert counts.max() < 270


def test_ngram_embedding_is_the_projection_of_its_rows() -> None:
    torch.manual_seed(0)
    embedding = NgramEmbedding(5, (2, 3), n_rows=1000, width=4, d_model=6)
    bigrams, trigrams = (table.weight for table in embedding.tables)
    assert (len(bigrams), len(trigrams)) == (25, 125)
    actual = embedding(torch.tensor([[[-1, -1, 2], [-1, 2, 4], [2, 4, 1]]]))[0]
    nothing = torch.zeros(4)
    expected = torch.stack(
        (
            torch.cat((nothing, nothing)),
            torch.cat((bigrams[2 * 5 + 4], nothing)),
            torch.cat((bigrams[4 * 5 + 1], trigrams[2 * 25 + 4 * 5 + 1])),
        )
    )
    torch.testing.assert_close(actual, expected @ embedding.projection.weight.T)


def test_untrained_ngrams_add_nothing() -> None:
    torch.manual_seed(0)
    model = DecoderLM(SMALL, 7)
    tokens = torch.randint(7, (2, 9))
    assert torch.equal(model.embed(tokens, None, None), model.tokens(tokens))


def test_model_reaches_over_padding() -> None:
    torch.manual_seed(0)
    model = DecoderLM(SMALL, 11)
    assert model.ngrams is not None
    for table in model.ngrams.tables:
        torch.nn.init.normal_(table.weight)
    plain = model.embed(torch.tensor([[7, 3, 9]]), None, None)
    assert not torch.allclose(plain, model.tokens(torch.tensor([[7, 3, 9]])))
    spread = torch.tensor([[0, 7, 0, 0, 3, 9, 0]])
    is_token = torch.tensor([[False, True, False, False, True, True, False]])
    torch.testing.assert_close(model.embed(spread, is_token, None)[is_token], plain[0])
