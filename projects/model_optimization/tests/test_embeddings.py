"""Embeddings of a network in a folder."""

from pathlib import Path

import numpy as np
import pytest
import torch

from model_optimization.monitoring.embeddings import encoder_named, network_embeddings
from roadmap_shared.errors import UserError

from .tiny_models import TEXTS, tiny_classifier


def test_they_are_the_mean_over_the_tokens_of_a_text(tmp_path: Path) -> None:
    classifier = tiny_classifier(tmp_path / "model")
    vectors = encoder_named(str(tmp_path / "model"))(TEXTS)
    for text, vector in zip(TEXTS, vectors, strict=True):
        inputs = classifier.tokenizer(text, return_tensors="pt")
        with torch.inference_mode():
            mean = classifier.network.base_model(**inputs).last_hidden_state[0].mean(dim=0).numpy()
        np.testing.assert_allclose(vector, mean / np.linalg.norm(mean), atol=1e-5)


def test_a_folder_without_an_encoder_in_one_line(tmp_path: Path) -> None:
    message = f"^{tmp_path}: holds no encoder whose embeddings could be taken: give a torch variant$"
    with pytest.raises(UserError, match=message):
        network_embeddings(tmp_path)
