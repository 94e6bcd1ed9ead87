"""The cross-encoder against sentence-transformers' own."""

from pathlib import Path

import pytest

from rag_qa.retrieval.reranker import CrossEncoderReranker
from roadmap_shared.errors import UserError

from .tiny_models import write_cross_encoder

PASSAGES = ["the cat sat", "red apple pie", "sea"]


def test_scores_are_those_of_the_model(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    folder = write_cross_encoder(tmp_path)
    capfd.readouterr()
    reranker = CrossEncoderReranker(str(folder), batch_size=2)
    scores = reranker.scores("the cat", PASSAGES)
    assert capfd.readouterr() == ("", "")
    assert reranker.scores("the cat", []) == []

    import torch
    from transformers import AutoModelForSequenceClassification, AutoTokenizer

    tokenizer, model = AutoTokenizer.from_pretrained(folder), AutoModelForSequenceClassification.from_pretrained(folder)
    batch = tokenizer(["the cat"] * 3, PASSAGES, padding=True, return_tensors="pt")
    with torch.inference_mode():
        expected = torch.sigmoid(model(**batch).logits[:, 0]).tolist()
    assert scores == pytest.approx(expected, abs=1e-5)


def test_models_that_do_not_fit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    two = write_cross_encoder(tmp_path / "two", labels=2)
    with pytest.raises(UserError, match=r"gives 2 scores for a passage, not one$"):
        CrossEncoderReranker(str(two))
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError, match=r"cannot be loaded, nor fetched if it is a hub id: "):
        CrossEncoderReranker(str(tmp_path / "empty"))
    with pytest.raises(UserError, match=r"cannot be loaded, nor fetched if it is a hub id: "):
        CrossEncoderReranker("no-such/model")
