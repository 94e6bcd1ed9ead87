"""Positional encodings, element by element in float64 and against Hugging Face's Llama and BLOOM."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor
from transformers import LlamaConfig
from transformers.models.bloom.modeling_bloom import build_alibi_tensor
from transformers.models.llama.modeling_llama import LlamaRotaryEmbedding, apply_rotary_pos_emb

from transformer_from_scratch.positional_encoding import (
    ALiBiPosition,
    LearnedPosition,
    NoPosition,
    RotaryPosition,
    SinusoidalPosition,
    alibi_slopes,
    build_position,
    rotate,
    sinusoidal_table,
)

POSITIONS = torch.tensor([0, 3, 1, 9])
BATCH_POSITIONS = torch.tensor([[0, 3, 1, 9], [5, 5, 0, 2]])


@pytest.fixture(autouse=True)
def _seed():
    torch.manual_seed(0)


@pytest.mark.parametrize("name", ["none", "sinusoidal", "learned", "rotary", "alibi"])
def test_each_encoding_enters_at_its_own_place_only(name):
    encoding = build_position(name, d_model=8, n_heads=2, max_positions=16)
    x = torch.randn(2, 4, 8)
    embedded = not torch.equal(encoding.embed(x, POSITIONS), x)
    rotated = encoding.rotation(POSITIONS) is not None
    biased = encoding.bias(POSITIONS, POSITIONS) is not None
    places = {"sinusoidal": "embed", "learned": "embed", "rotary": "rotate", "alibi": "bias"}
    assert {"embed": embedded, "rotate": rotated, "bias": biased} == {
        place: places.get(name) == place for place in ("embed", "rotate", "bias")
    }


def test_build_position_passes_sizes_and_base_on():
    sizes = {"d_model": 12, "n_heads": 3, "max_positions": 5, "base": 50.0}
    sinusoidal = build_position("sinusoidal", **sizes)
    assert isinstance(sinusoidal, SinusoidalPosition)
    assert torch.equal(sinusoidal.table, sinusoidal_table(5, 12, 50.0))
    rotary = build_position("rotary", **sizes)
    assert isinstance(rotary, RotaryPosition)
    assert torch.equal(rotary.rotation(torch.arange(5)), RotaryPosition(4, 5, 50.0).rotation(torch.arange(5)))
    learned = build_position("learned", **sizes)
    assert isinstance(learned, LearnedPosition)
    assert learned.table.weight.shape == (5, 12)
    alibi = build_position("alibi", **sizes)
    assert isinstance(alibi, ALiBiPosition)
    assert torch.equal(alibi.slopes, alibi_slopes(3))
    limits = {name: build_position(name, **sizes).max_positions for name in ("none", "alibi")}
    assert limits == {"none": None, "alibi": None}
    assert sinusoidal.max_positions == rotary.max_positions == learned.max_positions == 5


# --- added to the embeddings ----------------------------------------------------------------------


@pytest.mark.parametrize("width", [1, 2, 5, 8])
@pytest.mark.parametrize("base", [10_000.0, 7.0])
def test_sinusoidal_table_is_the_formula_of_the_paper(width, base):
    table = sinusoidal_table(300, width, base)
    for position in (0, 1, 17, 299):
        for column in range(width):
            angle = position / base ** (2 * (column // 2) / width)
            expected = math.cos(angle) if column % 2 else math.sin(angle)
            assert abs(table[position, column].item() - expected) < 6e-8  # one rounding to float32


def test_sinusoidal_is_added_at_the_given_positions():
    encoding, x = SinusoidalPosition(5, 16), torch.randn(2, 4, 5)
    table = sinusoidal_table(16, 5)
    assert torch.equal(encoding.embed(x, POSITIONS), x + torch.stack([table[p] for p in (0, 3, 1, 9)]))
    assert torch.equal(encoding.embed(x, BATCH_POSITIONS)[1], x[1] + table[[5, 5, 0, 2]])


def test_learned_adds_its_rows_and_trains_only_those():
    encoding, x = LearnedPosition(5, 16), torch.randn(2, 4, 5)
    rows = encoding.table.weight
    assert torch.equal(encoding.embed(x, POSITIONS), x + rows[[0, 3, 1, 9]])
    assert torch.equal(encoding.embed(x, BATCH_POSITIONS)[1], x[1] + rows[[5, 5, 0, 2]])
    encoding.embed(x, POSITIONS).sum().backward()
    assert rows.grad is not None
    # Each position is used by both rows of the batch.
    assert rows.grad.sum(dim=1).tolist() == [10.0 if p in (0, 1, 3, 9) else 0.0 for p in range(16)]


# --- rotary ---------------------------------------------------------------------------------------


def turned(heads: Tensor, positions: list[int], base: float = 10_000.0) -> Tensor:
    """(B, H, T, D) in float64: each pair of neighbours times its rotation matrix."""
    result, width = heads.double().clone(), heads.shape[-1]
    for t, position in enumerate(positions):
        for i in range(width // 2):
            angle = position * base ** (-2 * i / width)
            matrix = torch.tensor(
                [[math.cos(angle), -math.sin(angle)], [math.sin(angle), math.cos(angle)]],
                dtype=torch.float64,
            )
            pair = slice(2 * i, 2 * i + 2)
            result[:, :, t, pair] = heads[:, :, t, pair].double() @ matrix.T
    return result


@pytest.mark.parametrize("width", [1, 2, 5, 7, 8])
@pytest.mark.parametrize("transposed", [False, True])
def test_rotation_is_the_formula_of_the_paper(width, transposed):
    heads = torch.randn(2, 4, 3, width).transpose(1, 2) if transposed else torch.randn(2, 3, 4, width)
    actual = rotate(heads, RotaryPosition(width, 16, 100.0).rotation(POSITIONS))
    torch.testing.assert_close(actual.double(), turned(heads, [0, 3, 1, 9], 100.0), rtol=0, atol=1e-6)
    assert torch.equal(actual[:, :, 0], heads[:, :, 0])  # position 0 does not turn


def test_rotation_by_row_of_the_batch():
    heads, rotary = torch.randn(2, 3, 4, 6), RotaryPosition(6, 16)
    actual = rotate(heads, rotary.rotation(BATCH_POSITIONS))
    for row in range(2):
        expected = rotate(heads[row : row + 1], rotary.rotation(BATCH_POSITIONS[row]))
        assert torch.equal(actual[row : row + 1], expected)


@given(st.integers(0, 40), st.integers(0, 40), st.integers(0, 23))
def test_scores_depend_on_the_distance_alone(query_position, key_position, shift):
    rotary = RotaryPosition(6, 64).double()
    query, key = torch.randn(2, 1, 1, 1, 6, dtype=torch.float64, generator=torch.Generator().manual_seed(0))

    def score(at_query: int, at_key: int) -> float:
        turned_query = rotate(query, rotary.rotation(torch.tensor([at_query])))
        return (turned_query * rotate(key, rotary.rotation(torch.tensor([at_key])))).sum().item()

    moved = score(query_position + shift, key_position + shift)
    assert moved == pytest.approx(score(query_position, key_position), abs=1e-6)


def test_scores_change_with_the_distance():
    ones = rotate(torch.ones(1, 1, 8, 6), RotaryPosition(6, 8).rotation(torch.arange(8)))[0, 0]
    scores = (ones[0] * ones).sum(dim=-1)
    expected = [sum(2 * math.cos(distance * 10_000 ** (-i / 3)) for i in range(3)) for distance in range(8)]
    torch.testing.assert_close(scores, torch.tensor(expected), rtol=0, atol=1e-5)


def test_equals_llama_after_interleaving():
    # Llama pairs feature i with i + D/2; we pair neighbours, as the paper does. A permutation of the features
    # maps one onto the other.
    width, n_tokens = 8, 12
    query, key = torch.randn(2, 2, 3, n_tokens, width)
    config = LlamaConfig(hidden_size=2 * width, num_attention_heads=2, head_dim=width, max_position_embeddings=64)
    cos, sin = LlamaRotaryEmbedding(config)(query, torch.arange(n_tokens)[None])
    order = torch.stack((torch.arange(0, 4), torch.arange(4, 8)), dim=1).flatten()  # 0 4 1 5 2 6 3 7
    rotation = RotaryPosition(width, 64).rotation(torch.arange(n_tokens))
    for ours, llama in zip((query, key), apply_rotary_pos_emb(query, key, cos, sin), strict=True):
        torch.testing.assert_close(rotate(ours[..., order], rotation), llama[..., order], rtol=0, atol=2e-6)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float64])
@pytest.mark.parametrize("name", ["sinusoidal", "learned", "rotary", "alibi"])
def test_modules_work_in_other_precisions(name, dtype):
    torch.manual_seed(0)
    encoding = build_position(name, d_model=10, n_heads=2, max_positions=16)
    x, heads = torch.randn(2, 4, 10), torch.randn(2, 2, 4, 5)

    def outputs(dtype: torch.dtype) -> list[Tensor]:
        rotation, bias = encoding.rotation(POSITIONS), encoding.bias(POSITIONS, POSITIONS)
        results = [encoding.embed(x.to(dtype), POSITIONS)]
        results += [] if rotation is None else [rotate(heads.to(dtype), rotation)]
        return results + ([] if bias is None else [bias])

    expected = outputs(torch.float32)
    encoding.to(dtype)
    for actual, single in zip(outputs(dtype), expected, strict=True):
        assert actual.dtype == dtype
        tolerance = 4 * max(torch.finfo(dtype).eps, torch.finfo(torch.float32).eps)
        torch.testing.assert_close(actual.float(), single, rtol=tolerance, atol=tolerance)


def test_rotation_in_double_keeps_double_precision():
    heads = torch.randn(1, 1, 4, 6, dtype=torch.float64)
    rotary = RotaryPosition(6, 16).double()
    back = rotate(rotate(heads, rotary.rotation(POSITIONS)), rotary.rotation(POSITIONS).conj())
    # The table is stored in float32, so there and back may stretch: by its squared length, and no more.
    stretch = rotary.rotation(POSITIONS).abs().square().repeat_interleave(2, dim=-1)
    torch.testing.assert_close(back, heads * stretch, rtol=1e-14, atol=1e-14)


# --- ALiBi ----------------------------------------------------------------------------------------


def test_slopes_of_eight_heads_are_those_of_the_paper():
    assert alibi_slopes(8).tolist() == [1 / 2, 1 / 4, 1 / 8, 1 / 16, 1 / 32, 1 / 64, 1 / 128, 1 / 256]


@pytest.mark.parametrize("n_heads", [1, 2, 3, 5, 6, 7, 8, 11, 12, 16, 20, 48])
def test_slopes_equal_bloom(n_heads):
    bloom = build_alibi_tensor(torch.ones(1, 2, dtype=torch.long), n_heads, torch.float32)  # (H, 1, 2): 0, slope
    torch.testing.assert_close(alibi_slopes(n_heads), bloom[:, 0, 1], rtol=1e-6, atol=0)


def test_bias_is_minus_slope_times_distance():
    queries, keys = torch.tensor([4, 5]), torch.tensor([0, 1, 2, 3, 4, 5])
    bias = ALiBiPosition(3).bias(queries, keys)
    slopes = [1 / 16, 1 / 256, 1 / 4]
    expected = [[[-slope * abs(q - k) for k in range(6)] for q in (4, 5)] for slope in slopes]
    assert bias.tolist() == expected


def test_bias_by_row_of_the_batch():
    alibi = ALiBiPosition(2)
    bias = alibi.bias(BATCH_POSITIONS, BATCH_POSITIONS)
    assert bias.shape == (2, 2, 4, 4)
    for row in range(2):
        assert torch.equal(bias[row], alibi.bias(BATCH_POSITIONS[row], BATCH_POSITIONS[row]))


def test_no_position_is_the_identity():
    x = torch.randn(1, 4, 6)
    assert NoPosition().embed(x, POSITIONS) is x
