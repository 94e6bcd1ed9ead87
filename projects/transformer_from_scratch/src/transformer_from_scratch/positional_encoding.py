"""Four ways to tell a Transformer where a token stands, behind one interface.

A Transformer without positions sees a *set* of tokens. Position can enter at three places, and each encoding here uses
exactly one of them; the other two stay the identity of the base class:

| encoding                                           | `embed`: added to     | `rotation`: turns     | `bias`: added  |
|                                                    | the token embeddings  | queries and keys      | to the scores  |
|----------------------------------------------------|-----------------------|-----------------------|----------------|
| sinusoidal (Vaswani et al. 2017, §3.5)             | fixed waves           |                       |                |
| learned (Gehring et al. 2017; GPT-2, BERT)         | a trained table       |                       |                |
| rotary (Su et al. 2021, "RoFormer", §3.2)          |                       | position × frequency  |                |
| ALiBi (Press et al. 2022, "Train Short, Test Long")|                       |                       | -slope × steps |

Shapes: B batch, T tokens, H heads, D head width, C model width. Positions are integers, (T,) or (B, T).
"""

import math

import torch
from torch import Tensor, nn

from transformer_from_scratch.config import PositionName


class PositionalEncoding(nn.Module):
    """The three places where a position may enter. A subclass overrides one of them."""

    max_positions: int | None = None
    """Positions beyond this many do not exist for this encoding; None = any position is defined."""

    def embed(self, embeddings: Tensor, positions: Tensor) -> Tensor:
        """(B, T, C) token embeddings -> (B, T, C) that know their position."""
        return embeddings

    def rotation(self, positions: Tensor) -> Tensor | None:
        """How to `rotate` queries and keys: (T, D // 2) or (B, 1, T, D // 2) complex numbers, or None for not at
        all."""
        return None

    def bias(self, query_positions: Tensor, key_positions: Tensor) -> Tensor | None:
        """What to add to the attention scores: (H, Tq, Tk) or (B, H, Tq, Tk), or None for nothing."""
        return None


class NoPosition(PositionalEncoding):
    """No position at all: a decoder still learns order from its causal mask (Haviv et al. 2022)."""


def sinusoidal_table(n_positions: int, d_model: int, base: float = 10_000.0) -> Tensor:
    """(n_positions, C) of sines (even columns) and cosines (odd columns) (Vaswani et al. 2017, §3.5).

    Column 2i holds sin(position / base^(2i/C)), column 2i+1 the cosine of the same angle. An odd C ends with a sine.
    """
    positions = torch.arange(n_positions, dtype=torch.float64)[:, None]  # (n_positions, 1)
    even_columns = torch.arange(0, d_model, 2, dtype=torch.float64)  # (ceil(C / 2),)
    angles = positions * base ** (-even_columns / d_model)  # (n_positions, ceil(C / 2))
    table = torch.zeros(n_positions, d_model, dtype=torch.float64)
    table[:, 0::2] = angles.sin()
    table[:, 1::2] = angles.cos()[:, : d_model // 2]
    return table.float()


class SinusoidalPosition(PositionalEncoding):
    """Fixed waves of geometrically growing wavelength, from 2π to 2π · base tokens."""

    table: Tensor

    def __init__(self, d_model: int, max_positions: int, base: float = 10_000.0) -> None:
        super().__init__()
        self.max_positions = max_positions
        self.register_buffer("table", sinusoidal_table(max_positions, d_model, base), persistent=False)

    def embed(self, embeddings: Tensor, positions: Tensor) -> Tensor:
        return embeddings + self.table[positions].to(embeddings.dtype)


class LearnedPosition(PositionalEncoding):
    """One trained vector a position; knows nothing beyond the last position it was trained on."""

    def __init__(self, d_model: int, max_positions: int) -> None:
        super().__init__()
        self.max_positions = max_positions
        self.table = nn.Embedding(max_positions, d_model)

    def embed(self, embeddings: Tensor, positions: Tensor) -> Tensor:
        return embeddings + self.table(positions)


def rotary_frequencies(head_width: int, base: float = 10_000.0) -> Tensor:
    """(D // 2,) radians a token by which each pair of features turns (Su et al. 2021, eq. 15)."""
    pairs = torch.arange(head_width // 2, dtype=torch.float64)
    return base ** (-2 * pairs / head_width)


def rotate(heads: Tensor, rotation: Tensor) -> Tensor:
    """Turn each pair of neighbouring features (2i, 2i+1) of queries or keys by its angle (Su et al. 2021, eq. 34).

    A pair is one complex number, and turning it is one complex product with e^(i · angle).

    Args:
        heads: (B, H, T, D). The last feature of an odd D stays as it is.
        rotation: complex, (T, D // 2) or (B, 1, T, D // 2).
    """
    n_pairs = rotation.shape[-1]
    n_paired = 2 * n_pairs
    wide = heads.to(torch.promote_types(heads.dtype, torch.float32))  # 16-bit complex numbers do not exist
    paired = wide if n_paired == heads.shape[-1] else wide[..., :n_paired].contiguous()
    pairs = torch.view_as_complex(paired.unflatten(-1, (n_pairs, 2)))  # (B, H, T, D // 2)
    turned = torch.view_as_real(pairs * rotation).flatten(-2).to(heads.dtype)  # (B, H, T, n_paired)
    if n_paired == heads.shape[-1]:
        return turned
    return torch.cat((turned, heads[..., n_paired:]), dim=-1)


class RotaryPosition(PositionalEncoding):
    """Turns each pair of features of queries and keys by position × frequency.

    The product of a turned query and a turned key depends on the difference of their positions alone.
    """

    turns: Tensor

    def __init__(self, head_width: int, max_positions: int, base: float = 10_000.0) -> None:
        super().__init__()
        self.max_positions = max_positions
        angles = torch.outer(torch.arange(max_positions, dtype=torch.float64), rotary_frequencies(head_width, base))
        # Stored as (cos, sin) because a module's .to(dtype) leaves complex buffers alone or breaks them.
        turns = torch.stack((angles.cos(), angles.sin()), dim=-1).float()  # (max_positions, D // 2, 2)
        self.register_buffer("turns", turns, persistent=False)

    def rotation(self, positions: Tensor) -> Tensor:
        turns = self.turns[positions]  # (T, D // 2, 2) or (B, T, D // 2, 2)
        turns = torch.view_as_complex(turns.to(torch.promote_types(turns.dtype, torch.float32)))
        return turns if turns.dim() == 2 else turns[:, None]  # (B, 1, T, D // 2): the same for every head


def alibi_slopes(n_heads: int) -> Tensor:
    """(H,) penalty a token of distance: 2^(-8/H), 2^(-16/H), … for H a power of two (Press et al. 2022, §3).

    Otherwise the slopes of the next smaller power of two, then every second slope of the next larger one, as in the
    authors' code.
    """
    power = 2 ** math.floor(math.log2(n_heads))
    slopes = [2 ** (-8 * (i + 1) / power) for i in range(power)]
    between = [2 ** (-8 * (i + 1) / (2 * power)) for i in range(0, 2 * power, 2)]
    return torch.tensor(slopes + between[: n_heads - power], dtype=torch.float32)


class ALiBiPosition(PositionalEncoding):
    """Subtracts slope × distance from the score: near tokens are preferred, each head at its own range."""

    slopes: Tensor

    def __init__(self, n_heads: int) -> None:
        super().__init__()
        self.register_buffer("slopes", alibi_slopes(n_heads), persistent=False)

    def bias(self, query_positions: Tensor, key_positions: Tensor) -> Tensor:
        distance = (query_positions[..., :, None] - key_positions[..., None, :]).abs()  # (Tq, Tk) or (B, Tq, Tk)
        return -self.slopes[:, None, None] * distance[..., None, :, :]  # (H, Tq, Tk) or (B, H, Tq, Tk)


def build_position(
    name: PositionName, *, d_model: int, n_heads: int, max_positions: int, base: float = 10_000.0
) -> PositionalEncoding:
    """The encoding of that name, for a model `d_model` wide with `n_heads` heads."""
    match name:
        case "none":
            return NoPosition()
        case "sinusoidal":
            return SinusoidalPosition(d_model, max_positions, base)
        case "learned":
            return LearnedPosition(d_model, max_positions)
        case "rotary":
            return RotaryPosition(d_model // n_heads, max_positions, base)
        case "alibi":
            return ALiBiPosition(n_heads)
