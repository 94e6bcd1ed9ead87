"""The block against PyTorch's encoder and decoder layers, BERT's layer, and its two-line definition."""

import pytest
import torch
from torch import nn
from transformers import BertConfig
from transformers.models.bert.modeling_bert import BertLayer

from transformer_from_scratch.attention import MultiHeadAttention, causal_mask, padding_mask
from transformer_from_scratch.config import ModelConfig
from transformer_from_scratch.feed_forward import FeedForward, MixtureOfExperts
from transformer_from_scratch.normalization import LayerNorm, RMSNorm
from transformer_from_scratch.transformer_block import TransformerBlock

B, T, S, C, H, F = 2, 6, 5, 24, 4, 40
IS_TOKEN = torch.tensor([[True] * T, [True] * 4 + [False] * 2])
SOURCE_IS_TOKEN = torch.tensor([[False] * 2 + [True] * 3, [True] * S])


@pytest.fixture(autouse=True)
def _seed():
    torch.manual_seed(0)


def block_of(*, cross_attention: bool = False, **options) -> TransformerBlock:
    """Every parameter at random, so that no gain is 1 and no bias 0."""
    config = ModelConfig(d_model=C, n_heads=H, d_hidden=F, **options)
    block = TransformerBlock(config, cross_attention=cross_attention)
    for parameter in block.parameters():
        nn.init.normal_(parameter, std=0.3)
    return block.eval()


def copy_attention(peer: nn.MultiheadAttention, ours: MultiHeadAttention) -> None:
    projections = (ours.query, ours.key, ours.value)
    with torch.no_grad():
        peer.in_proj_weight.copy_(torch.cat([linear.weight for linear in projections]))
        peer.in_proj_bias.copy_(torch.cat([linear.bias for linear in projections]))
    peer.out_proj.load_state_dict(ours.output.state_dict())


@pytest.mark.parametrize("norm_position", ["pre", "post"])
@pytest.mark.parametrize("activation", ["relu", "gelu"])
@pytest.mark.parametrize("causal", [False, True])
def test_equals_torch_encoder_layer(norm_position, activation, causal):
    ours = block_of(bias=True, norm_position=norm_position, activation=activation)
    peer = nn.TransformerEncoderLayer(
        C, H, F, activation=activation, batch_first=True, norm_first=norm_position == "pre"
    ).train()  # in training it cannot take its inference path, …
    for module in peer.modules():  # … and without dropout it gives the same
        if isinstance(module, nn.Dropout):
            module.p = 0.0
    peer.self_attn.dropout = 0.0
    copy_attention(peer.self_attn, ours.attention)
    peer.norm1.load_state_dict(ours.attention_residual.norm.state_dict())
    peer.norm2.load_state_dict(ours.feed_forward_residual.norm.state_dict())
    assert isinstance(ours.feed_forward, FeedForward)
    peer.linear1.load_state_dict(ours.feed_forward.up.state_dict())
    peer.linear2.load_state_dict(ours.feed_forward.down.state_dict())

    x = 2 * torch.randn(B, T, C)
    expected = peer(x, src_mask=~causal_mask(T, T) if causal else None, src_key_padding_mask=~IS_TOKEN, is_causal=False)
    actual, _ = ours(x, mask=padding_mask(IS_TOKEN), causal=causal)
    torch.testing.assert_close(actual, expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("norm_position", ["pre", "post"])
def test_equals_torch_decoder_layer(norm_position):
    ours = block_of(bias=True, norm_position=norm_position, activation="relu", cross_attention=True)
    peer = nn.TransformerDecoderLayer(C, H, F, dropout=0.0, batch_first=True, norm_first=norm_position == "pre")
    assert ours.cross_attention is not None
    assert ours.cross_residual is not None
    copy_attention(peer.self_attn, ours.attention)
    copy_attention(peer.multihead_attn, ours.cross_attention)
    peer.norm1.load_state_dict(ours.attention_residual.norm.state_dict())
    peer.norm2.load_state_dict(ours.cross_residual.norm.state_dict())
    peer.norm3.load_state_dict(ours.feed_forward_residual.norm.state_dict())
    assert isinstance(ours.feed_forward, FeedForward)
    peer.linear1.load_state_dict(ours.feed_forward.up.state_dict())
    peer.linear2.load_state_dict(ours.feed_forward.down.state_dict())

    x, memory = 2 * torch.randn(B, T, C), 2 * torch.randn(B, S, C)
    expected = peer(
        x,
        memory,
        tgt_mask=~causal_mask(T, T),
        tgt_key_padding_mask=~IS_TOKEN,
        memory_key_padding_mask=~SOURCE_IS_TOKEN,
    )
    actual, _ = ours(
        x, mask=padding_mask(IS_TOKEN), causal=True, memory=memory, memory_mask=padding_mask(SOURCE_IS_TOKEN)
    )
    torch.testing.assert_close(actual, expected, rtol=1e-5, atol=1e-5)


def test_post_norm_equals_bert():
    ours = block_of(bias=True, norm_position="post", activation="gelu")
    config = BertConfig(
        hidden_size=C,
        num_attention_heads=H,
        intermediate_size=F,
        layer_norm_eps=1e-5,
        hidden_dropout_prob=0.0,
        attention_probs_dropout_prob=0.0,
    )
    config._attn_implementation = "eager"
    bert = BertLayer(config, layer_idx=0)
    assert isinstance(ours.feed_forward, FeedForward)
    attention = bert.attention
    pairs = [
        (attention.self.query, ours.attention.query),
        (attention.self.key, ours.attention.key),
        (attention.self.value, ours.attention.value),
        (attention.output.dense, ours.attention.output),
        (attention.output.LayerNorm, ours.attention_residual.norm),
        (bert.intermediate.dense, ours.feed_forward.up),
        (bert.output.dense, ours.feed_forward.down),
        (bert.output.LayerNorm, ours.feed_forward_residual.norm),
    ]
    for theirs, module in pairs:
        theirs.load_state_dict(module.state_dict())
    x = 2 * torch.randn(B, T, C)
    added_mask = torch.zeros(B, 1, 1, T).masked_fill(~padding_mask(IS_TOKEN), -torch.inf)
    torch.testing.assert_close(ours(x, mask=padding_mask(IS_TOKEN))[0], bert(x, added_mask), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("norm", ["layer", "rms"])
@pytest.mark.parametrize("n_experts", [1, 3])
def test_pre_norm_is_its_two_residual_lines(norm, n_experts):
    block = block_of(norm=norm, activation="swiglu", n_kv_heads=2, n_experts=n_experts)
    x = 2 * torch.randn(B, T, C)
    h = x + block.attention(block.attention_residual.norm(x), causal=True)[0]
    expected = h + block.feed_forward(block.feed_forward_residual.norm(h))
    torch.testing.assert_close(block(x, causal=True)[0], expected, rtol=0, atol=1e-6)


def test_weights_are_returned_on_request_and_change_nothing():
    block = block_of()
    x = torch.randn(B, T, C)
    output, no_weights = block(x, causal=True)
    same_output, weights = block(x, causal=True, return_weights=True)
    assert no_weights is None
    expected = block.attention(block.attention_residual.norm(x), causal=True, return_weights=True)[1]
    torch.testing.assert_close(weights, expected)
    torch.testing.assert_close(same_output, output, rtol=0, atol=2e-6)


def test_dropout_only_in_training():
    block = block_of(dropout=0.5)
    x = torch.randn(B, T, C)
    calm = block(x)[0]
    assert torch.equal(calm, block(x)[0])
    assert (block.train()(x)[0] - calm).abs().max() > 0.1


def test_dropout_falls_on_what_is_added_not_on_the_residual_stream():
    block = block_of(dropout=0.99).train()
    x = 1 + torch.randn(64, T, C).abs()
    residual = block.attention_residual.leave(x, torch.ones_like(x)) - x
    dropped = residual.abs() < 1e-3
    assert 0.985 < dropped.double().mean() < 0.995
    torch.testing.assert_close(residual[~dropped], torch.full_like(residual[~dropped], 100.0))


def test_the_config_reaches_every_part():
    block = TransformerBlock(
        ModelConfig(
            d_model=C,
            n_heads=H,
            n_kv_heads=2,
            d_hidden=F,
            norm="rms",
            activation="relu2",
            bias=True,
            qk_norm=True,
            dropout=0.25,
        ),
        cross_attention=True,
    )
    for attention in (block.attention, block.cross_attention):
        assert attention is not None
        assert (attention.n_heads, attention.n_kv_heads) == (H, 2)
        assert (attention.qk_norm, attention.dropout) == (True, 0.25)
        assert attention.query.bias is not None
    assert isinstance(block.attention_residual.norm, RMSNorm)
    network = block.feed_forward
    assert isinstance(network, FeedForward)
    assert (network.activation, network.dropout, network.up.out_features) == ("relu2", 0.25, F)


def test_several_experts_make_a_mixture():
    config = ModelConfig(
        d_model=C, n_heads=H, d_hidden=F, n_experts=3, n_chosen_experts=2, activation="relu", dropout=0.25
    )
    block = TransformerBlock(config)
    assert isinstance(block.feed_forward, MixtureOfExperts)
    assert isinstance(block.attention_residual.norm, LayerNorm)
    assert (len(block.feed_forward.experts), block.feed_forward.n_chosen) == (3, 2)
    expert = block.feed_forward.experts[0]
    assert isinstance(expert, FeedForward)
    assert (expert.activation, expert.dropout, expert.up.out_features) == ("relu", 0.25, F)
    assert block.cross_attention is None
