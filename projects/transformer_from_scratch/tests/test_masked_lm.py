"""Hiding tokens, and the command `mlm`."""

import json
from pathlib import Path

import pytest
import torch

from transformer_from_scratch.cli import main
from transformer_from_scratch.config import MaskingConfig
from transformer_from_scratch.models import IGNORED
from transformer_from_scratch.train_masked_lm import hide_tokens

MASK_ID, FIRST, VOCABULARY = 0, 1, 50


def hidden(config: MaskingConfig, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    tokens = torch.randint(FIRST, VOCABULARY, (400, 100), generator=generator)
    return tokens, *hide_tokens(tokens, MASK_ID, FIRST, VOCABULARY, config, generator)


def test_shares_are_those_of_bert() -> None:
    tokens, shown, targets = hidden(MaskingConfig())
    chosen = targets != IGNORED
    assert chosen.float().mean().item() == pytest.approx(0.15, abs=0.006)
    assert torch.equal(targets[chosen], tokens[chosen])
    assert torch.equal(shown[~chosen], tokens[~chosen]), "only chosen tokens are hidden"
    masked = shown[chosen] == MASK_ID
    kept = shown[chosen] == tokens[chosen]
    assert masked.float().mean().item() == pytest.approx(0.8, abs=0.02)
    # A random token is the true one in one of 49 cases.
    assert kept.float().mean().item() == pytest.approx(0.1 + 0.1 / 49, abs=0.015)
    replaced = shown[chosen & (shown != tokens) & (shown != MASK_ID)]
    assert replaced.min().item() == FIRST
    assert replaced.max().item() == VOCABULARY - 1


def test_extreme_shares() -> None:
    _, shown, targets = hidden(MaskingConfig(share=0.5, masked=1.0, replaced=0.0))
    assert torch.equal(shown == MASK_ID, targets != IGNORED)
    tokens, shown, targets = hidden(MaskingConfig(share=0.5, masked=0.0, replaced=0.0))
    assert torch.equal(shown, tokens)


def test_same_generator_hides_the_same() -> None:
    a, b, c = hidden(MaskingConfig(), 1), hidden(MaskingConfig(), 1), hidden(MaskingConfig(), 2)
    assert torch.equal(a[1], b[1])
    assert not torch.equal(a[2], c[2])


def tiny(text: Path, root: Path, *more: str) -> list[str]:
    settings = (
        "--model.n_layers 1 --model.n_heads 2 --model.d_model 32 --model.d_hidden 64 --model.context 32 "
        "--trainer.steps 80 --trainer.batch_size 16 --trainer.threads 1 --trainer.device cpu "
        "--evaluation.n_resamples 50 --evaluation.n_examples 2"
    )
    return ["mlm", "--data.path", str(text), "--run.root", str(root), *settings.split(), *more]


@pytest.fixture
def text(tmp_path: Path) -> Path:
    path = tmp_path / "text.txt"
    path.write_text("abcdefghijklmnopqrstuvwxyz\n" * 300)
    return path


def test_command_learns_what_stands_between_neighbours(text: Path, tmp_path: Path) -> None:
    assert main(tiny(text, tmp_path)) == 0
    folder = (tmp_path / "transformer_from_scratch" / "latest").resolve()
    summary = json.loads((folder / "summary.json").read_text())
    assert summary["command"] == "mlm"
    assert summary["val_accuracy"] > 0.5 > 0.1 > summary["baseline_accuracy"]
    assert summary["val_accuracy_low"] <= summary["val_accuracy"] <= summary["val_accuracy_high"]
    page = (folder / "report.html").read_text()
    assert page.count("what stands there") == 2
    assert "▮" in page


def test_ngrams_are_refused(text: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(tiny(text, tmp_path, "--model.ngram_orders", "2")) == 2
    assert "are for decoder-only models: leave them out" in capsys.readouterr().err
