"""The rows that were left out, as a run folder keeps them."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from bert_sentiment.arena import command as arena
from bert_sentiment.cli import main
from bert_sentiment.comparison import command
from bert_sentiment.config import DataConfig
from bert_sentiment.data.datasets import load_splits
from bert_sentiment.data.rejects import rejects_by_reason, write_rejects

from .helpers import arena_config, rule, write_csv, write_dataset

ROWS = [(f"review number {index}", ("negative", "positive")[index % 2]) for index in range(20)]


def config_with_rejects(folder: Path) -> DataConfig:
    bad = [("", "positive"), ("no label", ""), (" ", "negative")]
    return DataConfig(
        path=write_csv(folder / "train.csv", [*ROWS, *bad]),
        test_path=write_csv(folder / "test.csv", [("t", "negative"), ("u", "mixed")]),
    )


def test_each_row_is_kept_with_its_part_and_reason(tmp_path: Path) -> None:
    splits = load_splits(config_with_rejects(tmp_path))
    said: list[str] = []
    write_rejects(tmp_path, {"": splits}, said.append)
    path = tmp_path / "rejects.jsonl"
    assert [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()] == [
        {"part": "train", "source": "train.csv:22", "reason": "empty text"},
        {"part": "train", "source": "train.csv:23", "reason": "no label"},
        {"part": "train", "source": "train.csv:24", "reason": "empty text"},
        {"part": "test", "source": "test.csv:3", "reason": "label 'mixed' does not occur in the training texts"},
    ]
    assert said == [f"4 rows left out, each with its line and reason: {path}"]
    assert rejects_by_reason(splits) == [
        ("train", "empty text", 2, "train.csv:22"),
        ("train", "no label", 1, "train.csv:23"),
        ("test", "label 'mixed' does not occur in the training texts", 1, "test.csv:3"),
    ]


def test_without_rejects_no_file_is_left(tmp_path: Path) -> None:
    (tmp_path / "rejects.jsonl").write_text("of an earlier start", encoding="utf-8")
    said: list[str] = []
    write_rejects(tmp_path, {"": load_splits(DataConfig(path=write_csv(tmp_path / "a.csv", ROWS)))}, said.append)
    assert not (tmp_path / "rejects.jsonl").exists()
    assert said == []


def test_a_run_keeps_its_rejects_and_shows_them(tmp_path, encoder_folder, monkeypatch, capsys):
    """Also: warnings come before training, and test texts of one label give no area instead of NaN."""
    monkeypatch.chdir(tmp_path)
    test = write_csv(tmp_path / "t.csv", [(f"{text} again", "negative") for text, _ in ROWS])
    data = [
        "--data.path",
        str(write_csv(tmp_path / "r.csv", [*ROWS, ("<br>", "positive")])),
        "--data.test_path",
        str(test),
    ]
    small = ["--trainer.epochs", "1", "--evaluation.n_resamples", "50", "--evaluation.n_robustness", "2"]
    assert main(["run", "--model.name", str(encoder_folder("bert")), *data, *small]) == 0
    folder = tmp_path / "runs" / "bert_sentiment" / "latest"
    (line,) = (folder / "rejects.jsonl").read_text(encoding="utf-8").splitlines()
    assert json.loads(line)["source"] == "r.csv:22"
    assert json.loads((folder / "summary.json").read_text())["macro_auc"] is None
    page = (folder / "report.html").read_text(encoding="utf-8")
    for shown in ("rows left out", "empty once markup is taken away", "no label can be ranked", "Length of the texts"):
        assert shown in page
    assert (folder / "figures" / "lengths.png").exists()
    out = capsys.readouterr().out
    kept = f"1 row left out, each with its line and reason: runs/bert_sentiment/{folder.resolve().name}/rejects.jsonl\n"
    assert kept in out
    warning = "data check: every test text has the label 'negative': there is no area under the ROC curve\n"
    assert out.index(kept) < out.index(warning) < out.index("accuracy ")


@pytest.mark.usefixtures("no_report")
def test_a_comparison_keeps_them_by_data_set(compare_config, tmp_path):
    write_dataset(tmp_path / "two.csv", rule(90, 2))
    with (tmp_path / "two.csv").open("a", encoding="utf-8") as file:
        file.write("no label,\n")
    command.run(
        compare_config(models=("majority",), datasets=(f"one={tmp_path / 'one.csv'}", f"two={tmp_path / 'two.csv'}"))
    )
    (line,) = (tmp_path / "runs" / "bert_sentiment" / "latest" / "rejects.jsonl").read_text().splitlines()
    assert json.loads(line) == {"data_set": "two", "part": "train", "source": "two.csv:92", "reason": "no label"}


def test_an_arena_keeps_them_and_warns_before_it_trains(tmp_path, encoder_folder, monkeypatch, capsys):
    def stop(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(arena, "train_all", stop)
    with pytest.raises(KeyboardInterrupt):
        arena.run(replace(arena_config(tmp_path, encoder_folder("bert")), data=config_with_rejects(tmp_path)))
    rejects = tmp_path / "bert_sentiment" / "latest" / "rejects.jsonl"
    assert len(rejects.read_text(encoding="utf-8").splitlines()) == 4
    assert "data check: every test text has the label 'negative': there is no area" in capsys.readouterr().out
