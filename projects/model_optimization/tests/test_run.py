"""The main job on a tiny classifier: every variant, the ledger, the report."""

import json
import re
from pathlib import Path

import pytest

from model_optimization.cli import main
from model_optimization.variants import check_files, load_variant, read_info

from .tiny_models import tiny_classifier

LABELS = ("negative", "neutral", "positive")
MADE = ("onnx", "int8_mixed", "student", "student_labels_only", "smallest")
"""Some of the variants; `test_recipes` makes them all."""

SMALL = (
    *("--data.max_examples", "24", "--model.max_length", "32", "--student.layers", "0", "1", "--student.ffn", "32"),
    *("--trainer.epochs", "1", "--student_trainer.epochs", "1", "--qat.epochs", "1", "--repair.epochs", "1"),
    *("--mixed.max_trials", "2", "--mixed.ranking_texts", "4", "--pruning.calibration_texts", "16"),
    *("--benchmark.tokens", "16", "--benchmark.seconds_per_variant", "0.2", "--benchmark.patience_seconds", "0"),
    *("--benchmark.rounds", "3", "--benchmark.realistic", "4", "--static.texts", "8"),
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The run folder of one run of everything."""
    root = tmp_path_factory.mktemp("runs")
    tiny_classifier(root / "model", LABELS, layers=3)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(root / "cache"))
        code = main(["run", "--model.path", str(root / "model"), "--run.root", str(root), "--variants", *MADE, *SMALL])
    assert code == 0
    return (root / "model_optimization" / "latest").resolve()


def test_every_variant_is_there_and_whole(folder: Path) -> None:
    for name in ("original", *MADE):
        variant = folder / "variants" / name
        check_files(variant)
        # Those that were trained may come from the cache, where they stand under the same name.
        assert read_info(variant).name == name
        assert read_info(variant).labels == LABELS
    assert not [path.name for path in (folder / "variants").iterdir() if path.name.startswith(".")]
    assert read_info(folder / "variants" / "smallest").kind == "onnx"
    chosen = (folder / "chosen.txt").read_text().strip()
    assert load_variant(folder / "variants" / chosen).logits(["a good film"]).shape == (1, 3)


def test_summary(folder: Path) -> None:
    summary = json.loads((folder / "summary.json").read_text())
    assert summary["project"] == "model_optimization"
    assert summary["original_speedup_batch_1"] == 1
    assert summary["best_speedup_low"] <= summary["best_speedup"] <= summary["best_speedup_high"]
    assert summary["best_accuracy_low"] <= summary["best_accuracy"] <= summary["best_accuracy_high"]
    assert summary["onnx_flips"] == 0
    assert summary["student_size_mb"] < summary["baseline_size_mb"]
    for name in MADE:
        assert 0 <= summary[f"{name}_accuracy"] <= 1
        assert (f"{name}_speedup_batch_1" in summary) == (name not in ("student_labels_only", "student_random_start"))


def test_flips_are_written_down(folder: Path) -> None:
    summary = json.loads((folder / "summary.json").read_text())
    lines = [json.loads(line) for line in (folder / "flips.jsonl").read_text().splitlines()]
    for name in MADE:
        of_it = [line for line in lines if line["variant"] == name]
        assert len(of_it) == round(summary[f"{name}_flips"] * 24)
        assert all(line["before"] != line["after"] for line in of_it)


def test_the_report_says_all_of_it(folder: Path) -> None:
    report = (folder / "report.html").read_text()
    headings = " ".join(re.findall(r"<h2.*?</h2>", report, re.DOTALL))
    for title in (
        "The ledger",
        "Speed",
        "Why: the roofline",
        "Flipped sentences",
        "Behaviour",
        "What stays in fp32",
        "Did distillation help?",
        "How they were made",
        "What next",
    ):
        assert title in headings
    assert all(f">{name}</td>" in report for name in ("original", *MADE))
    assert (folder / "figures" / "pareto.png").is_file() or list((folder / "figures").glob("pareto*"))


def test_a_choice_that_nothing_meets_serves_the_original(folder: Path, tmp_path: Path) -> None:
    arguments = ["run", "--model.path", str(folder.parents[1] / "model"), "--run.root", str(tmp_path), *SMALL]
    arguments += ["--variants", "student_labels_only", "--choice.max_flips", "0", "--keep_trained", "False"]
    assert main(arguments) == 0
    latest = tmp_path / "model_optimization" / "latest"
    assert (latest / "chosen.txt").read_text() == "original\n"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--variants", "int8", "int8"], "--variants int8 int8: name each variant once"),
        (["--choice.max_flips", "2"], "--choice.max_flips 2.0 is outside 0 … 1"),
        (["--pruning.ffn_keep", "1"], "--pruning.ffn_keep, --pruning.heads_keep or --pruning.layers_keep must cut"),
        (["--magnitude.sparsity", "0"], "--magnitude.sparsity must be above 0"),
        (["--model.path", "nowhere"], "--model.path nowhere: is no model folder (no config.json in it)"),
        (["--test_batch", "0"], "--test_batch 0 must be at least 1"),
    ],
)
def test_mistakes_end_in_one_line(
    arguments: list[str],
    message: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["run", *arguments]) == 2
    error = capsys.readouterr().err.strip()
    assert message in error
    assert "\n" not in error
