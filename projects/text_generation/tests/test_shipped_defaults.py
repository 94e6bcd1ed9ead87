"""The commands of the README on a tiny latest model with a context of 256 tokens, with the shipped defaults."""

import io
from importlib.resources import files
from pathlib import Path
from typing import Any

import pytest
import torch

from text_generation.cli import main
from text_generation.coding.problems import built_in_problems
from text_generation.config.data import TokenizerConfig
from text_generation.config.training import ModelConfig
from text_generation.prompting.injection_cases import BUILT_IN
from text_generation.tokenizer import train_tokenizer
from text_generation.training.model import build_model
from text_generation.training.trained_model import save_whole


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a model in `runs`, as `text-generation run` leaves it."""
    root = tmp_path_factory.mktemp("work")
    templates = [file.read_text("utf-8") for file in (files("text_generation") / "writing" / "templates").iterdir()]
    problems = [problem.prompt for problem in built_in_problems().problems]
    texts = [*problems, *templates, BUILT_IN.read_text("utf-8")]
    tokenizer = train_tokenizer(texts, TokenizerConfig(vocabulary=4000), context=256)
    network = build_model(ModelConfig(n_layers=2, width=32, n_heads=2, context=256), tokenizer, 0)
    # The end of a text is about as probable as all other tokens together, so that answers are short.
    weights: Any = network.get_input_embeddings()
    ends = weights.weight[tokenizer.eos_token_id].detach()
    with torch.no_grad():
        network.transformer.ln_f.bias.copy_(8 * ends / ends.square().sum())
    save_whole(root / "runs" / "text_generation" / "models" / "tiny", network, tokenizer)
    return root


@pytest.fixture
def here(place: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(place)
    return place


@pytest.mark.parametrize(
    "command",
    [
        ["code", "the median of a list of numbers"],
        ["pass-at-k", "--data.limit", "2", "--sandbox.allow_weak", "True"],
        ["write", "--style", "headers", "--theme", "sea", "--hero", "Mira", "--folder", "headers"],
    ],
    ids=lambda command: command[0],
)
def test_a_command_fits_the_model(here: Path, command: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    code = main([*command, "--backend.model", "latest"])
    error = capsys.readouterr().err
    if command[0] == "write":  # what a random model writes may be no story, but it was asked
        assert "context" not in error
    else:
        assert (code, "context" in error) == (0, False)


def test_chat_fits_the_model(here: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO("Hello!\nAnd a second turn.\n"))
    assert main(["chat", "--backend.model", "latest"]) == 0
    assert "context" not in capsys.readouterr().err


def test_write_in_the_style_of_chat_asks_the_model(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["write", "--theme", "a lost key", "--hero", "Mira", "--backend.model", "latest"]) == 2
    # A random model writes no outline.
    assert "gave no usable outline in 3 attempts" in capsys.readouterr().err


def test_inject_tells_what_it_leaves_out(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["inject", "--defences", "none", "layered", "--backend.model", "latest"]) == 0
    said = capsys.readouterr().out
    assert "cases, as prompt and 96 tokens of an answer do not fit into the context of 256: " in said


def test_inject_with_nothing_left_is_one_line(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    command = ["inject", "--defences", "none", "--decoding.max_new_tokens", "255", "--backend.model", "latest"]
    assert main(command) == 2
    assert "nothing is left to try. Take a model with a longer context. Left out of" in capsys.readouterr().err


def test_a_number_that_does_not_fit_is_an_error(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    command = ["code", "the median of a list of numbers", "--backend.model", "latest"]
    assert main([*command, "--decoding.max_new_tokens", "512"]) == 2
    assert "with --decoding.max_new_tokens 512 that is more than the 256 tokens of" in capsys.readouterr().err


@pytest.mark.parametrize("description", ["", "   "])
def test_code_needs_a_description(description: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["code", description]) == 2
    assert 'say what the function does, as in: code "the median of a list of numbers"' in capsys.readouterr().err
