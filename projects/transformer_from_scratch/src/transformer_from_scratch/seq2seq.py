"""What all sequence tasks share: encode pairs, train an encoder-decoder on them, write a target for each source.

Shapes: B batch, S source tokens, T target tokens, H heads.
"""

from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from roadmap_shared.progress import progress
from transformer_from_scratch.attention import MultiHeadAttention
from transformer_from_scratch.config import DatesConfig, ModelConfig, SequenceEvaluation, TranslationConfig
from transformer_from_scratch.corpus import random_seed
from transformer_from_scratch.evaluation import evaluating
from transformer_from_scratch.models import IGNORED, EncoderDecoder
from transformer_from_scratch.sequence_pairs import (
    BOS,
    EOS,
    PAD,
    LengthBuckets,
    Pair,
    SequencePairs,
    collate,
    encode_fitting,
    encode_pair,
    encode_source,
    pad_sources,
    say,
)
from transformer_from_scratch.tokenizers import Tokenizer
from transformer_from_scratch.translate import translate_beam, translate_greedy

SequenceConfig = DatesConfig | TranslationConfig


class SequenceTask:
    """Predicting the next target token from the source and the target so far.

    Raises:
        UserError: no pair of a part fits the model's context.
    """

    def __init__(self, pairs: SequencePairs, tokenizer: Tokenizer, config: SequenceConfig, seed: int) -> None:
        self.tokenizer, self.pad_id = tokenizer, tokenizer.special_id(PAD)
        self.train = encode_fitting(pairs.train, "training", tokenizer, config.model.context)
        self.validation = encode_fitting(pairs.validation, "validation", tokenizer, config.model.context)
        self.validation.sort(key=lambda pair: pair.length)
        self.evaluation_batch = config.evaluation.batch_size
        self.buckets = LengthBuckets([pair.length for pair in self.train], config.data.batch_tokens, seed)

    def batch(self, step: int, batch_size: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Sources, their real tokens, target inputs and targets of this step: a multiple of `batch_size` rows."""
        return collate([self.train[item] for item in self.buckets.batch(step, batch_size)], self.pad_id)

    def loss(self, model: nn.Module, batch: tuple[Tensor, ...], label_smoothing: float) -> Tensor:
        """Mean cross-entropy in nats a target token."""
        return model.loss(*batch, label_smoothing)  # type: ignore[operator]

    def evaluate(self, model: nn.Module) -> dict[str, float]:
        """Loss in nats a target token over all validation pairs."""
        device = next(model.parameters()).device
        total, count = 0.0, 0
        with evaluating(model):
            for start in range(0, len(self.validation), self.evaluation_batch):
                batch = collate(self.validation[start : start + self.evaluation_batch], self.pad_id)
                source, is_token, inputs, targets = (tensor.to(device) for tensor in batch)
                logits = model(source, inputs, is_token).float()  # (B, T, V)
                losses = F.cross_entropy(logits.flatten(0, 1), targets.flatten(), ignore_index=IGNORED, reduction="sum")
                total += losses.item()
                count += int((targets != IGNORED).sum())
        return {"val_loss": total / count}


def build_encoder_decoder(config: ModelConfig, vocab_size: int, seed: int) -> EncoderDecoder:
    """A model with weights drawn from the seed alone, whatever was drawn before."""
    torch.manual_seed(random_seed(seed))
    return EncoderDecoder(config, vocab_size)


def write_targets(
    model: EncoderDecoder, tokenizer: Tokenizer, sources: Sequence[str], evaluation: SequenceEvaluation
) -> list[str]:
    """What the model writes for each source: greedily, or by beam search.

    A source that is longer than the model's context is cut, and counted on stderr.
    """
    context = model.config.context
    encoded = [encode_source(source, tokenizer) for source in sources]
    n_cut = sum(len(source) > context for source in encoded)
    if n_cut:
        say(f"{n_cut} of {len(sources)} sources are longer than --model.context {context} tokens and cut there")
    written = [""] * len(sources)
    # Sources of like length side by side: little padding, and rows that end at about the same step.
    order = sorted(range(len(sources)), key=lambda index: len(encoded[index]))
    starts = range(0, len(order), evaluation.batch_size)
    for start in progress(starts, "writing", "batch"):
        batch = order[start : start + evaluation.batch_size]
        targets = decode_batch(model, tokenizer, [encoded[index][:context] for index in batch], evaluation)
        for index, target in zip(batch, targets, strict=True):
            written[index] = tokenizer.decode(target)
    return written


def decode_batch(
    model: EncoderDecoder, tokenizer: Tokenizer, sources: Sequence[list[int]], evaluation: SequenceEvaluation
) -> list[list[int]]:
    """Target tokens for a batch of sources, without <bos> and <eos>."""
    device = next(model.parameters()).device
    source, is_token = (part.to(device) for part in pad_sources(sources, tokenizer.special_id(PAD)))
    ends = {"bos": tokenizer.special_id(BOS), "eos": tokenizer.special_id(EOS), "max_length": model.config.context}
    if evaluation.beams == 1:
        return translate_greedy(model, source, is_token, **ends)
    best = translate_beam(
        model, source, is_token, **ends, n_beams=evaluation.beams, length_penalty=evaluation.length_penalty
    )
    return [hypothesis.tokens for hypothesis in best]


def cross_attention_maps(
    model: EncoderDecoder, tokenizer: Tokenizer, pair: Pair
) -> tuple[list[Tensor], list[str], list[str]]:
    """Where each decoder block looks in a source while it is fed a target.

    Returns:
        (H, T, S) weights of each block, the S source tokens, and the T target tokens that are predicted there.
    """
    encoded = encode_pair(pair, tokenizer)
    maps: list[Tensor] = []
    handles = []
    for block in model.decoder.blocks:
        attention = block.cross_attention
        assert isinstance(attention, MultiHeadAttention)
        handles.append(attention.register_forward_pre_hook(ask_for_weights, with_kwargs=True))
        handles.append(attention.register_forward_hook(lambda module, inputs, output: maps.append(output[1][0])))
    device = next(model.parameters()).device
    try:
        with evaluating(model):
            model(torch.tensor([encoded.source], device=device), torch.tensor([encoded.target[:-1]], device=device))
    finally:
        for handle in handles:
            handle.remove()
    return (
        maps,
        [tokenizer.token_text(t) for t in encoded.source],
        [tokenizer.token_text(t) for t in encoded.target[1:]],
    )


def ask_for_weights(module: nn.Module, inputs: tuple[Any, ...], options: dict[str, Any]) -> tuple[Any, Any]:
    """Forward pre-hook of an attention: a block asks for the weights of its self-attention only."""
    return inputs, options | {"return_weights": True}
