"""A Transformer block: attention and feed-forward, each with a residual connection and a normalisation.

`pre`-norm (x + f(norm(x)); GPT-2 §2.3, Xiong et al. 2020) trains stably and is the default; `post`-norm (norm(x +
f(x)); Vaswani et al. 2017, §3.1, and BERT) is the original, and needs a warm-up.
"""

import torch.nn.functional as F
from torch import Tensor, nn

from transformer_from_scratch.attention import KVCache, MultiHeadAttention
from transformer_from_scratch.config import ModelConfig
from transformer_from_scratch.feed_forward import FeedForward, MixtureOfExperts
from transformer_from_scratch.normalization import build_norm


class Residual(nn.Module):
    """x + f(x) around one sub-layer, with the normalisation before or after it."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.norm = build_norm(config.norm, config.d_model, bias=config.bias)
        self.pre_norm = config.norm_position == "pre"
        self.dropout = config.dropout

    def enter(self, x: Tensor) -> Tensor:
        """What the sub-layer sees."""
        return self.norm(x) if self.pre_norm else x

    def leave(self, x: Tensor, output: Tensor) -> Tensor:
        """The residual sum of the sub-layer's input and output."""
        if self.training and self.dropout:
            output = F.dropout(output, self.dropout)
        return x + output if self.pre_norm else self.norm(x + output)


class TransformerBlock(nn.Module):
    """Self-attention, then (in a decoder with an encoder) cross-attention, then feed-forward.

    Args:
        config: width, heads, normalisation, activation, experts.
        cross_attention: whether the block also attends to an encoder's output.
    """

    def __init__(self, config: ModelConfig, *, cross_attention: bool = False) -> None:
        super().__init__()
        self.attention = build_attention(config)
        self.attention_residual = Residual(config)
        self.cross_attention = build_attention(config) if cross_attention else None
        self.cross_residual = Residual(config) if cross_attention else None
        self.feed_forward = build_feed_forward(config)
        self.feed_forward_residual = Residual(config)

    def forward(
        self,
        x: Tensor,
        *,
        mask: Tensor | None = None,
        causal: bool = False,
        bias: Tensor | None = None,
        rotation: Tensor | None = None,
        cache: KVCache | None = None,
        memory: Tensor | None = None,
        memory_mask: Tensor | None = None,
        memory_cache: KVCache | None = None,
        return_weights: bool = False,
    ) -> tuple[Tensor, Tensor | None]:
        """(B, T, C) -> (B, T, C) and the self-attention weights (B, H, T, Tk) or None.

        `mask`, `causal`, `bias`, `rotation`, `cache` as in `MultiHeadAttention.forward`; `memory` (B, S, C) and
        `memory_mask`, broadcastable to (B, H, T, S), for the cross-attention.
        """
        residual = self.attention_residual
        attended, weights = self.attention(
            residual.enter(x),
            mask=mask,
            causal=causal,
            bias=bias,
            rotation=rotation,
            cache=cache,
            return_weights=return_weights,
        )
        x = residual.leave(x, attended)
        if self.cross_attention is not None and self.cross_residual is not None:
            residual = self.cross_residual
            attended, _ = self.cross_attention(residual.enter(x), memory=memory, mask=memory_mask, cache=memory_cache)
            x = residual.leave(x, attended)
        residual = self.feed_forward_residual
        x = residual.leave(x, self.feed_forward(residual.enter(x)))
        return x, weights


def build_attention(config: ModelConfig) -> MultiHeadAttention:
    """The attention that `config` describes."""
    return MultiHeadAttention(
        config.d_model,
        config.n_heads,
        n_kv_heads=config.n_kv_heads,
        bias=config.bias,
        dropout=config.dropout,
        qk_norm=config.qk_norm,
    )


def build_feed_forward(config: ModelConfig) -> FeedForward | MixtureOfExperts:
    """One feed-forward network, or several to choose from."""
    if config.n_experts > 1:
        return MixtureOfExperts(
            config.d_model,
            config.d_hidden,
            config.activation,
            n_experts=config.n_experts,
            n_chosen=config.n_chosen_experts,
            bias=config.bias,
            dropout=config.dropout,
        )
    return FeedForward(config.d_model, config.d_hidden, config.activation, bias=config.bias, dropout=config.dropout)
