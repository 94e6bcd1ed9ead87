"""The commands `dates` and `translate` from the command line to the run folder."""

import gzip
import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from transformer_from_scratch.checkpoints import load_trained
from transformer_from_scratch.cli import main
from transformer_from_scratch.config import SequenceEvaluation
from transformer_from_scratch.models import EncoderDecoder
from transformer_from_scratch.seq2seq import write_targets

TINY_MODEL = {
    "model.n_layers": 1,
    "model.n_heads": 2,
    "model.d_model": 32,
    "model.d_hidden": 64,
    "model.dropout": 0.1,
    "trainer.batch_size": 2,
    "trainer.warmup_steps": 5,
    "trainer.steps": 9,
    "trainer.evaluate_every": 5,
    "trainer.checkpoint_every": 4,
    "trainer.keep_checkpoints": 9,
    "trainer.threads": 1,
    "trainer.device": "cpu",
    "evaluation.n_resamples": 50,
}
TINY_DATES = TINY_MODEL | {
    "data.n_train": 400,
    "data.n_validation": 20,
    "data.n_test": 88,
    "data.batch_tokens": 512,
}
TINY_TRANSLATION = TINY_MODEL | {
    "model.context": 40,
    "data.vocabulary": 300,
    "data.batch_tokens": 256,
    "data.test_share": 0.2,
    "evaluation.beams": 2,
}
NOUNS = {"dog": "Hund", "man": "Mann", "ball": "Ball", "tree": "Baum", "bus": "Bus"}
ADJECTIVES = {"red": "rote", "old": "alte", "big": "große", "small": "kleine"}
VERBS = {"sees": "sieht", "has": "hat", "is": "ist", "wants": "will", "hears": "hört"}


def call(command: str, settings: dict[str, Any], **changes: object) -> int:
    flags = settings | {name.replace("__", "."): value for name, value in changes.items()}
    return main([command, *(part for name, value in flags.items() for part in (f"--{name}", str(value)))])


def newest_run(root: Path) -> Path:
    return (root / "transformer_from_scratch" / "latest").resolve()


def summary(folder: Path) -> dict[str, Any]:
    return json.loads((folder / "summary.json").read_text())


def weights(folder: Path, step: int) -> dict[str, torch.Tensor]:
    return load_file(folder / "checkpoints" / f"step-{step:08d}" / "model.safetensors")


@pytest.fixture
def pairs(tmp_path: Path) -> Path:
    """Two columns of simple sentences."""
    lines = [
        f"The {a} {n} {v} it.\tDer {ADJECTIVES[a]} {NOUNS[n]} {VERBS[v]} es."
        for n in NOUNS
        for a in ADJECTIVES
        for v in VERBS
    ]
    path = tmp_path / "pairs.tsv"
    path.write_text("\n".join(lines) + "\n")
    return path


def test_dates_learns_and_leaves_everything(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert call("dates", TINY_DATES, run__root=tmp_path, trainer__steps=40, trainer__learning_rate=1e-2) == 0
    folder = newest_run(tmp_path)
    found = summary(folder)
    assert found["command"] == "dates"
    assert 0 <= found["exact_low"] <= found["exact"] <= found["exact_high"] <= 1
    assert 0.2 < found["baseline_strptime"] < 0.8
    assert found["n_test"] == 88
    losses = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    assert losses[-1]["val_loss"] < 0.7 * losses[0]["loss"]
    assert sorted(path.stem for path in (folder / "figures").iterdir()) == ["cross_attention", "loss"]
    page = (folder / "report.html").read_text()
    assert "Which forms are hard" in page
    assert "Thursday, 4 March 1999" in page
    assert f"exact {found['exact']:.4g}" in capsys.readouterr().out


def test_translate_learns_and_leaves_everything(pairs: Path, tmp_path: Path) -> None:
    source, target = tmp_path / "a.en.gz", tmp_path / "a.de"
    rows = [line.split("\t") for line in pairs.read_text().splitlines()]
    source.write_bytes(gzip.compress("\n".join(row[0] for row in rows).encode()))
    target.write_text("\n".join(row[1] for row in rows))
    settings = TINY_TRANSLATION | {"data.source": source, "data.target": target, "run.root": tmp_path}
    assert call("translate", settings, trainer__steps=60, trainer__learning_rate=2e-2) == 0
    folder = newest_run(tmp_path)
    found = summary(folder)
    assert found["bleu_low"] <= found["bleu"] <= found["bleu_high"]
    assert found["bleu"] > found["baseline_copy_bleu"], "60 steps must beat copying"
    assert {"chrf", "bleu_greedy", "baseline_words_bleu", "sacrebleu"} <= found.keys()
    assert found["n_test"] == 20
    page = (folder / "report.html").read_text()
    assert "word by word" in page
    assert "this Transformer, 2 beams" in page
    # The checkpoint is all it takes to translate again.
    model, tokenizer, _ = load_trained(str(folder))
    assert isinstance(model, EncoderDecoder)
    (translation,) = write_targets(model, tokenizer, ["The old dog sees it."], SequenceEvaluation())
    assert translation.startswith("Der ")


def test_a_resumed_run_is_bit_identical(tmp_path: Path) -> None:
    assert call("dates", TINY_DATES, run__root=tmp_path / "whole") == 0
    assert call("dates", TINY_DATES, run__root=tmp_path / "cut") == 0
    whole, cut = newest_run(tmp_path / "whole"), newest_run(tmp_path / "cut")
    for step in (8, 9):
        shutil.rmtree(cut / "checkpoints" / f"step-{step:08d}")
    (cut / "summary.json").unlink()
    assert call("dates", TINY_DATES, run__root=tmp_path / "cut", run__resume="latest") == 0
    a, b = weights(whole, 9), weights(cut, 9)
    assert all(torch.equal(a[name], b[name]) for name in a)
    assert summary(cut)["exact"] == summary(whole)["exact"]
    kept = ("step", "loss", "grad_norm", "val_loss")
    curves = [
        [
            {key: line.get(key) for key in kept}
            for line in map(json.loads, (f / "metrics.jsonl").read_text().splitlines())
        ]
        for f in (whole, cut)
    ]
    assert curves[0] == curves[1]


def refusal(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    """The one line with which a command refuses."""
    capsys.readouterr()
    assert main(list(arguments)) == 2
    (line,) = capsys.readouterr().err.splitlines()
    return line


def test_translate_without_data_says_what_to_give(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert refusal(capsys, "translate", "--run.root", str(tmp_path)) == (
        "transformer-from-scratch translate: which sentences? Give a two-column file (source TAB target) with "
        "--data.path, or two files whose lines belong together with --data.source and --data.target"
    )


def test_a_mistake_in_the_data_is_one_line(pairs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pairs.write_text("one eins\n")
    line = refusal(capsys, "translate", "--data.path", str(pairs), "--run.root", str(tmp_path / "runs"))
    assert line == f"transformer-from-scratch translate: {pairs}, line 1: no TAB between source and target: 'one eins'"


def test_a_mistake_in_the_settings_is_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    line = refusal(capsys, "dates", "--data.batch_tokens", "100", "--run.root", str(tmp_path))
    assert "--data.batch_tokens 100 is too small for --trainer.batch_size" in line
    line = refusal(capsys, "dates", "--evaluation.beams", "0", "--run.root", str(tmp_path))
    assert "--evaluation.beams 0 must be at least 1" in line
    line = refusal(capsys, "dates", "--data.held_out_share", "0.7", "--run.root", str(tmp_path))
    assert "--data.held_out_share 0.7 must be between 0.01 and 0.5" in line
