"""A small GPT in nanoGPT's style with a switch for each known bug. Loaded by path, as a learner's file."""

import torch
import torch.nn.functional as F
from torch import nn


class SelfAttention(nn.Module):
    def __init__(self, width, heads, bug):
        super().__init__()
        self.heads, self.bug = heads, bug
        self.c_attn, self.c_proj = nn.Linear(width, 3 * width), nn.Linear(width, width)

    def forward(self, x, past=None):
        B, T, C = x.shape
        q, k, v = (t.view(B, T, self.heads, -1).transpose(1, 2) for t in self.c_attn(x).split(C, dim=-1))
        if past is not None:
            k, v = torch.cat((past[0], k), 2), torch.cat((past[1], v), 2)
        n = k.shape[2]
        mask = torch.ones(T, n, dtype=torch.bool).tril(n - T + (self.bug == "causal_off_by_one"))
        mask = mask | True if self.bug == "no_causal_mask" else mask
        mask = torch.ones(T, n, dtype=torch.bool).tril() if self.bug == "cache_top_left_mask" else mask
        scores = q @ k.transpose(-2, -1) / (1 if self.bug == "missing_scale" else (C // self.heads) ** 0.5)
        y = scores.masked_fill(~mask, -torch.inf).softmax(-1) @ v
        return self.c_proj(y.transpose(1, 2).reshape(B, T, C)), (k, v)


class Norm(nn.Module):
    def __init__(self, width, bug):
        super().__init__()
        self.gain, self.shift, self.bug = (
            nn.Parameter(torch.ones(width)),
            nn.Parameter(torch.zeros(width)),
            bug,
        )

    def forward(self, x):
        spread = x.std(-1, keepdim=True, unbiased=self.bug == "norm_unbiased")
        return (x - x.mean(-1, keepdim=True)) / torch.sqrt(spread**2 + 1e-5) * self.gain + self.shift


class Block(nn.Module):
    def __init__(self, width, heads, bug):
        super().__init__()
        self.norm1, self.attn, self.norm2 = (
            Norm(width, bug),
            SelfAttention(width, heads, bug),
            Norm(width, bug),
        )
        self.mlp = nn.Sequential(nn.Linear(width, 4 * width), nn.GELU(), nn.Linear(4 * width, width))

    def forward(self, x, past=None):
        y, present = self.attn(self.norm1(x), past)
        x = x + y
        return x + self.mlp(self.norm2(x)), present


class TinyGPT(nn.Module):
    """forward(idx, targets) -> logits, loss, cache"""

    def __init__(self, vocab_size, block_size, n_layer=2, n_head=4, n_embd=32, dropout=0.1, bug="", pad_id=None):
        super().__init__()
        self.bug, self.p, self.pad_id = bug, dropout, pad_id
        self.wte, self.wpe = nn.Embedding(vocab_size, n_embd), nn.Embedding(block_size, n_embd)
        self.h = nn.ModuleList(Block(n_embd, n_head, bug) for _ in range(n_layer))
        self.ln_f, self.lm_head = nn.LayerNorm(n_embd), nn.Linear(n_embd, vocab_size)

    def run(self, idx, past):
        start = 0 if past is None or self.bug == "cache_position_offset" else past[0][0].shape[2]
        x = self.wte(idx)
        if self.bug != "positions_missing":
            x = x + self.wpe(torch.arange(start, start + idx.shape[1]))
        x = F.dropout(x, self.p, self.training or self.bug == "dropout_in_eval")
        presents = []
        for i, block in enumerate(self.h):
            x, present = block(x, None if past is None else past[i])
            presents.append(present)
        if self.bug == "softmax_over_batch":
            x = x + x.softmax(0)
        return self.lm_head(self.ln_f(x)), presents

    def forward(self, idx, targets=None, past=None):
        logits, presents = self.run(idx, past)
        loss = None
        if targets is not None:
            scores, aims = logits, targets
            if self.bug == "double_shifted_labels":
                scores, aims = logits[:, :-1], targets[:, 1:]
            ignored = -100 if self.pad_id is None or self.bug == "loss_counts_padding" else self.pad_id
            loss = F.cross_entropy(scores.flatten(0, 1), aims.flatten(), ignore_index=ignored)
        return logits, loss, presents


class LabelGPT(TinyGPT):
    """forward(input_ids, labels), as Hugging Face; labels are the tokens themselves."""

    def forward(self, input_ids, labels=None):
        logits, _ = self.run(input_ids, None)
        if labels is None:
            return logits
        shift = 0 if self.bug == "unshifted_labels" else 2 if self.bug == "shifted_twice" else 1
        n = input_ids.shape[1] - shift
        return F.cross_entropy(logits[:, :n].flatten(0, 1), labels[:, shift:].flatten()), logits


class TinyEncoder(nn.Module):
    """A bidirectional encoder with a padding mask, True = real token."""

    def __init__(self, vocab_size, d_model, nhead, max_len, num_layers, bug=""):
        super().__init__()
        self.bug = bug
        self.embed, self.position = nn.Embedding(vocab_size, d_model), nn.Embedding(max_len, d_model)
        layer = nn.TransformerEncoderLayer(d_model, nhead, 64, 0.0, batch_first=True)
        self.layers = nn.TransformerEncoder(layer, num_layers)

    def forward(self, tokens, attention_mask=None):
        x = self.embed(tokens)
        if self.bug != "positions_missing":
            x = x + self.position.weight[: tokens.shape[1]]
        hidden = None if attention_mask is None else attention_mask == 0
        hidden = attention_mask == 1 if attention_mask is not None and self.bug == "inverted_mask" else hidden
        hidden = None if self.bug == "mask_ignored" else hidden
        return self.layers(x, src_key_padding_mask=hidden)


def right_loss(logits, targets, pad_id=0):
    return F.cross_entropy(logits.flatten(0, -2), targets.flatten(), ignore_index=pad_id)


def loss_with_padding(logits, targets, pad_id=0):
    return F.cross_entropy(logits.flatten(0, -2), targets.flatten())


def loss_divided_by_all(logits, targets, pad_id=0):
    losses = F.cross_entropy(logits.flatten(0, -2), targets.flatten(), reduction="none")
    return (losses * (targets.flatten() != pad_id)).mean()


def unshifted_loss(logits, labels):
    return F.cross_entropy(logits.flatten(0, -2), labels.flatten())


def shifted_again(logits, targets):
    return F.cross_entropy(logits[:, :-1].flatten(0, -2), targets[:, 1:].flatten())
