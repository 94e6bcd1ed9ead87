"""`bert-sentiment run` as a user starts it, on a tiny encoder: what it leaves, and one line for each mistake."""

import csv
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from transformers import AutoModelForSequenceClassification, AutoTokenizer

from bert_sentiment.cli import main
from bert_sentiment.models.bert_classifier import SentimentModel


@pytest.fixture
def tiny_run(tmp_path, encoder_folder, monkeypatch):
    """Run the command in an empty folder; returns the exit code."""
    monkeypatch.chdir(tmp_path)

    def run(*arguments: str) -> int:
        small = ["--trainer.epochs", "1", "--evaluation.n_resamples", "50", "--evaluation.n_robustness", "10"]
        return main(
            ["run", "--model.name", str(encoder_folder("bert")), "--data.max_examples", "90", *small, *arguments]
        )

    return run


@pytest.fixture
def reviews(tmp_path) -> Path:
    """120 reviews under two labels."""
    path = tmp_path / "reviews.csv"
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["id", "review", "stars"])
        for index in range(120):
            opinion = ("bad and awful", "good and great")[index % 2]
            writer.writerow([index, f"the film number {index} was {opinion}", index % 2])
    return path


def test_a_run_on_the_built_in_texts(tiny_run, tmp_path, capsys):
    assert tiny_run() == 0
    folder = tmp_path / "runs" / "bert_sentiment" / "latest"
    summary = json.loads((folder / "summary.json").read_text())
    assert (summary["project"], summary["command"], summary["config"]) == ("bert_sentiment", "run", "default")
    assert list(summary)[6:9] == ["accuracy", "accuracy_low", "accuracy_high"]
    for name in ("macro_f1", "accuracy_films", "accuracy_products", "accuracy_tweets", "baseline_tfidf_accuracy"):
        assert 0 <= summary[name] <= 1
    out = capsys.readouterr().out
    warning, headline = out.splitlines()[:2]  # the tiny encoder reads 64 tokens, and spells most words
    assert warning.startswith("data check: ")
    assert "of the texts are cut to 62 tokens" in warning
    assert headline.startswith("accuracy 0.")
    assert "report: runs/bert_sentiment/" in out

    lines = [json.loads(line) for line in (folder / "predictions.jsonl").read_text().splitlines()]
    assert len(lines) == summary["n_test"] == 90
    right = sum(line["label"] == line["predicted"] for line in lines)
    assert right / 90 == pytest.approx(summary["accuracy"])

    page = (folder / "report.html").read_text()
    for title in (
        "How good it is",
        "Where it fails",
        "What its probabilities are worth",
        "How it behaves",
        "The texts",
    ):
        assert title in page
    assert {path.stem for path in (folder / "figures").iterdir()} >= {"confusion", "learning_curve", "reliability"}


def test_the_model_it_leaves_is_an_ordinary_one(tiny_run, tmp_path):
    assert tiny_run() == 0
    folder = tmp_path / "runs" / "bert_sentiment" / "latest" / "model"
    network = AutoModelForSequenceClassification.from_pretrained(folder)
    tokenizer = AutoTokenizer.from_pretrained(folder)
    inputs = tokenizer("it was good", return_tensors="pt")
    ours = SentimentModel.load(folder)
    assert network.eval()(**inputs).logits.tolist()[0] == pytest.approx(
        ours.logits(["it was good"])[0].tolist(), abs=1e-5
    )
    assert network.config.id2label == {0: "negative", 1: "neutral", 2: "positive"}


def test_the_written_config_repeats_the_run(tiny_run, tmp_path):
    assert tiny_run() == 0
    first = (tmp_path / "runs" / "bert_sentiment" / "latest").resolve()
    assert main(["run", "--config", str(first / "config.yaml")]) == 0
    second = (tmp_path / "runs" / "bert_sentiment" / "latest").resolve()
    assert first != second
    for name in ("predictions.jsonl",):
        assert (first / name).read_bytes() == (second / name).read_bytes()


def test_a_run_on_a_file(tiny_run, reviews, tmp_path, capsys):
    labels = ["--data.label_map", "0=negative", "1=positive"]
    assert tiny_run("--data.path", str(reviews), "--data.text_column", "review", *labels) == 0
    summary = json.loads((tmp_path / "runs" / "bert_sentiment" / "latest" / "summary.json").read_text())
    assert summary["n_test"] == 24
    assert summary["baseline_tfidf_accuracy"] == 1
    assert main(["predict", "it was good and great", "bad and awful"]) == 0
    assert capsys.readouterr().out.strip().splitlines()[-1]


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (["--data.path", "none.csv"], "bert-sentiment run: none.csv: "),
        (["--trainer.learning_rat", "1"], "bert-sentiment run: unknown flag '--trainer.learning_rat'"),
        (["--model.name", "no/such"], "bert-sentiment run: --model.name no/such: there is no such folder"),
        (["--data.name", "a/b", "--data.path", "x.csv"], "--data.path and --data.name exclude each other"),
        (["--run.resume", "latest"], "holds no run yet"),
    ],
)
def test_a_mistake_is_one_line_and_leaves_nothing(tiny_run, tmp_path, capsys, arguments, line):
    assert tiny_run(*arguments) == 2
    err = capsys.readouterr().err
    assert line in err
    assert err.count("\n") == 1
    assert not list(tmp_path.glob("runs/bert_sentiment/*"))


def test_help_is_quick_to_import():
    code = (
        "import sys; import bert_sentiment.cli as c; c.main(['--help']); "
        "heavy = {'torch', 'transformers', 'sklearn', 'matplotlib', 'datasets', 'peft', 'gradio'} & set(sys.modules); "
        "sys.exit(f'imported {heavy}' if heavy else 0)"
    )
    done = subprocess.run(
        [sys.executable, "-P", "-c", code], capture_output=True, text=True, env=os.environ, check=False
    )
    assert done.returncode == 0, done.stderr
    assert "Fine-tune an encoder" in done.stdout
