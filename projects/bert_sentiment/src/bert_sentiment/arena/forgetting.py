"""How much of what the encoder could do before is gone after fine-tuning on one task.

A sentence encoder's trade is to put texts of like meaning near each other. So: for each of some paragraphs that have
nothing to do with sentiment (the Python language reference), its 10 nearest neighbours among the others by cosine of
the encoder's mean last hidden state, before and after. Forgetting is the share of neighbours that is lost, from 0
(all kept) to about 1 (as if drawn anew). A turn or a scaling of the whole space loses no neighbour, and counts as
nothing.

Methods that add weights are measured with these in place; taken off, they leave the encoder as it was. What `full`
and `bitfit` overwrite is lost.

Shapes: N paragraphs, T tokens, C width of the encoder, k neighbours.
"""

import re
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from peft import PeftModel

from bert_sentiment.models.bert_classifier import SentimentModel, evaluating, mean_over_tokens
from roadmap_shared.offline import python_reference

N_NEIGHBOURS = 10
_WORDS = re.compile(r"[A-Za-z]+")


def general_texts(n: int) -> list[str]:
    """At most n paragraphs of 8 to 80 words of the Python language reference, spread over all of it."""
    paragraphs = (" ".join(paragraph.split()) for paragraph in python_reference().text.split("\n\n"))
    prose = dict.fromkeys(text for text in paragraphs if 8 <= len(text.split()) <= 80 and _is_prose(text))
    texts = list(prose)
    return [texts[index] for index in np.linspace(0, len(texts) - 1, min(n, len(texts))).round().astype(int)]


def _is_prose(text: str) -> bool:
    """Rather than a table, a grammar or code: mostly words, and a full stop at the end."""
    return text.endswith(".") and sum(map(len, _WORDS.findall(text))) > 0.7 * len(text)


def encoder_features(model: SentimentModel, texts: Sequence[str], batch_size: int = 64) -> np.ndarray:
    """(N, C) mean of the last hidden states over each text's own tokens, whatever method the network has."""
    network: Any = model.network
    plain: Any = network.get_base_model() if isinstance(network, PeftModel) else network
    captured: list[torch.Tensor] = []
    hook = plain.base_model.register_forward_hook(lambda *call: captured.append(call[2].last_hidden_state))
    features = np.zeros((len(texts), network.config.hidden_size), dtype=np.float32)
    try:
        with evaluating(network), torch.inference_mode():
            for batch, inputs in model.batches(texts, batch_size):
                network(**inputs)
                attention_mask = inputs["attention_mask"]  # (B, T)
                # Virtual tokens stand before the text: what the text became are the last T.
                hidden = captured.pop()[:, -attention_mask.shape[1] :]  # (B, T, C)
                features[batch] = mean_over_tokens(hidden, attention_mask).cpu().numpy()
    finally:
        hook.remove()
    return features


def lost_neighbours(before: np.ndarray, after: np.ndarray, k: int = N_NEIGHBOURS) -> float:
    """Mean share of each text's k nearest neighbours (cosine) in `before` (N, C) that are none in `after` (N, C')."""
    near_before, near_after = nearest(before, k), nearest(after, k)
    kept = [len(np.intersect1d(old, new)) for old, new in zip(near_before, near_after, strict=True)]
    return 1 - float(np.mean(kept)) / near_before.shape[1]


def nearest(features: np.ndarray, k: int) -> np.ndarray:
    """(N, k) indices of the rows with the highest cosine to each row, itself left out."""
    directions = features / np.maximum(np.linalg.norm(features, axis=1, keepdims=True), 1e-12)
    cosines = directions @ directions.T
    np.fill_diagonal(cosines, -np.inf)
    return np.argsort(-cosines, axis=1, kind="stable")[:, : min(k, len(features) - 1)]
