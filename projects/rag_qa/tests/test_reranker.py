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


def test_a_score_depends_on_its_own_passage_alone(tmp_path: Path) -> None:
    folder = str(write_cross_encoder(tmp_path))
    passages = ["sea", "the cat sat on the mat of the dog", "", "中国", "a dog", "red apple pie, red sky"]
    together = CrossEncoderReranker(folder, batch_size=4).scores("the cat", passages)
    alone = CrossEncoderReranker(folder, batch_size=1)
    assert together == pytest.approx([alone.scores("the cat", [passage])[0] for passage in passages], abs=1e-5)
    assert together == pytest.approx(alone.scores("the cat", passages[::-1])[::-1], abs=1e-5)
    assert len({round(score, 4) for score in together}) == len(passages)


def test_a_passage_beyond_the_models_window_is_read_from_its_beginning(tmp_path: Path) -> None:
    reranker = CrossEncoderReranker(str(write_cross_encoder(tmp_path)))  # 64 positions
    long = "the cat sat on the mat . " * 40
    first, same, other = reranker.scores("the cat", [long, long + "sea", "sea " + long])
    assert first == pytest.approx(same, abs=1e-6)
    assert abs(first - other) > 1e-4


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
    (tmp_path / "two" / "model.safetensors").write_bytes(b"damaged")
    with pytest.raises(UserError, match=r"cannot be loaded, nor fetched if it is a hub id: "):
        CrossEncoderReranker(str(two))
    for name in ("./none", "/none", str(tmp_path / "two" / "config.json"), "a/b/c"):
        with pytest.raises(UserError) as caught:
            CrossEncoderReranker(name)
        assert str(caught.value) == (
            f"reranker {name!r}: not a folder, nor a hub id such as cross-encoder/ms-marco-MiniLM-L6-v2"
        )
