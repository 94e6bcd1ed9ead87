"""Beam search, as transformers' `generate` does it."""

from collections.abc import Iterable, Sequence
from typing import Any

import torch
from transformers import GenerationConfig, PreTrainedModel

from text_generation.config.decoding import DecodingConfig


@torch.inference_mode()
def beam_search(
    network: PreTrainedModel,
    prompts: Sequence[Sequence[int]],
    decoding: DecodingConfig,
    end_tokens: Iterable[int],
    n_new: int,
) -> list[list[int]]:
    """The most probable of `decoding.num_beams` answers to each prompt, as token ids.

    Args:
        network: in evaluation mode.
        prompts: token ids, all of the same length: `generate` counts padding as a token that has occurred, and its
            repetition penalty would make an answer depend on its batch.
        decoding: settings of the search, but for the limit of new tokens.
        end_tokens: ids of the tokens that end an answer. One such token ends what is returned, unless the limit of new
            tokens came first.
        n_new: new tokens at most.
    """
    ends = sorted(end_tokens)
    settings = GenerationConfig(
        do_sample=False,
        num_beams=decoding.num_beams,
        early_stopping=decoding.early_stopping,
        length_penalty=decoding.length_penalty,
        repetition_penalty=float(decoding.repetition_penalty),
        no_repeat_ngram_size=decoding.no_repeat_ngram_size,
        max_new_tokens=n_new,
        min_new_tokens=0,
        eos_token_id=ends or None,
        pad_token_id=ends[0] if ends else 0,
        use_cache=True,
    )
    ids = torch.tensor(prompts, device=network.device)  # (B, T)
    generate: Any = network.generate  # pyright takes it for a tensor, as a module's attributes may be
    found = generate(ids, attention_mask=torch.ones_like(ids), generation_config=settings)
    assert isinstance(found, torch.Tensor)
    return [_until_end(row, set(ends)) for row in found[:, ids.shape[1] :].tolist()]


def _until_end(tokens: list[int], ends: set[int]) -> list[int]:
    for index, token in enumerate(tokens):
        if token in ends:
            return tokens[: index + 1]
    return tokens
