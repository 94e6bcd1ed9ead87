"""Attention against a reference in float64, written out in loops, and against PyTorch's own modules."""

import math

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel

from transformer_from_scratch.attention import (
    KVCache,
    MultiHeadAttention,
    causal_mask,
    combine_masks,
    fast_attention,
    padding_mask,
    repeat_kv,
    scaled_dot_product_attention,
)
from transformer_from_scratch.positional_encoding import ALiBiPosition, RotaryPosition

B, H, D = 2, 4, 6
C = H * D
SELF, CROSS = (6, 6), (4, 7)  # Tq, Tk
MASKS = (
    "none",
    "causal",
    "padding left",
    "padding right",
    "causal + padding left",
    "causal + padding right",
    "arbitrary",
    "nothing to see",
)


@pytest.fixture(autouse=True)
def _seed():
    torch.manual_seed(0)


def relative_error(actual: Tensor, expected: Tensor) -> float:
    return ((actual.double() - expected).abs().max() / expected.abs().max()).item()


def mask_of(kind: str, n_queries: int, n_keys: int) -> Tensor | None:
    """The part of a mask that is given as a tensor; `causal` is a flag of its own."""
    if "padding" in kind:
        is_token = torch.ones(B, n_keys, dtype=torch.bool)
        if "left" in kind:
            is_token[1, :3] = False
        else:
            is_token[1, -3:] = False
        return padding_mask(is_token)
    if kind == "arbitrary":
        mask = torch.rand(B, H, n_queries, n_keys, generator=torch.Generator().manual_seed(3)) < 0.6
        return mask.index_fill(-1, torch.tensor(2), True)
    if kind == "nothing to see":
        mask = torch.ones(B, 1, n_queries, n_keys, dtype=torch.bool)
        mask[0, :, 1] = False  # one query
        mask[1] = False  # a whole row of the batch
        return mask
    return None


def allowed(kind: str, n_queries: int, n_keys: int) -> Tensor:
    """(B, H, Tq, Tk): the whole mask, causality written as a comparison of positions that end together."""
    mask = mask_of(kind, n_queries, n_keys)
    dense = torch.ones(B, H, n_queries, n_keys, dtype=torch.bool)
    dense = dense if mask is None else dense & mask
    for i in range(n_queries):
        for j in range(n_keys):
            if "causal" in kind and n_keys - j < n_queries - i:
                dense[:, :, i, j] = False
    return dense


def reference_attention(query, key, value, mask=None, bias=None):
    """Weights and output of one (T, D) head after the other, one query after the other, in float64."""
    batch, n_heads, n_queries, width = query.shape
    n_keys, group = key.shape[2], n_heads // key.shape[1]
    weights = torch.zeros(batch, n_heads, n_queries, n_keys, dtype=torch.float64)
    output = torch.zeros(batch, n_heads, n_queries, width, dtype=torch.float64)
    for b in range(batch):
        for h in range(n_heads):
            keys, values = key[b, h // group].double(), value[b, h // group].double()
            for i in range(n_queries):
                scores = (query[b, h, i].double() * keys).sum(dim=-1) / math.sqrt(width)
                if bias is not None:
                    scores = scores + bias.expand(weights.shape)[b, h, i]
                exponentials = scores.exp() if mask is None else scores.exp() * mask[b, h, i]
                if exponentials.sum() > 0:
                    weights[b, h, i] = exponentials / exponentials.sum()
                output[b, h, i] = sum(weights[b, h, i, j] * values[j] for j in range(n_keys))
    return output, weights


def random_heads(n_queries: int, n_keys: int, n_kv_heads: int = H, dtype=torch.float32):
    """Queries and keys whose scaled scores have a standard deviation of 2, so that no softmax is flat."""
    generator = torch.Generator().manual_seed(n_queries + 10 * n_kv_heads)
    query = 2 * torch.randn(B, H, n_queries, D, generator=generator, dtype=dtype)
    key = torch.randn(B, n_kv_heads, n_keys, D, generator=generator, dtype=dtype)
    value = torch.randn(B, n_kv_heads, n_keys, D, generator=generator, dtype=dtype)
    return query, key, value


def alibi(n_queries: int, n_keys: int) -> Tensor:
    return ALiBiPosition(H).bias(torch.arange(n_keys - n_queries, n_keys), torch.arange(n_keys))


# --- masks ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("n_queries", "n_keys", "rows"),
    [
        (3, 3, ["100", "110", "111"]),
        (2, 5, ["11110", "11111"]),
        (1, 5, ["11111"]),
    ],
)
def test_causal_mask_ends_at_the_last_key(n_queries, n_keys, rows):
    assert causal_mask(n_queries, n_keys).tolist() == [[mark == "1" for mark in row] for row in rows]


def test_combined_mask_allows_what_every_mask_allows():
    padding = padding_mask(torch.tensor([[True, True, False], [False, True, True]]))
    combined = combine_masks(None, padding, causal_mask(3, 3))
    assert combined is not None
    assert combined[:, 0].int().tolist() == [
        [[1, 0, 0], [1, 1, 0], [1, 1, 0]],
        [[0, 0, 0], [0, 1, 0], [0, 1, 1]],
    ]
    assert combine_masks(None, None) is None


# --- the two functions ----------------------------------------------------------------------------


@pytest.mark.parametrize("kind", MASKS)
@pytest.mark.parametrize("with_bias", [False, True], ids=["", "alibi"])
@pytest.mark.parametrize(("n_queries", "n_keys"), [SELF, CROSS], ids=["self", "cross"])
def test_plain_and_fast_match_the_reference(kind, with_bias, n_queries, n_keys):
    query, key, value = random_heads(n_queries, n_keys)
    bias = alibi(n_queries, n_keys) if with_bias else None
    mask = allowed(kind, n_queries, n_keys)
    expected, expected_weights = reference_attention(query, key, value, mask, bias)
    plain, weights = scaled_dot_product_attention(query, key, value, mask, bias)
    fast = fast_attention(query, key, value, mask, bias)
    assert relative_error(plain, expected) < 1e-6
    assert relative_error(weights, expected_weights) < 1e-6
    assert relative_error(fast, expected) < 1e-6


def test_the_kernels_own_causal_path():
    query, key, value = random_heads(*SELF)
    expected, _ = reference_attention(query, key, value, allowed("causal", *SELF))
    assert relative_error(fast_attention(query, key, value, causal=True), expected) < 1e-6


@pytest.mark.parametrize("n_kv_heads", [4, 2, 1])
def test_key_value_heads_serve_consecutive_query_heads(n_kv_heads):
    query, key, value = random_heads(*SELF, n_kv_heads=n_kv_heads)
    expected, _ = reference_attention(query, key, value)
    assert relative_error(fast_attention(query, repeat_kv(key, H), repeat_kv(value, H)), expected) < 1e-6
    grouped = F.scaled_dot_product_attention(query, key, value, enable_gqa=True)
    torch.testing.assert_close(fast_attention(query, repeat_kv(key, H), repeat_kv(value, H)), grouped)


def test_huge_scores_stay_finite():
    query, key, value = random_heads(*SELF)
    output, weights = scaled_dot_product_attention(1e4 * query, 1e4 * key, value)
    assert output.isfinite().all()
    torch.testing.assert_close(weights.sum(dim=-1), torch.ones(B, H, 6))


@pytest.mark.parametrize("with_bias", [False, True], ids=["", "alibi"])
def test_a_query_that_sees_nothing_gets_zeros_and_finite_gradients(with_bias):
    query, key, value = heads = [tensor.requires_grad_() for tensor in random_heads(*SELF)]
    bias = alibi(*SELF) if with_bias else None
    mask = allowed("nothing to see", *SELF)
    gradients = []
    for output in (
        scaled_dot_product_attention(query, key, value, mask, bias)[0],
        fast_attention(query, key, value, mask, bias),
    ):
        assert output[0, :, 1].abs().max() == 0
        assert output[1].abs().max() == 0
        assert output[0, :, 0].abs().min() > 0
        gradients.append(torch.autograd.grad(output.square().sum(), heads))
    for plain, fast in zip(*gradients, strict=True):
        assert plain[1].abs().max() == 0  # nothing was seen there
        torch.testing.assert_close(plain, fast, rtol=0, atol=1e-6 * plain.abs().max().item())


@pytest.mark.parametrize("kind", MASKS)
@pytest.mark.parametrize("with_bias", [False, True], ids=["", "alibi"])
def test_both_paths_have_the_same_gradients(kind, with_bias):
    query, key, value = (tensor.requires_grad_() for tensor in random_heads(*CROSS, dtype=torch.float64))
    mask = allowed(kind, *CROSS)
    bias = alibi(*CROSS).double().requires_grad_() if with_bias else None
    inputs = [query, key, value] if bias is None else [query, key, value, bias]
    plain, _ = scaled_dot_product_attention(query, key, value, mask, bias)
    fast = fast_attention(query, key, value, mask, bias)
    plain, fast = (torch.autograd.grad(output.sin().sum(), inputs) for output in (plain, fast))
    for a, b in zip(plain, fast, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-9, atol=1e-12)


def test_plain_path_passes_gradcheck():
    heads = [tensor[:1, :2].requires_grad_() for tensor in random_heads(3, 4, dtype=torch.float64)]
    mask = torch.tensor([[True, False, True, True], [False, False, False, False], [True, True, True, False]])
    bias = alibi(3, 4)[:2].double().requires_grad_()
    assert torch.autograd.gradcheck(lambda q, k, v, b: scaled_dot_product_attention(q, k, v, mask, b), (*heads, bias))


def test_dropout_zeroes_weights_and_scales_up_the_others():
    torch.manual_seed(0)
    query, key, value = (torch.randn(8, 4, 32, D) for _ in range(3))
    _, weights = scaled_dot_product_attention(query, key, value)
    output, dropped = scaled_dot_product_attention(query, key, value, dropout=0.25)
    kept = dropped != 0
    assert 0.74 < kept.double().mean() < 0.76  # 32 768 draws: a standard deviation is 0.0024
    torch.testing.assert_close(dropped[kept], weights[kept] / 0.75)
    torch.testing.assert_close(output, dropped @ value)
    # Constant values: an output is 1 without dropout, and 1 in the mean with it.
    fast = fast_attention(query, key, torch.ones_like(value), dropout=0.25)
    assert abs(fast.mean() - 1) < 0.02
    assert fast.std() > 0.05


# --- the module -----------------------------------------------------------------------------------


@torch.no_grad()
def reference_module(attention: MultiHeadAttention, x, memory=None, mask=None, bias=None, positions=None):
    """The same module in float64: heads by slicing, rotation pair by pair, `reference_attention`."""

    def project(linear: nn.Linear, source: Tensor) -> Tensor:
        projected = source.double() @ linear.weight.double().T
        projected = projected if linear.bias is None else projected + linear.bias.double()
        return torch.stack([projected[..., h * D : (h + 1) * D] for h in range(projected.shape[-1] // D)], dim=1)

    source = x if memory is None else memory
    query, key = project(attention.query, x), project(attention.key, source)
    if attention.qk_norm:
        eps = torch.finfo(torch.float32).eps
        query, key = (t / (t.square().mean(dim=-1, keepdim=True) + eps).sqrt() for t in (query, key))
    if positions is not None:
        query, key = turned(query, positions), turned(key, positions)
    heads, weights = reference_attention(query, key, project(attention.value, source), mask, bias)
    output = torch.cat(list(heads.unbind(dim=1)), dim=-1) @ attention.output.weight.double().T
    return output if attention.output.bias is None else output + attention.output.bias.double(), weights


def turned(heads: Tensor, positions) -> Tensor:
    result = heads.clone()
    for t, position in enumerate(positions):
        for i in range(D // 2):
            angle = position / 10_000 ** (2 * i / D)
            x, y = heads[:, :, t, 2 * i], heads[:, :, t, 2 * i + 1]
            result[:, :, t, 2 * i] = x * math.cos(angle) - y * math.sin(angle)
            result[:, :, t, 2 * i + 1] = x * math.sin(angle) + y * math.cos(angle)
    return result


def build(n_kv_heads: int = H, **options) -> MultiHeadAttention:
    torch.manual_seed(n_kv_heads)
    attention = MultiHeadAttention(C, H, n_kv_heads=n_kv_heads, **options)
    for parameter in attention.parameters():
        # Queries and keys of standard deviation 1.5, biases that are not zero.
        nn.init.normal_(parameter, std=1.5 / math.sqrt(C) if parameter.dim() == 2 else 0.5)
    return attention.eval()


@pytest.mark.parametrize("kind", MASKS)
@pytest.mark.parametrize("n_kv_heads", [4, 2, 1], ids=["MHA", "GQA", "MQA"])
@pytest.mark.parametrize("positions", ["none", "rotary", "alibi"])
def test_self_attention_matches_the_reference(kind, n_kv_heads, positions):
    n_tokens = SELF[0]
    attention = build(n_kv_heads, bias=n_kv_heads == 2, qk_norm=n_kv_heads == 1)
    x = torch.randn(B, n_tokens, C, generator=torch.Generator().manual_seed(0))
    bias = alibi(*SELF) if positions == "alibi" else None
    rotation = RotaryPosition(D, 32).rotation(torch.arange(n_tokens)) if positions == "rotary" else None
    expected, expected_weights = reference_module(
        attention,
        x,
        mask=allowed(kind, *SELF),
        bias=bias,
        positions=range(n_tokens) if positions == "rotary" else None,
    )
    options = {"mask": mask_of(kind, *SELF), "causal": "causal" in kind, "bias": bias, "rotation": rotation}
    fast, no_weights = attention(x, **options)
    plain, weights = attention(x, **options, return_weights=True)
    assert no_weights is None
    assert relative_error(fast, expected) < 1e-6
    assert relative_error(plain, expected) < 1e-6
    assert relative_error(weights, expected_weights) < 1e-6


@pytest.mark.parametrize("kind", MASKS)
def test_fast_path_on_the_unfused_backend(kind):
    """Unlike the fused CPU kernel, it refuses a mask together with `is_causal`, as other devices do."""
    attention, x = build(), torch.randn(B, SELF[0], C)
    expected, _ = reference_module(attention, x, mask=allowed(kind, *SELF))
    with sdpa_kernel(SDPBackend.MATH):
        actual, _ = attention(x, mask=mask_of(kind, *SELF), causal="causal" in kind)
    assert relative_error(actual, expected) < 1e-6


@pytest.mark.parametrize("kind", [kind for kind in MASKS if "causal" not in kind])
@pytest.mark.parametrize("n_kv_heads", [4, 2, 1], ids=["MHA", "GQA", "MQA"])
def test_cross_attention_matches_the_reference(kind, n_kv_heads):
    attention = build(n_kv_heads, bias=n_kv_heads == 4, qk_norm=n_kv_heads == 2)
    x, memory = torch.randn(B, CROSS[0], C), torch.randn(B, CROSS[1], C)
    expected, expected_weights = reference_module(attention, x, memory, allowed(kind, *CROSS))
    fast, _ = attention(x, memory=memory, mask=mask_of(kind, *CROSS))
    plain, weights = attention(x, memory=memory, mask=mask_of(kind, *CROSS), return_weights=True)
    assert relative_error(fast, expected) < 1e-6
    assert relative_error(plain, expected) < 1e-6
    assert relative_error(weights, expected_weights) < 1e-6


@pytest.mark.parametrize("causal", [False, True])
def test_equals_torch_multihead_attention(causal):
    attention = build(bias=True)
    peer = nn.MultiheadAttention(C, H, batch_first=True).eval()
    projections = (attention.query, attention.key, attention.value)
    with torch.no_grad():
        peer.in_proj_weight.copy_(torch.cat([linear.weight for linear in projections]))
        peer.in_proj_bias.copy_(torch.cat([linear.bias for linear in projections]))
    peer.out_proj.load_state_dict(attention.output.state_dict())
    x = torch.randn(B, 6, C)
    is_token = torch.tensor([[True] * 6, [True] * 4 + [False] * 2])
    expected, expected_weights = peer(
        x,
        x,
        x,
        key_padding_mask=~is_token,
        attn_mask=~causal_mask(6, 6) if causal else None,
        average_attn_weights=False,
    )
    actual, weights = attention(x, mask=padding_mask(is_token), causal=causal, return_weights=True)
    torch.testing.assert_close(actual, expected, rtol=0, atol=2e-6)
    torch.testing.assert_close(weights, expected_weights, rtol=0, atol=1e-6)


def test_qk_norm_bounds_the_scores_whatever_the_input():
    x = torch.randn(B, 5, C)
    small, _ = build(qk_norm=True)(x)
    large, _ = build(qk_norm=True)(100 * x)
    torch.testing.assert_close(large, 100 * small, rtol=1e-4, atol=1e-3)  # the values grow, the weights do not change


def test_dropout_only_in_training():
    attention = build(dropout=0.5)
    x = torch.randn(B, 6, C)
    for return_weights in (False, True):
        calm, _ = attention.eval()(x, return_weights=return_weights)
        assert torch.equal(calm, attention(x, return_weights=return_weights)[0])
        noisy, _ = attention.train()(x, return_weights=return_weights)
        assert (noisy - calm).abs().max() > 0.1


@pytest.mark.parametrize(
    ("sizes", "message"),
    [
        ({"d_model": 10, "n_heads": 4}, "d_model 10 is not a multiple of n_heads 4"),
        ({"d_model": 12, "n_heads": 4, "n_kv_heads": 3}, "n_heads 4 is not a multiple of n_kv_heads 3"),
    ],
)
def test_heads_that_do_not_divide_are_refused(sizes, message):
    with pytest.raises(ValueError, match=f"^{message}$"):
        MultiHeadAttention(**sizes)


# --- the cache ------------------------------------------------------------------------------------


@pytest.mark.parametrize("chunks", [[6], [1] * 6, [4, 1, 1], [1, 3, 2], [2, 4]], ids=str)
@pytest.mark.parametrize("n_kv_heads", [4, 2, 1], ids=["MHA", "GQA", "MQA"])
@pytest.mark.parametrize("return_weights", [False, True], ids=["fast", "plain"])
def test_cached_chunks_equal_one_pass(chunks, n_kv_heads, return_weights):
    attention = build(n_kv_heads, qk_norm=True)
    rotary, x = RotaryPosition(D, 8), torch.randn(B, 6, C)
    whole, _ = attention(x, causal=True, rotation=rotary.rotation(torch.arange(6)))
    cache = KVCache(B, n_kv_heads, 8, D)
    with torch.no_grad():
        outputs = [
            attention(
                x[:, cache.length : cache.length + size],
                causal=True,
                rotation=rotary.rotation(torch.arange(cache.length, cache.length + size)),
                cache=cache,
                return_weights=return_weights,
            )[0]
            for size in chunks
        ]
    assert cache.length == 6
    assert relative_error(torch.cat(outputs, dim=1), whole.double()) < 1e-6


def test_one_query_sees_all_five_keys():
    attention = build()
    x = torch.randn(B, 5, C)
    cache = KVCache(B, H, 5, D)
    with torch.no_grad():
        attention(x[:, :4], causal=True, cache=cache)
        _, weights = attention(x[:, 4:], causal=True, cache=cache, return_weights=True)
    _, expected_weights = reference_module(attention, x, mask=allowed("causal", 5, 5))
    assert relative_error(weights, expected_weights[:, :, 4:]) < 1e-6
    assert (weights > 0).all()


def test_cross_attention_computes_keys_and_values_of_the_memory_once():
    attention = build(2, qk_norm=True)
    x, memory = torch.randn(B, 4, C), torch.randn(B, 7, C)
    mask = mask_of("padding left", 4, 7)
    expected, _ = reference_module(attention, x, memory, allowed("padding left", 4, 7))
    cache = KVCache(B, 2, 9, D)
    with torch.no_grad():
        first, _ = attention(x[:, :1], memory=memory, mask=mask, cache=cache)
        rest, _ = attention(x[:, 1:], memory=torch.full_like(memory, torch.nan), mask=mask, cache=cache)
    assert cache.length == 7
    assert relative_error(torch.cat((first, rest), dim=1), expected) < 1e-6


def test_cache_refuses_more_than_it_holds_and_keeps_what_it_has():
    cache = KVCache(1, 2, 4, 3)
    keys, values = torch.randn(2, 1, 2, 3, 3)
    cache.append(keys, values)
    with pytest.raises(ValueError, match=r"^the key/value cache holds 4 positions, 6 were asked for$"):
        cache.append(keys, values)
    assert cache.length == 3
    stored_keys, stored_values = cache.append(keys[:, :, :1], values[:, :, :1])
    assert torch.equal(stored_keys, torch.cat((keys, keys[:, :, :1]), dim=2))
    assert torch.equal(stored_values, torch.cat((values, values[:, :, :1]), dim=2))


def test_cache_writes_in_place():
    cache = KVCache(1, 2, 4, 3)
    memory = cache.keys.data_ptr()
    for _ in range(4):
        keys, _ = cache.append(torch.randn(1, 2, 1, 3), torch.randn(1, 2, 1, 3))
        assert keys.data_ptr() == memory


def test_reorder_keeps_the_chosen_rows():
    cache = KVCache(3, 2, 4, 3)
    keys, values = torch.randn(2, 3, 2, 4, 3)
    cache.append(keys, values)
    cache.reorder(torch.tensor([2, 0, 2]))
    assert torch.equal(cache.keys, keys[[2, 0, 2]])
    assert torch.equal(cache.values, values[[2, 0, 2]])
