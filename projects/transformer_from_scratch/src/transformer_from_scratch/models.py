"""Three Transformers from the same blocks: decoder-only, encoder, encoder-decoder.

- `DecoderLM` predicts the next token (GPT; Radford et al. 2019).
- `Encoder` sees both sides; `MaskedLM` guesses hidden tokens with it, `Classifier` labels whole texts (BERT; Devlin et
  al. 2019).
- `EncoderDecoder` writes one sequence while reading another (Vaswani et al. 2017).

Shapes: B batch, T tokens, S source tokens, C model width, V vocabulary, H heads.
"""

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from transformer_from_scratch.attention import padding_mask
from transformer_from_scratch.config import ModelConfig
from transformer_from_scratch.decoder_cache import DecoderCache, real_positions
from transformer_from_scratch.embeddings import NgramEmbedding, TokenEmbedding, latest_ngrams
from transformer_from_scratch.feed_forward import MixtureOfExperts
from transformer_from_scratch.normalization import build_norm
from transformer_from_scratch.positional_encoding import PositionalEncoding, build_position
from transformer_from_scratch.transformer_block import TransformerBlock

IGNORED = -100
"""Target id that carries no loss: padding, and tokens that a masked language model was shown."""


class Stack(nn.Module):
    """Blocks on top of each other, the final normalisation, and the positional encoding they share."""

    def __init__(self, config: ModelConfig, *, cross_attention: bool = False) -> None:
        super().__init__()
        self.positions: PositionalEncoding = build_position(
            config.positions,
            d_model=config.d_model,
            n_heads=config.n_heads,
            max_positions=config.context,
            base=config.rotary_base,
        )
        self.blocks = nn.ModuleList(
            TransformerBlock(config, cross_attention=cross_attention) for _ in range(config.n_layers)
        )
        # Post-norm blocks end normalised already.
        pre_norm = config.norm_position == "pre"
        self.norm = build_norm(config.norm, config.d_model, bias=config.bias) if pre_norm else nn.Identity()
        self.dropout = config.dropout

    def forward(
        self,
        x: Tensor,
        *,
        positions: Tensor,
        key_positions: Tensor | None = None,
        mask: Tensor | None = None,
        causal: bool = False,
        cache: DecoderCache | None = None,
        memory: Tensor | None = None,
        memory_mask: Tensor | None = None,
        attention_maps: list[Tensor] | None = None,
    ) -> Tensor:
        """(B, T, C) token embeddings -> (B, T, C).

        `positions` of x and `key_positions` of all keys (default: the same), (T,) or (B, T). When `attention_maps` is a
        list, each block appends its self-attention weights (B, H, T, Tk).

        Raises:
            ValueError: more keys than the positional encoding has positions.
        """
        n_keys = (positions if key_positions is None else key_positions).shape[-1]
        limit = self.positions.max_positions
        if limit is not None and n_keys > limit:
            raise ValueError(f"{n_keys} tokens, but the model was built for a context of {limit}")
        x = self.positions.embed(x, positions)
        if self.training and self.dropout:
            x = F.dropout(x, self.dropout)
        # Computed once: every block uses the same.
        rotation = self.positions.rotation(positions)
        bias = self.positions.bias(positions, positions if key_positions is None else key_positions)
        for index, block in enumerate(self.blocks):
            x, weights = block(
                x,
                mask=mask,
                causal=causal,
                bias=bias,
                rotation=rotation,
                cache=None if cache is None else cache.layers[index],
                memory=memory,
                memory_mask=memory_mask,
                memory_cache=None if cache is None or cache.source_layers is None else cache.source_layers[index],
                return_weights=attention_maps is not None,
            )
            if attention_maps is not None and weights is not None:
                attention_maps.append(weights)
        return self.norm(x)

    def balancing_loss(self) -> Tensor | None:
        """Sum of the load-balancing losses of the last forward pass; None without mixtures of experts."""
        losses = [m.balancing_loss for m in self.modules() if isinstance(m, MixtureOfExperts)]
        return torch.stack(losses).sum() if losses else None


class DecoderLM(nn.Module):
    """A decoder-only language model: at each token, a distribution over the next one.

    Args:
        config: the shape.
        vocab_size: V.
    """

    def __init__(self, config: ModelConfig, vocab_size: int) -> None:
        super().__init__()
        self.config, self.vocab_size = config, vocab_size
        self.tokens = TokenEmbedding(config, vocab_size)
        self.ngrams = build_ngrams(config, vocab_size) if config.ngram_orders else None
        self.stack = Stack(config)
        initialize(self, config)

    def forward(
        self,
        tokens: Tensor,
        *,
        is_token: Tensor | None = None,
        cache: DecoderCache | None = None,
        attention_maps: list[Tensor] | None = None,
    ) -> Tensor:
        """(B, T) tokens -> (B, T, V) logits of the token after each.

        Args:
            tokens: (B, T) token ids.
            is_token: (B, T) False at padding; None when there is none. Padding may stand on either side.
            cache: what came before; `tokens` continue it and are appended.
            attention_maps: a list that receives the weights (B, H, T, Tk) of each block.
        """
        hidden = self.hidden(tokens, is_token=is_token, cache=cache, attention_maps=attention_maps)
        return self.tokens.logits(hidden)

    def hidden(
        self,
        tokens: Tensor,
        *,
        is_token: Tensor | None = None,
        cache: DecoderCache | None = None,
        attention_maps: list[Tensor] | None = None,
    ) -> Tensor:
        """(B, T) tokens -> (B, T, C) normalised output of the last block. Arguments as in `forward`."""
        n_tokens = tokens.shape[1]
        x = self.embed(tokens, is_token, cache)
        key_positions = None
        mask = None
        if cache is not None:
            positions, key_positions, mask = cache.extend(is_token, n_tokens)
        elif is_token is not None:
            positions = real_positions(is_token)
            mask = padding_mask(is_token)
        else:
            positions = torch.arange(n_tokens, device=tokens.device)
        return self.stack(
            x,
            positions=positions,
            key_positions=key_positions,
            mask=mask,
            causal=True,
            cache=cache,
            attention_maps=attention_maps,
        )

    def embed(self, tokens: Tensor, is_token: Tensor | None, cache: DecoderCache | None) -> Tensor:
        """(B, T) -> (B, T, C): the token's own vector, plus those of the n-grams it ends.

        N-grams reach over padding and over the border to what the cache holds.
        """
        x = self.tokens(tokens)
        if self.ngrams is None:
            return x
        n_before = self.ngrams.n_before
        before = tokens.new_full((tokens.shape[0], n_before), -1) if cache is None else cache.recent
        ngrams = latest_ngrams(before, tokens, is_token)  # (B, T, n_before + 1)
        if cache is not None:
            cache.recent = ngrams[:, -1, 1:]
        return x + self.ngrams(ngrams)

    def loss(self, tokens: Tensor, targets: Tensor, label_smoothing: float = 0.0) -> Tensor:
        """Mean cross-entropy in nats of (B, T) `targets`, which are `tokens` shifted by one; `IGNORED` ones do not
        count."""
        return training_loss(self(tokens), targets, self.stack, self.config, label_smoothing)


def encode(stack: Stack, x: Tensor, is_token: Tensor | None, attention_maps: list[Tensor] | None = None) -> Tensor:
    """(B, S, C) embeddings -> (B, S, C): every token sees every real token; padding takes no position."""
    if is_token is None:
        positions = torch.arange(x.shape[1], device=x.device)
        return stack(x, positions=positions, attention_maps=attention_maps)
    positions, mask = real_positions(is_token), padding_mask(is_token)
    return stack(x, positions=positions, mask=mask, attention_maps=attention_maps)


class Encoder(nn.Module):
    """Tokens that all see each other (Vaswani et al. 2017, §3.1; BERT)."""

    def __init__(self, config: ModelConfig, vocab_size: int) -> None:
        super().__init__()
        self.config = config
        self.tokens = TokenEmbedding(config, vocab_size)
        self.stack = Stack(config)
        initialize(self, config)

    def forward(
        self,
        tokens: Tensor,
        *,
        is_token: Tensor | None = None,
        attention_maps: list[Tensor] | None = None,
    ) -> Tensor:
        """(B, S) tokens, False in `is_token` at padding, which may stand on either side -> (B, S, C)."""
        return encode(self.stack, self.tokens(tokens), is_token, attention_maps)


class MaskedLM(nn.Module):
    """An encoder with BERT's head: dense layer, GELU, norm, then the token embeddings as output (Devlin et al.
    2019)."""

    def __init__(self, config: ModelConfig, vocab_size: int) -> None:
        super().__init__()
        self.config, self.vocab_size = config, vocab_size
        self.encoder = Encoder(config, vocab_size)
        self.transform = nn.Linear(config.d_model, config.d_model)
        self.norm = build_norm(config.norm, config.d_model, bias=config.bias)
        initialize(self, config)

    def forward(self, tokens: Tensor, *, is_token: Tensor | None = None) -> Tensor:
        """(B, T) tokens, some of them masked -> (B, T, V) logits of the token that stands there."""
        hidden = self.encoder(tokens, is_token=is_token)
        return self.encoder.tokens.logits(self.norm(F.gelu(self.transform(hidden))))

    def loss(self, tokens: Tensor, targets: Tensor, label_smoothing: float = 0.0) -> Tensor:
        """Mean cross-entropy in nats of (B, T) `targets`, `IGNORED` where the token was shown."""
        return training_loss(self(tokens), targets, self.encoder.stack, self.config, label_smoothing)


class Classifier(nn.Module):
    """An encoder, the mean over its tokens, and one linear layer: a label for the whole text."""

    def __init__(self, config: ModelConfig, vocab_size: int, n_classes: int) -> None:
        super().__init__()
        self.config = config
        self.encoder = Encoder(config, vocab_size)
        self.head = nn.Linear(config.d_model, n_classes)
        initialize(self, config)

    def forward(self, tokens: Tensor, *, is_token: Tensor | None = None) -> Tensor:
        """(B, T) tokens, False in `is_token` at padding -> (B, n_classes) logits."""
        hidden = self.encoder(tokens, is_token=is_token)  # (B, T, C)
        if is_token is None:
            return self.head(hidden.mean(dim=1))
        weight = is_token.to(hidden.dtype)[..., None]  # (B, T, 1)
        return self.head((hidden * weight).sum(dim=1) / weight.sum(dim=1).clamp(min=1))


class EncoderDecoder(nn.Module):
    """Reads a source, writes a target (Vaswani et al. 2017). One vocabulary and one table of embeddings serve both."""

    def __init__(self, config: ModelConfig, vocab_size: int) -> None:
        super().__init__()
        self.config, self.vocab_size = config, vocab_size
        self.tokens = TokenEmbedding(config, vocab_size)
        self.encoder = Stack(config)
        self.decoder = Stack(config, cross_attention=True)
        initialize(self, config)

    def encode(self, source: Tensor, is_token: Tensor | None = None) -> Tensor:
        """(B, S) source tokens, False in `is_token` at padding -> memory (B, S, C)."""
        return encode(self.encoder, self.tokens(source), is_token)

    def decode(
        self,
        target: Tensor,
        memory: Tensor,
        memory_is_token: Tensor | None = None,
        *,
        cache: DecoderCache | None = None,
    ) -> Tensor:
        """(B, T) target tokens so far and (B, S, C) memory -> (B, T, V) logits of the token after each."""
        if cache is None:
            positions = torch.arange(target.shape[1], device=target.device)
            key_positions = None
        else:
            positions, key_positions, _ = cache.extend(None, target.shape[1])
        hidden = self.decoder(
            self.tokens(target),
            positions=positions,
            key_positions=key_positions,
            causal=True,
            cache=cache,
            memory=memory,
            memory_mask=None if memory_is_token is None else padding_mask(memory_is_token),
        )
        return self.tokens.logits(hidden)

    def forward(self, source: Tensor, target: Tensor, source_is_token: Tensor | None = None) -> Tensor:
        """(B, S) source and (B, T) target tokens -> (B, T, V) logits of the target token after each.

        Target padding needs no mask: it stands behind the real tokens, which the causal mask keeps from seeing it.
        """
        return self.decode(target, self.encode(source, source_is_token), source_is_token)

    def loss(
        self,
        source: Tensor,
        source_is_token: Tensor | None,
        target: Tensor,
        next_tokens: Tensor,
        label_smoothing: float = 0.0,
    ) -> Tensor:
        """Mean cross-entropy in nats of (B, T) `next_tokens`, `target` shifted by one; `IGNORED` ones do not count."""
        logits = self(source, target, source_is_token)
        loss = training_loss(logits, next_tokens, self.decoder, self.config, label_smoothing)
        balancing = self.encoder.balancing_loss() if self.training else None
        return loss if balancing is None else loss + self.config.balancing_weight * balancing


def build_ngrams(config: ModelConfig, vocab_size: int) -> NgramEmbedding:
    """The n-gram embeddings that `config` describes."""
    return NgramEmbedding(vocab_size, config.ngram_orders, config.ngram_rows, config.ngram_width, config.d_model)


def training_loss(
    logits: Tensor, targets: Tensor, stack: Stack, config: ModelConfig, label_smoothing: float = 0.0
) -> Tensor:
    """Mean cross-entropy in nats over targets other than `IGNORED`, plus the weighted balancing loss of any experts."""
    loss = F.cross_entropy(
        logits.flatten(0, -2), targets.flatten(), ignore_index=IGNORED, label_smoothing=label_smoothing
    )
    balancing = stack.balancing_loss() if config.n_experts > 1 and stack.training else None
    return loss if balancing is None else loss + config.balancing_weight * balancing


def initialize(model: nn.Module, config: ModelConfig) -> None:
    """Fresh weights: every linear map keeps the variance of its input, and the residual stream starts near its input.

    Layers that write to the residual stream (`output` of each attention, `down` of each feed-forward part or expert)
    are scaled by 1/sqrt(2 · n_layers), as a decoder-only model or an encoder has that many of them (Radford et al.
    2019, §2.3). Embeddings have variance 1/C, so that tied logits start near variance 1; those of n-grams start at
    zero.
    """
    for name, module in model.named_modules():
        if isinstance(module, nn.Linear):
            writes_residual = name.endswith((".output", ".down"))
            gain = 1 / math.sqrt(2 * config.n_layers) if writes_residual else 1.0
            nn.init.normal_(module.weight, std=gain / math.sqrt(module.in_features))
            if module.bias is not None:
                nn.init.zeros_(module.bias)
        elif isinstance(module, nn.Embedding):
            is_ngram = ".tables." in name
            nn.init.normal_(module.weight, std=0.0 if is_ngram else 1 / math.sqrt(config.d_model))


def count_parameters(model: nn.Module) -> int:
    """Trained numbers, a shared one counted once."""
    return sum(parameter.numel() for parameter in model.parameters())
