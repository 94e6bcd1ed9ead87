"""Where the parameters and the arithmetic of a decoder go, and how well the machine is used.

A multiplication and an addition count as two floating-point operations (FLOP). Only matrix products are counted, as in
Kaplan et al. 2020, §2.1 and Chowdhery et al. 2022 ("PaLM"), appendix B: the rest is small.
"""

import time
from dataclasses import dataclass

import torch

from transformer_from_scratch.config import ModelConfig


@dataclass(frozen=True)
class Cost:
    """Parameters of a part of the model, and FLOP of its forward pass for one token."""

    part: str
    parameters: int
    flops_per_token: float


def decoder_costs(config: ModelConfig, vocab_size: int) -> list[Cost]:
    """One row a part of `DecoderLM`, all blocks together.

    Attention over a window of T tokens costs 2·T·C for the scores and as much for the weighted values, halved because a
    token sees half of the window on average under a causal mask. Matrix products with embeddings are look-ups: no FLOP.
    """
    layers, width, hidden = config.n_layers, config.d_model, config.d_hidden
    head_width = width // config.n_heads
    kv_width = head_width * (config.n_kv_heads or config.n_heads)
    projections = 2 * width * width + 2 * width * kv_width
    feed_forward = width * hidden * (3 if config.activation == "swiglu" else 2)
    router = width * config.n_experts if config.n_experts > 1 else 0
    used_experts = config.n_chosen_experts if config.n_experts > 1 else 1
    bias = config.bias
    projection_biases = (2 * width + 2 * kv_width) if bias else 0
    feed_forward_biases = (hidden * (2 if config.activation == "swiglu" else 1) + width) if bias else 0
    norm = width * (2 if bias and config.norm == "layer" else 1)
    n_norms = 2 * layers + (1 if config.norm_position == "pre" else 0)
    costs = [
        Cost("token embeddings", vocab_size * width, 0),
        Cost("attention: projections", layers * (projections + projection_biases), 2 * layers * projections),
        Cost("attention: scores and sums", 0, layers * 2 * config.context * width),
        Cost(
            "feed-forward",
            layers * (config.n_experts * (feed_forward + feed_forward_biases) + router),
            2 * layers * (used_experts * feed_forward + router),
        ),
        Cost("normalisation", n_norms * norm, 0),
        Cost("output head", 0 if config.tie_embeddings else vocab_size * width, 2 * vocab_size * width),
    ]
    if config.positions == "learned":
        costs.insert(1, Cost("position embeddings", config.context * width, 0))
    if config.ngram_orders:
        rows = sum(min(config.ngram_rows, vocab_size**order) for order in config.ngram_orders)
        projection = len(config.ngram_orders) * config.ngram_width * width
        costs.insert(1, Cost("n-gram embeddings", rows * config.ngram_width + projection, 2 * projection))
    return costs


def training_flops_per_token(config: ModelConfig, vocab_size: int) -> float:
    """Forward plus backward: the backward pass has two matrix products for each one of the forward pass."""
    return 3 * sum(cost.flops_per_token for cost in decoder_costs(config, vocab_size))


def measured_matmul_rate(device: torch.device, dtype: torch.dtype = torch.float32, size: int = 1024) -> float:
    """FLOP a second that this machine reaches in a large matrix product; the best of five, a fraction of a second
    each."""
    a, b = (torch.randn(size, size, device=device, dtype=dtype) for _ in range(2))
    best = float("inf")
    for _ in range(6):  # the first one warms up
        started = time.perf_counter()
        for _ in range(4):
            torch.mm(a, b)
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        best = min(best, (time.perf_counter() - started) / 4)
    return 2 * size**3 / best
