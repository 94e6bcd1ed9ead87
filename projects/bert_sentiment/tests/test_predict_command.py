"""`bert-sentiment predict` as a user meets it."""

import os
import pty
import subprocess
import sys
import unicodedata
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from bert_sentiment.cli import main
from bert_sentiment.config import METHOD_NAMES, MethodConfig, ModelConfig, PredictConfig, PreprocessingConfig
from bert_sentiment.inference.attributions import integrated_gradients
from bert_sentiment.inference.predict_command import run, shorten
from bert_sentiment.inference.predictor import Predictor
from bert_sentiment.inference.rendering import to_terminal
from bert_sentiment.models.bert_classifier import SentimentModel, build_classifier
from bert_sentiment.models.methods import apply_method
from bert_sentiment.run import merged_where_possible, save_model


@pytest.fixture
def predictor(tiny_model: Callable[..., SentimentModel], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Predictor:
    """The model of the only run; the command is started beside `runs`."""
    folder = tmp_path / "runs" / "bert_sentiment" / "20260101-000000-run" / "model"
    model = tiny_model()
    with torch.no_grad():
        for parameter in model.network.parameters():
            if parameter.dim() > 1:
                parameter *= 8  # scores of fresh weights would round to 0.00
    model.save(folder)
    monkeypatch.chdir(tmp_path)
    return Predictor.find(str(folder), tmp_path, "cpu")


def test_one_line_a_text(predictor: Predictor, capsys: pytest.CaptureFixture[str]) -> None:
    texts = ("a good film", "awful\nreally\x1b[2J", "x " * 300)
    assert main(["predict", *texts, "--device", "cpu"]) == 0
    output = capsys.readouterr()
    first, second, third = predictor.predict(texts)
    assert output.out.splitlines() == [
        f"{first.label}  {first.probability:.3f}  a good film",
        f"{second.label}  {second.probability:.3f}  awful really [2J",
        f"{third.label}  {third.probability:.3f}  {('x ' * 300).strip()}",
    ]
    assert output.err == ""


def test_labels_stand_in_one_column_and_unsure_is_said(
    predictor: Predictor, capsys: pytest.CaptureFixture[str]
) -> None:
    (sure,) = predictor.predict(["good"])
    (other,) = predictor.predict(["awful film"])
    threshold = (sure.probability + other.probability) / 2
    run(PredictConfig(texts=("good", "awful film"), unsure_below=threshold, device="cpu"))
    labels = [line.split("  ")[0] for line in capsys.readouterr().out.splitlines()]
    assert sorted(labels)[1] == "unsure"
    lines_start = [len(line) for line in labels]
    assert max(lines_start) == len(sure.label if sure.probability > threshold else other.label)


def test_explain_shows_scores_without_a_terminal(predictor: Predictor, capsys: pytest.CaptureFixture[str]) -> None:
    run(PredictConfig(texts=("a good film",), explain=True, device="cpu"))
    (prediction,) = predictor.predict(["a good film"])
    marked = to_terminal(integrated_gradients(predictor.model, "a good film"), colour=False)
    assert "(" in marked
    assert capsys.readouterr().out == f"{prediction.label}  {prediction.probability:.3f}  {marked}\n"


def test_explain_names_the_best_label_where_it_is_unsure(
    predictor: Predictor, capsys: pytest.CaptureFixture[str]
) -> None:
    run(PredictConfig(texts=("good",), explain=True, unsure_below=1.0, device="cpu"))
    (prediction,) = predictor.predict(["good"])
    assert capsys.readouterr().out.startswith(f"unsure  {prediction.probability:.3f}  {prediction.best}?  good(")


def test_a_file_is_labelled_and_counted(
    predictor: Predictor, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "in.csv").write_text("text\ngood\n<p>\nawful film\n")
    assert main(["predict", "--input", "in.csv", "--unsure_below", "0.999", "--device", "cpu"]) == 0
    output = capsys.readouterr()
    assert output.out.splitlines() == [
        "labelled: in.predictions.csv",
        "  unsure  2  100.0%",
        "not labelled: 1 record, with the reasons in in.rejects.jsonl",
    ]
    first, second = output.err.splitlines()
    assert first == "model: runs/bert_sentiment/20260101-000000-run/model"
    assert second.startswith("labelling: 3/3 text (100%)")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], 'give texts, as in: predict "I liked it", or a file with --input; one of the two'),
        (
            ["good", "--input", "a.csv"],
            'give texts, as in: predict "I liked it", or a file with --input; one of the two',
        ),
        (["--input", "a.csv", "--explain", "True"], "--explain is for texts; leave it out with --input"),
        (["good", "--output", "a.csv"], "--output goes with --input: give a file, or leave --output out"),
        (["good", "--text_column", "a"], "--text_column goes with --input: give a file, or leave --text_column out"),
        (["good", "--restart", "True"], "--restart goes with --input: give a file, or leave --restart out"),
        (["good", "--unsure_below", "1.5"], "--unsure_below 1.5 must lie between 0 and 1"),
        (["good", "--batch_size", "0"], "--batch_size 0 must be at least 1"),
        (["--input", "absent.csv"], "--input absent.csv: does not exist"),
        (["good", ""], "text 2 of 2: is empty"),
        (["good", "--model", "lates"], "--model lates: there is no such folder. Did you mean 'latest'?"),
    ],
)
def test_mistakes_are_one_line(
    predictor: Predictor, capsys: pytest.CaptureFixture[str], arguments: list[str], message: str
) -> None:
    assert main(["predict", *arguments]) == 2
    # The model's folder is named before a file is looked at.
    assert capsys.readouterr().err.splitlines()[-1] == f"bert-sentiment predict: {message}"


def test_the_installed_command_on_a_terminal_from_another_folder(predictor: Predictor, tmp_path: Path) -> None:
    """In a process and on a terminal of its own: colours, one line, no bar and no warning of any library."""
    below = tmp_path / "elsewhere"
    below.mkdir()
    controller, terminal = pty.openpty()
    environment = {name: value for name, value in os.environ.items() if name not in ("NO_COLOR", "COLUMNS")}
    code = "import sys, bert_sentiment.cli as c; sys.exit(c.main(['predict', 'a good film', '--explain', 'True']))"
    command = [sys.executable, "-P", "-W", "default", "-c", code]
    done = subprocess.run(
        command, cwd=below, env=environment, stdout=terminal, stderr=subprocess.PIPE, text=True, check=False
    )
    os.close(terminal)
    shown = os.read(controller, 10_000).decode()
    os.close(controller)
    assert (done.returncode, done.stderr) == (0, "")
    (prediction,) = predictor.predict(["a good film"])
    marked = to_terminal(integrated_gradients(predictor.model, "a good film"), colour=True)
    assert "\033[" in marked
    assert shown.replace("\r\n", "\n") == f"{prediction.label}  {prediction.probability:.3f}  {marked}\n"


@given(text=st.text(st.sampled_from(list("ab 好👍e\u0301")), max_size=30), columns=st.integers(1, 40))
def test_a_shortened_text_fits(text: str, columns: int) -> None:
    def width(shown: str) -> int:
        return sum(0 if unicodedata.combining(sign) else 1 + (sign in "好👍") for sign in shown)

    short = shorten(text, columns)
    assert width(short) <= columns
    if width(text) <= columns:
        assert short == text
    else:
        assert short.endswith("…")
        assert text.startswith(short[:-1])
        assert width(short) > columns - 4 or text[len(short) - 1].isspace()


def test_texts_are_cut_at_the_edge_of_the_terminal(
    predictor: Predictor, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.stdout.isatty", lambda: True)
    monkeypatch.setenv("COLUMNS", "40")
    run(PredictConfig(texts=("good film " * 20,), device="cpu"))
    (line,) = capsys.readouterr().out.splitlines()
    assert 36 <= len(line) <= 40
    assert line.endswith("…")


@pytest.mark.parametrize("method", METHOD_NAMES)
def test_words_are_coloured_whatever_the_model_was_trained_by(
    encoder_folder: Callable[..., Path], tmp_path: Path, capsys: pytest.CaptureFixture[str], method: str
) -> None:
    name = ModelConfig(name=str(encoder_folder("bert")))
    base = build_classifier(name, PreprocessingConfig(max_length=40), ("bad", "good"), seed=1)
    settings = MethodConfig(name=method, n_virtual_tokens=4, rank=3, bottleneck=6)  # type: ignore[arg-type]
    model = apply_method(base, settings)
    with torch.no_grad():
        for weight in model.network.parameters():
            if weight.requires_grad:
                weight += 0.3 * torch.randn(weight.shape, generator=torch.Generator().manual_seed(2))
    save_model(merged_where_possible(model), tmp_path / "model")
    command = ["predict", "not a good film", "--model", str(tmp_path / "model"), "--device", "cpu"]
    assert main([*command, "--explain", "True"]) == 0
    output = capsys.readouterr()
    predictor = Predictor.find(str(tmp_path / "model"), tmp_path, "cpu")
    (prediction,) = predictor.predict(["not a good film"])
    attribution = integrated_gradients(predictor.model, "not a good film", prediction.best)
    assert abs(attribution.error) < 1e-4
    assert output.out == (
        f"{prediction.label}  {prediction.probability:.3f}  {to_terminal(attribution, colour=False)}\n"
    )
    assert output.err == ""
