"""The real `run` command on a tiny model: its figures, its report, its cache, and mistakes that end in one line."""

import json
from pathlib import Path
from typing import Any

import pytest

from text_generation.cli import main

TINY = [
    *("--data.stories", "60", "--data.max_function_characters", "260", "--data.min_function_characters", "200"),
    *("--tokenizer.vocabulary", "2000", "--model.n_layers", "1", "--model.width", "16", "--model.n_heads", "2"),
    *("--trainer.steps", "3", "--trainer.batch_size", "4", "--trainer.threads", "1", "--evaluation.documents", "4"),
    *("--evaluation.stories", "2", "--evaluation.prompts", "2", "--evaluation.samples", "2"),
    *("--evaluation.max_new_tokens", "6", "--evaluation.cases", "2", "--evaluation.votes", "2"),
    *("--evaluation.problems", "2", "--evaluation.conversations", "8", "--evaluation.pairs", "4"),
]
FEW = ["--evaluation.studies", "json"]
"""Settings of runs that are not about the studies; all of them are held once, in `finished`."""


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Root of a run that has ended."""
    root = tmp_path_factory.mktemp("runs")
    assert main(["run", "--run.root", str(root), *TINY]) == 0
    return root


def latest(root: Path) -> Path:
    return root / "text_generation" / "latest"


def summary_of(root: Path) -> dict[str, Any]:
    return json.loads((latest(root) / "summary.json").read_text())


def test_the_summary_has_the_headline_with_its_interval_and_baselines(finished: Path):
    summary = summary_of(finished)
    assert summary["project"] == "text_generation"
    assert summary["bits_per_byte_low"] <= summary["bits_per_byte"] <= summary["bits_per_byte_high"]
    assert summary["bits_per_byte"] == summary["bits_per_byte_function"] != summary["bits_per_byte_story"]
    # A model of three steps knows next to nothing; what is counted on the same texts knows more.
    assert summary["bits_per_byte"] > summary["baseline_ngram"] > 0
    assert 0 < summary["baseline_xz_function"] < 8
    assert 0 <= summary["hero_obeyed"] <= 1
    assert summary["greedy_tokens_per_second"] > 0
    # A mask leaves nothing invalid, whatever the model knows, and the schema no room for texts beyond the limit.
    assert summary["json_valid_constrained"] == 1.0
    assert 0 <= summary["function_valid_constrained_cut"] <= 1
    assert summary["search_gain_low"] <= summary["search_gain"] <= summary["search_gain_high"]
    assert 0 <= summary["right_by_vote"] <= 1
    assert summary["function_zero_shot_better_by_nats_per_byte"] >= 0
    assert 0 <= summary["requests_obeyed_dpo"] <= 1
    assert 0 <= summary["baseline_assistant_all"] <= 1


def test_the_report_shows_every_part(finished: Path):
    page = (latest(finished) / "report.html").read_text()
    for title in ("What it knows", "How it was trained", "Does it do what it is asked?", "What decoding makes of it"):
        assert title in page
    for title in ("Which prompt is best?", "Can a search find a better prompt?",
                  "Do samples that vote know more?", "Structured output: JSON Schema",
                  "Structured output: Python functions", "Creative writing assistant",
                  "Teaching it to do what it is asked in plain words", "What the studies took"):  # fmt: skip
        assert title in page
    for heading in ("distinct-2 a text", "compression ratio", "valid, cut to its last whole statement", "seconds"):
        assert heading in page
    stories = [json.loads(line) for line in (latest(finished) / "stories.jsonl").read_text().splitlines()]
    assert len(stories) == 2
    assert {"theme", "hero", "mood", "ending", "story", "missed"} == set(stories[0])
    assert "<html" in (latest(finished) / "microscope.html").read_text()
    assert (latest(finished) / "figures" / "frontier.png").exists() or list((latest(finished) / "figures").iterdir())


def test_a_second_run_trains_nothing_and_finds_the_same(finished: Path, capsys: pytest.CaptureFixture[str]):
    first = summary_of(finished)
    assert main(["run", "--run.root", str(finished), *TINY, *FEW, "--evaluation.max_new_tokens", "5"]) == 0
    assert "using the model that was trained earlier with these settings" in capsys.readouterr().out
    assert not (latest(finished) / "checkpoints").exists()
    again = summary_of(finished)
    for name in ("bits_per_byte", "baseline_ngram", "hero_obeyed", "ending_obeyed"):
        assert again[name] == first[name]


def test_another_setting_of_the_training_trains_again(finished: Path, tmp_path: Path):
    kept = finished / "text_generation" / "models"
    before = set(kept.iterdir())
    assert main(["run", "--run.root", str(finished), *TINY, *FEW, "--trainer.steps", "2"]) == 0
    (new,) = set(kept.iterdir()) - before
    assert (latest(finished) / "checkpoints").exists()
    # The model that was kept can be named, and is then used as it is.
    named = ["--model.name", str(new), "--run.root", str(tmp_path)]
    assert main(["run", *TINY, *FEW, *named]) == 0
    assert summary_of(tmp_path)["bits_per_byte"] == summary_of(finished)["bits_per_byte"]


def test_a_text_file_is_enough(tmp_path: Path):
    sentences = [f"The {a} {b} went to the {c} and came home late, tired and happy." for a in ("old", "young", "tall")
                 for b in ("fox", "owl", "cat", "hare") for c in ("wood", "sea", "hill", "town", "fair")]  # fmt: skip
    path = tmp_path / "fox.txt"
    path.write_text("\n<|endoftext|>\n".join(f"{line} {line.lower()} number {i}" for i, line in enumerate(sentences)))
    settings = ["--data.path", str(path), "--model.context", "32", "--run.root", str(tmp_path / "runs")]
    assert main(["run", *TINY, *settings]) == 0
    summary = summary_of(tmp_path / "runs")
    assert summary["bits_per_byte"] == summary["bits_per_byte_text"]
    assert "hero_obeyed" not in summary


def test_a_folder_that_is_no_model_is_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    (tmp_path / "empty").mkdir()
    code = main(["run", *TINY, "--run.root", str(tmp_path / "runs"), "--model.name", str(tmp_path / "empty")])
    said = capsys.readouterr()
    error = said.err.strip()
    assert code == 2
    expected = f"--model.name {tmp_path / 'empty'}: is no model folder (no config.json in it)"
    assert error == f"text-generation run: {expected}"
    assert said.out == ""  # before the corpus, which tells of itself
    assert not (tmp_path / "runs" / "text_generation" / "latest").exists()
