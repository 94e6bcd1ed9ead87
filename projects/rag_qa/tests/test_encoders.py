"""Encoders against sentence-transformers' own `encode`, and ONNX against torch."""

import shutil
from pathlib import Path

import numpy as np
import pytest

from rag_qa.config.encoder import EncoderConfig
from rag_qa.retrieval.encoder_files import fingerprint
from rag_qa.retrieval.encoders import build_encoder
from rag_qa.retrieval.onnx_export import LEAST_COSINE
from roadmap_shared.errors import UserError

from .tiny_models import write_encoder

TEXTS = ["the cat sat on the mat", "", "red apple pie, blue sky.", "dog", "the sea " * 30, "中国 cats", "unspellable!"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_encoder(tmp_path_factory.mktemp("encoder"))


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("onnx")


def config(folder: Path, cache: Path, backend: str = "torch", **more: object) -> EncoderConfig:
    return EncoderConfig(model=str(folder), cache=cache, backend=backend, **more)  # type: ignore[arg-type]


def test_vectors_are_those_of_sentence_transformers(folder: Path, cache: Path) -> None:
    from sentence_transformers import SentenceTransformer

    encoder = build_encoder(config(folder, cache, batch_size=2))
    expected = SentenceTransformer(str(folder), device="cpu").encode(TEXTS, normalize_embeddings=True)

    np.testing.assert_allclose(encoder.encode(TEXTS), expected, atol=1e-6)
    assert (encoder.dimension, encoder.max_tokens, encoder.encode([]).shape) == (32, 14, (0, 32))


@pytest.mark.parametrize("backend", ["onnx", "onnx_int8"])
def test_exports_agree_with_torch_and_need_no_second_export(
    backend: str, folder: Path, cache: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    expected = build_encoder(config(folder, cache)).encode(TEXTS)
    first = build_encoder(config(folder, cache, backend))
    assert capfd.readouterr() == ("", "")

    cosines = (first.encode(TEXTS) * expected).sum(axis=1)
    assert cosines.min() >= LEAST_COSINE[backend]
    np.testing.assert_allclose(np.linalg.norm(first.encode(TEXTS), axis=1), 1, atol=1e-5)
    monkeypatch.setattr("rag_qa.retrieval.onnx_export.export", None)  # to call it would fail
    second = build_encoder(config(folder, cache, backend))
    np.testing.assert_array_equal(second.encode(TEXTS), first.encode(TEXTS))
    assert not [path for path in cache.iterdir() if path.name.startswith(".")]


def test_a_vector_in_8_bits_does_not_depend_on_its_neighbours(folder: Path, cache: Path) -> None:
    encoder = build_encoder(config(folder, cache, "onnx_int8"))

    np.testing.assert_array_equal(encoder.encode(TEXTS)[0], encoder.encode(TEXTS[:1])[0])


def test_a_damaged_export_is_made_again(folder: Path, tmp_path: Path) -> None:
    settings = config(folder, tmp_path, "onnx")
    before = build_encoder(settings).encode(TEXTS)
    (model,) = tmp_path.glob("*/model.onnx")
    model.write_bytes(model.read_bytes()[:1000])

    np.testing.assert_array_equal(build_encoder(settings).encode(TEXTS), before)


def test_an_export_that_disagrees_is_refused(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(LEAST_COSINE, "onnx_int8", 1.1)

    with pytest.raises(UserError, match=r"does not agree with it .*, at least 1.1 needed"):
        build_encoder(config(folder, tmp_path, "onnx_int8"))
    assert list(tmp_path.iterdir()) == []


def test_fingerprints_tell_everything_apart_that_changes_vectors(folder: Path, cache: Path, tmp_path: Path) -> None:
    other = write_encoder(tmp_path / "other", seed=1)
    longer = write_encoder(tmp_path / "longer", max_length=20)
    copy = tmp_path / "copy"
    shutil.copytree(folder, copy)
    (copy / "README.md").write_text("says something else")

    prints = [
        build_encoder(settings).fingerprint
        for settings in (
            config(folder, cache),
            config(other, cache),
            config(longer, cache),
            config(folder, cache, query_prompt="query: "),
            config(folder, cache, "onnx_int8"),
        )
    ]
    assert len(set(prints)) == len(prints)
    assert build_encoder(config(copy, cache)).fingerprint == prints[0]
    assert build_encoder(config(folder, cache, "onnx")).fingerprint == prints[0], "the same vectors, computed otherwise"
    assert fingerprint(folder, "a", "b") != fingerprint(folder, "ab")


def test_token_spans_cover_the_whole_text(folder: Path, cache: Path) -> None:
    encoder = build_encoder(config(folder, cache))
    text = "The  CATS sat, 中国!"

    assert [text[start:end] for start, end in encoder.token_spans(text)] == "The CAT S sat , 中 国 !".split()
    assert len(encoder.token_spans("the sea " * 30)) == 60
    assert encoder.token_spans("") == []
    assert encoder.unknown_share("the zebra") == 0.5


def test_lone_surrogates_do_not_stop_an_encoder(folder: Path, cache: Path) -> None:
    encoder = build_encoder(config(folder, cache))

    assert np.isfinite(encoder.encode(["cat \ud800 dog"])).all()
    assert encoder.token_spans("cat \ud800 dog")[-1] == (6, 9)


def test_prompts_go_before_questions_and_passages(folder: Path, cache: Path) -> None:
    plain = build_encoder(config(folder, cache))
    prompted = build_encoder(config(folder, cache, query_prompt="red ", passage_prompt="blue sky "))

    np.testing.assert_allclose(prompted.encode_queries(["cat"]), plain.encode(["red cat"]), atol=1e-6)
    np.testing.assert_allclose(prompted.encode(["cat"]), plain.encode(["blue sky cat"]), atol=1e-6)
    assert prompted.max_tokens == plain.max_tokens - 2


def test_the_built_in_encoder_knows_what_is_like() -> None:
    encoder = build_encoder()
    question, near, far = encoder.encode(
        ["Who wrote Hamlet?", "The author of Hamlet is Shakespeare.", "Bread needs yeast."]
    )

    assert (encoder.dimension, encoder.max_tokens) == (384, 254)
    assert question @ near > 0.6 > 0.2 > question @ far


def test_models_that_are_not_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    monkeypatch.setenv("HF_HOME", str(tmp_path))
    unreachable = (
        "encoder 'no-such/model': no such folder, and the hub cannot be reached to fetch it: use the built-in "
    )
    with pytest.raises(UserError, match=f"^{unreachable}encoder `minilm`, or a folder$"):
        build_encoder(EncoderConfig(model="no-such/model"))
    with pytest.raises(
        UserError, match=r"^encoder 'nowhere': not a folder, nor a hub id such as BAAI/bge-small-en-v1.5$"
    ):
        build_encoder(EncoderConfig(model="nowhere"))
    with pytest.raises(UserError, match=r"holds no config.json: it is not a transformer's folder$"):
        build_encoder(EncoderConfig(model=str(tmp_path)))
    (tmp_path / "config.json").write_text("{}")
    (tmp_path / "pytorch_model.bin").write_bytes(b"")
    with pytest.raises(UserError, match=r"holds no weights as safetensors; other formats can hold code$"):
        build_encoder(EncoderConfig(model=str(tmp_path)))
    (tmp_path / "model.safetensors").write_bytes(b"damaged")
    with pytest.raises(UserError, match=r"cannot be loaded: "):
        build_encoder(EncoderConfig(model=str(tmp_path)))


def test_devices_that_do_not_fit(folder: Path, cache: Path) -> None:
    with pytest.raises(
        UserError, match=r"^--encoder.backend onnx computes on the CPU: leave --encoder.device out, not 'cuda'$"
    ):
        build_encoder(config(folder, cache, "onnx", device="cuda"))
    with pytest.raises(UserError, match=r"cannot be loaded: "):
        build_encoder(config(folder, cache, device="nonsense"))


def test_auto_exports_on_the_cpu_and_leaves_the_rest_to_torch(
    folder: Path, cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    assert type(build_encoder(config(folder, cache, "auto"))).__name__ == "OnnxEncoder"
    assert type(build_encoder(config(folder, cache, "auto", device="meta"))).__name__ == "TorchEncoder"
    assert caplog.text == ""

    monkeypatch.setitem(LEAST_COSINE, "onnx", 1.1)
    encoder = build_encoder(config(folder, tmp_path, "auto"))
    assert type(encoder).__name__ == "TorchEncoder"
    np.testing.assert_allclose(encoder.encode(TEXTS), build_encoder(config(folder, cache)).encode(TEXTS), atol=1e-6)
    assert "does not agree with it" in caplog.text
    assert caplog.text.rstrip().endswith("use --encoder.backend torch; computed by torch meanwhile")


def test_auto_tells_of_a_model_that_is_not_there(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with pytest.raises(UserError, match=r"holds no config.json"):
        build_encoder(EncoderConfig(model=str(tmp_path)))
    assert caplog.text == ""


def test_auto_computes_by_torch_where_no_export_can_be_kept(
    folder: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    blocked = tmp_path / "file"
    blocked.write_text("not a folder")

    assert type(build_encoder(config(folder, blocked, "auto"))).__name__ == "TorchEncoder"
    assert "ONNX cache" in caplog.text
