"""Texts to vectors, for detectors that look at meaning. N texts, D wide."""

import zlib
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from roadmap_shared.errors import UserError

Array = NDArray[np.float64]
Encoder = Callable[[Sequence[str]], Array]
"""(N, D) vectors of N texts."""

_BATCH = 32


def hashed_embeddings(texts: Sequence[str], width: int = 128) -> Array:
    """(N, width) character n-grams (3 and 4) hashed into signed places (Weinberger et al. 2009), of length 1.

    No network and no training: it sees spelling and topic words, not meaning. A text without a character is 0.
    """
    vectors = np.zeros((len(texts), width))
    for row, text in zip(vectors, texts, strict=True):
        padded = f" {text.lower()} ".encode()
        hashes = [zlib.crc32(padded[i : i + n]) for n in (3, 4) for i in range(len(padded) - n + 1)]
        places = np.array(hashes, dtype=np.int64)
        signs = 1.0 - 2.0 * ((places >> 16) & 1)
        row += np.bincount(places % width, weights=signs, minlength=width)
        row /= max(1e-12, float(np.linalg.norm(row)))
    return vectors


def network_embeddings(folder: Path, max_length: int = 128) -> Encoder:
    """Mean of the last layer's vectors over a text's tokens, of the encoder in a folder of transformers, of length 1.

    Raises:
        UserError: there is no such encoder.
    """
    import torch
    from transformers import AutoModel, AutoTokenizer

    from model_optimization.batching import by_length, padded
    from model_optimization.pretrained import quiet_transformers

    try:
        with quiet_transformers():
            network = AutoModel.from_pretrained(folder).eval()
            tokenizer = AutoTokenizer.from_pretrained(folder)
    except (OSError, ValueError, KeyError) as error:
        raise UserError(f"{folder}: holds no encoder whose embeddings could be taken: give a torch variant") from error

    def encode(texts: Sequence[str]) -> Array:
        sequences = tokenizer(list(texts), truncation=True, max_length=max_length)["input_ids"] if texts else []
        vectors = np.zeros((len(texts), network.config.hidden_size))
        for batch in by_length(sequences, _BATCH):
            input_ids, mask = padded([sequences[index] for index in batch], tokenizer.pad_token_id)
            with torch.inference_mode():
                states = network(torch.from_numpy(input_ids), attention_mask=torch.from_numpy(mask)).last_hidden_state
            means = (states.numpy() * mask[:, :, None]).sum(axis=1) / mask.sum(axis=1, keepdims=True)  # (B, D)
            vectors[batch] = means / np.maximum(np.linalg.norm(means, axis=1, keepdims=True), 1e-12)
        return vectors

    return encode


def encoder_named(name: str) -> Encoder:
    """`hashed`, `minilm` (the encoder that comes with the package), or a folder.

    Raises:
        UserError: there is no such encoder.
    """
    if name == "hashed":
        return hashed_embeddings
    if name == "minilm":
        from roadmap_shared.offline.encoder import minilm_folder

        return network_embeddings(minilm_folder())
    if not Path(name).is_dir():
        raise UserError(f"encoder {name!r} is neither hashed nor minilm nor a folder")
    return network_embeddings(Path(name))
