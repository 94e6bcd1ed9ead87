"""How probable a model finds given tokens, without generating any."""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from transformers import PreTrainedModel

from text_generation.backends.batches import left_padded, length_buckets, positions_of
from text_generation.backends.decoding_loop import forward_options

Pair = tuple[Sequence[int], Sequence[int]]
"""Token ids of a text, at least one, and of what comes after it."""


def token_logprobs(
    network: PreTrainedModel, pairs: Sequence[Pair], *, pad_id: int, batch_size: int
) -> list[list[float]]:
    """ln p(token | all before it) of each token of each continuation.

    Only the logits of continuations are computed: over a vocabulary of 150,000 tokens those of a long prompt would
    take gigabytes.
    """
    logprobs: list[list[float]] = [[] for _ in pairs]
    scored = [index for index, (_, continuation) in enumerate(pairs) if continuation]
    lengths = [len(pairs[index][0]) + len(pairs[index][1]) for index in scored]
    for bucket in length_buckets(lengths, batch_size):
        batch = [scored[position] for position in bucket]
        for index, values in zip(batch, _score(network, [pairs[index] for index in batch], pad_id), strict=True):
            logprobs[index] = values
    return logprobs


@torch.inference_mode()
def _score(network: PreTrainedModel, pairs: Sequence[Pair], pad_id: int) -> list[list[float]]:
    ids, mask = left_padded([[*prompt, *continuation] for prompt, continuation in pairs], pad_id, network.device)
    longest = max(len(continuation) for _, continuation in pairs)
    given = {"position_ids": positions_of(mask), "logits_to_keep": longest + 1}
    options = {name: given[name] for name in forward_options(network)}
    output = network(input_ids=ids, attention_mask=mask, use_cache=False, **options)
    logits = output.logits[:, -longest - 1 : -1].float()  # (B, longest, V): each predicts the token after it
    targets = ids[:, -longest:]
    values = -F.cross_entropy(logits.transpose(1, 2), targets, reduction="none")  # (B, longest)
    return [row[longest - len(pair[1]) :] for row, pair in zip(values.tolist(), pairs, strict=True)]
