"""Correct code in the conventions of well-known tutorials. Loaded by path, as a learner's file."""

import copy
import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import nn


@dataclass
class GPTConfig:
    block_size: int = 1024
    vocab_size: int = 50304
    n_layer: int = 12
    n_head: int = 12
    n_embd: int = 768
    dropout: float = 0.1
    bias: bool = True


class CausalSelfAttention(nn.Module):
    """nanoGPT's conventions: one config, a fused projection, a mask in a buffer."""

    def __init__(self, config):
        super().__init__()
        assert config.n_embd % config.n_head == 0
        self.c_attn = nn.Linear(config.n_embd, 3 * config.n_embd, bias=config.bias)
        self.c_proj = nn.Linear(config.n_embd, config.n_embd, bias=config.bias)
        self.n_head, self.n_embd, self.dropout = config.n_head, config.n_embd, config.dropout
        mask = torch.ones(config.block_size, config.block_size).tril()
        self.register_buffer("bias", mask.view(1, 1, config.block_size, config.block_size))

    def forward(self, x):
        B, T, C = x.size()
        q, k, v = (t.view(B, T, self.n_head, C // self.n_head).transpose(1, 2) for t in self.c_attn(x).split(C, dim=2))
        att = (q @ k.transpose(-2, -1)) * (1.0 / math.sqrt(k.size(-1)))
        att = att.masked_fill(self.bias[:, :, :T, :T] == 0, float("-inf"))
        y = F.dropout(F.softmax(att, dim=-1), self.dropout, self.training) @ v
        return self.c_proj(y.transpose(1, 2).contiguous().view(B, T, C))


class Block(nn.Module):
    def __init__(self, config):
        super().__init__()
        self.ln_1, self.attn = nn.LayerNorm(config.n_embd), CausalSelfAttention(config)
        self.ln_2 = nn.LayerNorm(config.n_embd)
        self.mlp = nn.Sequential(nn.Linear(config.n_embd, 64), nn.GELU(), nn.Linear(64, config.n_embd))

    def forward(self, x):
        x = x + self.attn(self.ln_1(x))
        return x + self.mlp(self.ln_2(x))


class GPT(nn.Module):
    """Gives the logits of the last token alone, unless there are targets."""

    def __init__(self, config):
        super().__init__()
        self.config = config
        self.wte = nn.Embedding(config.vocab_size, config.n_embd)
        self.wpe = nn.Embedding(config.block_size, config.n_embd)
        self.drop, self.ln_f = nn.Dropout(config.dropout), nn.LayerNorm(config.n_embd)
        self.h = nn.ModuleList([Block(config) for _ in range(config.n_layer)])
        self.lm_head = nn.Linear(config.n_embd, config.vocab_size, bias=False)
        self.wte.weight = self.lm_head.weight

    def forward(self, idx, targets=None):
        _, t = idx.size()
        assert t <= self.config.block_size
        x = self.drop(self.wte(idx) + self.wpe(torch.arange(t, device=idx.device)))
        for block in self.h:
            x = block(x)
        x = self.ln_f(x)
        if targets is None:
            return self.lm_head(x[:, [-1], :]), None
        logits = self.lm_head(x)
        return logits, F.cross_entropy(logits.view(-1, logits.size(-1)), targets.view(-1), ignore_index=-1)


def attention(query, key, value, mask=None, dropout=None):
    d_k = query.size(-1)
    scores = torch.matmul(query, key.transpose(-2, -1)) / math.sqrt(d_k)
    if mask is not None:
        scores = scores.masked_fill(mask == 0, -1e9)
    weights = scores.softmax(dim=-1)
    if dropout is not None:
        weights = dropout(weights)
    return torch.matmul(weights, value), weights


class MultiHeadedAttention(nn.Module):
    """The Annotated Transformer's conventions: four linear layers in a list, and the mask gets its head axis inside."""

    def __init__(self, h, d_model, dropout=0.1):
        super().__init__()
        assert d_model % h == 0
        self.d_k, self.h, self.attn = d_model // h, h, None
        self.linears = nn.ModuleList([copy.deepcopy(nn.Linear(d_model, d_model)) for _ in range(4)])
        self.dropout = nn.Dropout(p=dropout)

    def forward(self, query, key, value, mask=None):
        mask = None if mask is None else mask.unsqueeze(1)
        batch = query.size(0)
        query, key, value = (
            linear(x).view(batch, -1, self.h, self.d_k).transpose(1, 2)
            for linear, x in zip(self.linears, (query, key, value), strict=False)
        )
        x, self.attn = attention(query, key, value, mask=mask, dropout=self.dropout)
        return self.linears[-1](x.transpose(1, 2).contiguous().view(batch, -1, self.h * self.d_k))


class RaschkaAttention(nn.Module):
    """d_in, d_out, context_length; W_query, W_key, W_value; a mask that is True at the future."""

    def __init__(self, d_in, d_out, context_length, dropout, num_heads, qkv_bias=False):
        super().__init__()
        self.d_out, self.num_heads, self.head_dim = d_out, num_heads, d_out // num_heads
        self.W_query = nn.Linear(d_in, d_out, bias=qkv_bias)
        self.W_key = nn.Linear(d_in, d_out, bias=qkv_bias)
        self.W_value = nn.Linear(d_in, d_out, bias=qkv_bias)
        self.out_proj, self.dropout = nn.Linear(d_out, d_out), nn.Dropout(dropout)
        self.register_buffer("mask", torch.triu(torch.ones(context_length, context_length), diagonal=1))

    def forward(self, x):
        b, n, _ = x.shape
        keys, queries, values = self.W_key(x), self.W_query(x), self.W_value(x)
        keys, queries, values = (
            t.view(b, n, self.num_heads, self.head_dim).transpose(1, 2) for t in (keys, queries, values)
        )
        scores = queries @ keys.transpose(2, 3)
        scores.masked_fill_(self.mask.bool()[:n, :n], -torch.inf)
        weights = self.dropout(torch.softmax(scores / keys.shape[-1] ** 0.5, dim=-1))
        return self.out_proj((weights @ values).transpose(1, 2).contiguous().view(b, n, self.d_out))


class RaschkaGPT(nn.Module):
    """Its config is a dictionary."""

    def __init__(self, cfg):
        super().__init__()
        self.tok_emb = nn.Embedding(cfg["vocab_size"], cfg["emb_dim"])
        self.pos_emb = nn.Embedding(cfg["context_length"], cfg["emb_dim"])
        self.attention = nn.ModuleList(
            RaschkaAttention(
                cfg["emb_dim"],
                cfg["emb_dim"],
                cfg["context_length"],
                cfg["drop_rate"],
                cfg["n_heads"],
                cfg["qkv_bias"],
            )
            for _ in range(cfg["n_layers"])
        )
        self.out_head = nn.Linear(cfg["emb_dim"], cfg["vocab_size"], bias=False)

    def forward(self, in_idx):
        x = self.tok_emb(in_idx) + self.pos_emb(torch.arange(in_idx.shape[1]))
        for layer in self.attention:
            x = x + layer(x)
        return self.out_head(x)


class Persson(nn.Module):
    """Values first; one small projection shared by all heads; einsum."""

    def __init__(self, embed_size, heads):
        super().__init__()
        self.heads, self.head_dim = heads, embed_size // heads
        self.values = nn.Linear(self.head_dim, self.head_dim, bias=False)
        self.keys = nn.Linear(self.head_dim, self.head_dim, bias=False)
        self.queries = nn.Linear(self.head_dim, self.head_dim, bias=False)
        self.fc_out = nn.Linear(heads * self.head_dim, embed_size)

    def forward(self, values, keys, query, mask):
        N = query.shape[0]
        values, keys, queries = (t.reshape(N, -1, self.heads, self.head_dim) for t in (values, keys, query))
        values, keys, queries = self.values(values), self.keys(keys), self.queries(queries)
        energy = torch.einsum("nqhd,nkhd->nhqk", queries, keys)
        if mask is not None:
            energy = energy.masked_fill(mask == 0, float("-1e20"))
        weights = torch.softmax(energy / self.head_dim**0.5, dim=3)
        out = torch.einsum("nhql,nlhd->nqhd", weights, values).reshape(N, query.shape[1], -1)
        return self.fc_out(out)


class Bloem(nn.Module):
    """Scales query and key each by D^(1/4), folds heads into the batch."""

    def __init__(self, emb, heads=8, mask=False):
        super().__init__()
        self.emb, self.heads, self.mask = emb, heads, mask
        self.tokeys, self.toqueries = nn.Linear(emb, emb, bias=False), nn.Linear(emb, emb, bias=False)
        self.tovalues, self.unifyheads = nn.Linear(emb, emb, bias=False), nn.Linear(emb, emb)

    def forward(self, x):
        b, t, e = x.size()
        s = e // self.heads
        keys, queries, values = (
            f(x).view(b, t, self.heads, s).transpose(1, 2).contiguous().view(b * self.heads, t, s)
            for f in (self.tokeys, self.toqueries, self.tovalues)
        )
        dot = torch.bmm(queries / s**0.25, (keys / s**0.25).transpose(1, 2))
        out = torch.bmm(F.softmax(dot, dim=2), values).view(b, self.heads, t, s)
        return self.unifyheads(out.transpose(1, 2).contiguous().view(b, t, e))


class Lucid(nn.Module):
    """to_qkv and to_out in a Sequential, as in the vision transformers of lucidrains."""

    def __init__(self, dim, heads=8, dim_head=64, dropout=0.0):
        super().__init__()
        self.heads, self.scale = heads, dim_head**-0.5
        self.to_qkv = nn.Linear(dim, 3 * heads * dim_head, bias=False)
        self.to_out = nn.Sequential(nn.Linear(heads * dim_head, dim), nn.Dropout(dropout))

    def forward(self, x):
        q, k, v = (t.unflatten(-1, (self.heads, -1)).transpose(1, 2) for t in self.to_qkv(x).chunk(3, dim=-1))
        y = (q @ k.transpose(-1, -2) * self.scale).softmax(dim=-1) @ v
        return self.to_out(y.transpose(1, 2).flatten(2))


class NeoX(nn.Module):
    """A fused projection interleaved by head, rotary positions on halves."""

    def __init__(self, hidden_size, num_attention_heads):
        super().__init__()
        self.heads = num_attention_heads
        self.query_key_value, self.dense = (
            nn.Linear(hidden_size, 3 * hidden_size),
            nn.Linear(hidden_size, hidden_size),
        )

    def rotate(self, x):
        d, t = x.shape[-1], x.shape[-2]
        angles = torch.outer(torch.arange(t), 1.0 / 10000 ** (torch.arange(0, d, 2) / d))
        angles = torch.cat((angles, angles), -1)
        half = torch.cat((-x[..., d // 2 :], x[..., : d // 2]), -1)
        return x * angles.cos() + half * angles.sin()

    def forward(self, hidden_states):
        qkv = self.query_key_value(hidden_states).unflatten(-1, (self.heads, -1)).transpose(1, 2)
        q, k, v = qkv.chunk(3, dim=-1)
        y = F.scaled_dot_product_attention(self.rotate(q), self.rotate(k), v, is_causal=True)
        return self.dense(y.transpose(1, 2).flatten(2))


class Einsum(nn.Module):
    """Bare parameters (C, H, D), as in the einsum style of JAX code."""

    def __init__(self, d_model, n_heads):
        super().__init__()
        d_head = d_model // n_heads
        self.W_Q, self.W_K, self.W_V = (nn.Parameter(torch.randn(n_heads, d_model, d_head)) for _ in range(3))
        self.W_O = nn.Parameter(torch.randn(n_heads, d_head, d_model))

    def forward(self, x):
        q, k, v = (torch.einsum("btc,hcd->bhtd", x, w) for w in (self.W_Q, self.W_K, self.W_V))
        weights = (q @ k.transpose(-1, -2) / q.shape[-1] ** 0.5).softmax(-1)
        return torch.einsum("bhtd,hdc->btc", weights @ v, self.W_O)


class SubtractingMask(nn.Module):
    """A mask of ones and zeros of which it takes one minus, as TensorFlow code does."""

    def __init__(self, num_hiddens, num_heads):
        super().__init__()
        self.num_heads = num_heads
        self.W_q, self.W_k = nn.Linear(num_hiddens, num_hiddens), nn.Linear(num_hiddens, num_hiddens)
        self.W_v, self.W_o = nn.Linear(num_hiddens, num_hiddens), nn.Linear(num_hiddens, num_hiddens)

    def forward(self, queries, keys, values, attention_mask=None):
        q, k, v = (
            f(x).unflatten(-1, (self.num_heads, -1)).transpose(1, 2)
            for f, x in ((self.W_q, queries), (self.W_k, keys), (self.W_v, values))
        )
        scores = q @ k.transpose(-1, -2) / math.sqrt(q.shape[-1])
        if attention_mask is not None:
            scores = scores + (1.0 - attention_mask[:, None, None, :]) * -1e9
        return self.W_o((scores.softmax(-1) @ v).transpose(1, 2).flatten(2))


class DotProductAttention(nn.Module):
    """Dive into Deep Learning's convention: valid lengths in place of a mask, no projections."""

    def __init__(self, dropout):
        super().__init__()
        self.dropout = nn.Dropout(dropout)

    def forward(self, queries, keys, values, valid_lens=None):
        scores = torch.bmm(queries, keys.transpose(1, 2)) / math.sqrt(queries.shape[-1])
        if valid_lens is not None:
            hidden = torch.arange(keys.shape[1])[None, None, :] >= valid_lens[:, None, None]
            scores = scores.masked_fill(hidden, -1e6)
        return torch.bmm(self.dropout(scores.softmax(-1)), values)


class KVCache:
    def __init__(self, max_batch_size, max_seq_len, n_kv_heads, head_dim):
        self.k = torch.zeros(max_batch_size, n_kv_heads, max_seq_len, head_dim)
        self.v, self.n = torch.zeros_like(self.k), 0

    def update(self, k, v):
        end = self.n + k.shape[2]
        self.k[:, :, self.n : end], self.v[:, :, self.n : end] = k, v
        self.n = end
        return self.k[:, :, :end], self.v[:, :, :end]


class CachedAttention(nn.Module):
    """Grouped queries, and a cache object that it appends to."""

    def __init__(self, dim, n_heads, n_kv_heads):
        super().__init__()
        self.n_heads, self.n_kv_heads, self.head_dim = n_heads, n_kv_heads, dim // n_heads
        self.wq, self.wo = nn.Linear(dim, dim, bias=False), nn.Linear(dim, dim, bias=False)
        self.wk = nn.Linear(dim, n_kv_heads * self.head_dim, bias=False)
        self.wv = nn.Linear(dim, n_kv_heads * self.head_dim, bias=False)

    def forward(self, x, cache: KVCache | None = None):
        q, k, v = (f(x).unflatten(-1, (-1, self.head_dim)).transpose(1, 2) for f in (self.wq, self.wk, self.wv))
        if cache is not None:
            k, v = cache.update(k, v)
        n, repeats = k.shape[2], self.n_heads // self.n_kv_heads
        mask = torch.ones(q.shape[2], n, dtype=torch.bool).tril(n - q.shape[2])
        k, v = k.repeat_interleave(repeats, 1), v.repeat_interleave(repeats, 1)
        return self.wo(F.scaled_dot_product_attention(q, k, v, attn_mask=mask).transpose(1, 2).flatten(2))


class Seq2Seq(nn.Module):
    """An encoder-decoder with two inputs, time first inside."""

    def __init__(self, src_vocab_size, trg_vocab_size, d_model, nhead, max_len):
        super().__init__()
        self.src_embed, self.trg_embed = (
            nn.Embedding(src_vocab_size, d_model),
            nn.Embedding(trg_vocab_size, d_model),
        )
        self.pos = nn.Embedding(max_len, d_model)
        self.transformer = nn.Transformer(d_model, nhead, 1, 1, 64, 0.0)
        self.head = nn.Linear(d_model, trg_vocab_size)

    def forward(self, src, trg):
        places = self.pos.weight[:, None]
        source = self.src_embed(src.T) + places[: src.shape[1]]
        target = self.trg_embed(trg.T) + places[: trg.shape[1]]
        mask = nn.Transformer.generate_square_subsequent_mask(trg.shape[1])
        return self.head(self.transformer(source, target, tgt_mask=mask)).transpose(0, 1)


class TimeFirst(nn.Module):
    """Tokens of (T, B), as PyTorch's own language-model tutorial takes them."""

    def __init__(self, ntoken, d_model, nhead, d_hid, nlayers, dropout=0.5):
        super().__init__()
        self.embedding, self.places = nn.Embedding(ntoken, d_model), nn.Parameter(torch.randn(24, 1, d_model))
        self.encoder = nn.TransformerEncoder(nn.TransformerEncoderLayer(d_model, nhead, d_hid, dropout), nlayers)
        self.linear = nn.Linear(d_model, ntoken)

    def forward(self, src, src_mask=None):
        x = self.embedding(src) + self.places[: len(src)]
        mask = nn.Transformer.generate_square_subsequent_mask(len(src)) if src_mask is None else src_mask
        return self.linear(self.encoder(x, mask))


def make_model(src_vocab, d_model=512, h=8):
    """A factory, as the Annotated Transformer has."""
    return GPT(GPTConfig(block_size=24, vocab_size=src_vocab, n_layer=1, n_head=h, n_embd=d_model, dropout=0.0))


class StartPositionAttention(nn.Module):
    """LLaMA's conventions: complex rotations from outside, start_pos, a cache in the module, a mask to add."""

    def __init__(self, args):
        super().__init__()
        self.n_heads, self.head_dim = args.n_heads, args.dim // args.n_heads
        self.wq, self.wk = nn.Linear(args.dim, args.dim, bias=False), nn.Linear(args.dim, args.dim, bias=False)
        self.wv, self.wo = nn.Linear(args.dim, args.dim, bias=False), nn.Linear(args.dim, args.dim, bias=False)
        self.kept = torch.zeros(2, args.max_batch_size, args.max_seq_len, self.n_heads, self.head_dim)

    def turn(self, x, freqs_cis):
        pairs = torch.view_as_complex(x.float().unflatten(-1, (-1, 2)))
        return torch.view_as_real(pairs * freqs_cis[:, None]).flatten(-2).type_as(x)

    def forward(self, x, start_pos, freqs_cis, mask):
        q, k, v = (f(x).unflatten(-1, (self.n_heads, -1)) for f in (self.wq, self.wk, self.wv))
        q, k, end = self.turn(q, freqs_cis), self.turn(k, freqs_cis), start_pos + x.shape[1]
        self.kept = self.kept.to(x)
        self.kept[0, : len(x), start_pos:end], self.kept[1, : len(x), start_pos:end] = k, v
        q, k, v = (t.transpose(1, 2) for t in (q, *self.kept[:, : len(x), :end]))
        scores = q @ k.transpose(2, 3) / math.sqrt(self.head_dim)
        scores = scores if mask is None else scores + mask
        return self.wo((scores.softmax(-1) @ v).transpose(1, 2).flatten(2))


class Unusual(nn.Module):
    """Attention as no paper of the reference's has it."""

    def __init__(self, dim, heads):
        super().__init__()
        self.heads, self.qkv, self.out = heads, nn.Linear(dim, 3 * dim), nn.Linear(dim, dim)

    def forward(self, x):
        q, k, v = (t.unflatten(-1, (self.heads, -1)).transpose(1, 2) for t in self.qkv(x).chunk(3, -1))
        return self.out(self.mix(q, k, v).transpose(1, 2).flatten(2))


class WindowAttention(Unusual):
    def mix(self, q, k, v):
        near = torch.ones(q.shape[2], q.shape[2], dtype=torch.bool).tril().triu(-2)
        return F.scaled_dot_product_attention(q, k, v, attn_mask=near)


class SoftcapAttention(Unusual):
    def mix(self, q, k, v):
        return (5 * torch.tanh(q @ k.mT / q.shape[-1] ** 0.5 / 5)).softmax(-1) @ v


class LinearAttention(Unusual):
    def mix(self, q, k, v):
        q, k = F.elu(q) + 1, F.elu(k) + 1
        return q @ (k.mT @ v) / (q @ k.sum(dim=2, keepdim=True).mT)
