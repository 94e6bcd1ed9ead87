"""`latest`, and what is said where no model has been trained."""

import os
from pathlib import Path

import pytest

from roadmap_shared.errors import UserError
from text_generation.backends import trained
from text_generation.backends.trained import model_source


@pytest.fixture
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder without runs above it, and code that lies in none either."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(trained, "__file__", str(tmp_path / "a/b/c/d/e/f/trained.py"))
    return tmp_path


def keep_model(root: Path, name: str, age: int) -> Path:
    folder = root / "runs" / "text_generation" / "models" / name
    folder.mkdir(parents=True)
    (folder / "config.json").write_text("{}")
    os.utime(folder, (1_000_000 - age, 1_000_000 - age))
    return folder


def test_latest_is_the_model_that_was_used_last(elsewhere: Path):
    keep_model(elsewhere, "older", age=50)
    newer = keep_model(elsewhere, "newer", age=10)
    keep_model(elsewhere, ".unfinished", age=0)
    assert Path(model_source("latest")) == newer


def test_runs_are_found_from_below(elsewhere: Path, monkeypatch: pytest.MonkeyPatch):
    model = keep_model(elsewhere, "one", age=0)
    below = elsewhere / "notes" / "deep"
    below.mkdir(parents=True)
    monkeypatch.chdir(below)
    assert Path(model_source("latest")) == model


def test_another_name_is_left_as_it_is(elsewhere: Path):
    assert model_source("openai-community/gpt2") == "openai-community/gpt2"


def test_without_a_model_the_remedy_is_told(elsewhere: Path):
    with pytest.raises(UserError) as raised:
        model_source("latest")
    assert str(raised.value) == (
        "--backend.model latest: no model has been trained here yet. Train one with `text-generation run`, or name a "
        "folder or a hub id such as gpt2"
    )
    with pytest.raises(UserError, match=r"^--model\.name latest: no model has been trained here yet"):
        model_source("latest", flag="--model.name")
