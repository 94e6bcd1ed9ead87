"""The command `generate`: from a run folder or GPT-2 weights to text on the terminal."""

from pathlib import Path

import pytest
import torch
from tokenizers import ByteLevelBPETokenizer

from roadmap_shared.checkpoints import save_checkpoint
from transformer_from_scratch.cli import main
from transformer_from_scratch.config import ModelConfig
from transformer_from_scratch.generate import generate
from transformer_from_scratch.gpt2 import load_gpt2
from transformer_from_scratch.models import DecoderLM, MaskedLM
from transformer_from_scratch.tokenizers import CharacterTokenizer

ALPHABET = "abcdefgh "
SHAPE = {"n_layers": 1, "d_model": 16, "n_heads": 2, "d_hidden": 16, "context": 32}


@pytest.fixture
def checkpoint(tmp_path: Path) -> Path:
    return save(DecoderLM, tmp_path)


def save(architecture: type, folder: Path) -> Path:
    tokenizer = CharacterTokenizer.train(ALPHABET)
    torch.manual_seed(0)
    model = architecture(ModelConfig(**SHAPE), tokenizer.vocab_size)
    about = {"architecture": architecture.__name__, "config": SHAPE, "vocab_size": tokenizer.vocab_size}
    documents = {"model": about, "tokenizer": tokenizer.to_json()}
    return save_checkpoint(folder / "checkpoints", 1, {"model": model.state_dict(), "optimizer": {}}, documents, 1)


def output_of(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    assert main(["generate", *arguments]) == 0
    return capsys.readouterr().out


def error_of(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    assert main(["generate", *arguments]) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    (line,) = captured.err.splitlines()
    return line


def test_greedy_text_is_that_of_the_model(checkpoint: Path, capsys: pytest.CaptureFixture[str]) -> None:
    printed = output_of(
        capsys, "--checkpoint", str(checkpoint), "--prompt", "abc", "--length", "20", "--temperature", "0"
    )
    tokenizer = CharacterTokenizer.train(ALPHABET)
    torch.manual_seed(0)
    model = DecoderLM(ModelConfig(**SHAPE), tokenizer.vocab_size).eval()
    (tokens,) = generate(model, [tokenizer.encode("abc")], max_new_tokens=20)
    assert printed == "abc" + tokenizer.decode(tokens) + "\n"


def test_a_run_folder_serves_as_well_as_its_checkpoint(checkpoint: Path, capsys: pytest.CaptureFixture[str]) -> None:
    a = output_of(capsys, "--checkpoint", str(checkpoint), "--prompt", "abc", "--seed", "3")
    b = output_of(capsys, "--checkpoint", str(checkpoint.parents[1]), "--prompt", "abc", "--seed", "3")
    c = output_of(capsys, "--checkpoint", str(checkpoint), "--prompt", "abc", "--seed", "4")
    assert a == b != c


def test_several_prompts_are_set_apart(checkpoint: Path, capsys: pytest.CaptureFixture[str]) -> None:
    printed = output_of(capsys, "--checkpoint", str(checkpoint), "--prompt", "abc", "fgh", "--length", "3")
    first, second = printed.split("\n\n")
    assert first.startswith("abc")
    assert len(first) == 6
    assert second.startswith("fgh")
    assert len(second) == 7  # with the line break at the end


def test_beams_find_a_text_at_least_as_probable(checkpoint: Path, capsys: pytest.CaptureFixture[str]) -> None:
    common = ["--checkpoint", str(checkpoint), "--prompt", "abc", "--length", "6"]
    tokenizer = CharacterTokenizer.train(ALPHABET)
    torch.manual_seed(0)
    model = DecoderLM(ModelConfig(**SHAPE), tokenizer.vocab_size).eval()

    def log_probability(text: str) -> float:
        ids = torch.tensor([tokenizer.encode(text.removesuffix("\n"))])
        with torch.no_grad():
            log_probs = model(ids[:, :-1]).log_softmax(dim=-1)
        return log_probs.gather(2, ids[:, 1:, None])[:, 2:].sum().item()

    greedy = output_of(capsys, *common, "--temperature", "0")
    best = output_of(capsys, *common, "--beams", "500")
    assert log_probability(best) >= log_probability(greedy) - 1e-6


@pytest.mark.parametrize("more", [["--temperature", "0"], ["--beams", "3"]])
def test_stop_text_ends_it_and_is_left_out(
    checkpoint: Path, capsys: pytest.CaptureFixture[str], more: list[str]
) -> None:
    common = ["--checkpoint", str(checkpoint), "--prompt", "abc", "--length", "12", *more]
    whole = output_of(capsys, *common).removesuffix("\n")
    stop = whole[6:8]
    assert output_of(capsys, *common, "--stop", stop) == "abc" + whole[3:].partition(stop)[0] + "\n"


def test_gpt2_weights_speak(tmp_path: Path, write_gpt2, capsys: pytest.CaptureFixture[str]) -> None:
    library = ByteLevelBPETokenizer()  # all bytes and the end token: GPT-2's vocabulary without a merge
    library.train_from_iterator(["ab"], vocab_size=257, special_tokens=["<|endoftext|>"])
    library.save_model(str(tmp_path))
    write_gpt2(tmp_path, vocab_size=257)
    arguments = ["--gpt2", str(tmp_path), "--prompt", "hello", "--length", "8", "--temperature", "0"]
    printed = output_of(capsys, *arguments)
    model, tokenizer = load_gpt2(tmp_path)
    assert tokenizer is not None
    (tokens,) = generate(model, [tokenizer.encode("hello")], max_new_tokens=8)
    assert printed == "hello" + tokenizer.decode(tokens) + "\n"


def test_user_errors_are_one_line(checkpoint: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    place = ["--checkpoint", str(checkpoint)]
    assert "'X' (U+0058) at position 1" in error_of(capsys, *place, "--prompt", "aX")
    assert "no such folder" in error_of(capsys, "--checkpoint", str(tmp_path / "nowhere"))
    assert "--temperature -1.0 must be" in error_of(capsys, *place, "--temperature", "-1")
    (checkpoint / "tokenizer.json").write_text("{}")
    assert "tokenizer.json: is damaged" in error_of(capsys, *place)
    foreign = save_checkpoint(tmp_path / "foreign", 1, {}, {"weights": 1}, None)
    assert "a whole checkpoint, but not of this project" in error_of(capsys, "--checkpoint", str(foreign))
    empty = tmp_path / "empty"
    empty.mkdir()
    assert "no whole checkpoint in this run" in error_of(capsys, "--checkpoint", str(empty))


def test_an_encoder_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    line = error_of(capsys, "--checkpoint", str(save(MaskedLM, tmp_path)), "--prompt", "a")
    assert "holds a MaskedLM, which cannot continue a text" in line
