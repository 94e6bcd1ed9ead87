"""The predictor: the same answers whatever the batch, the right to be unsure, and the folder that a name means."""

import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from bert_sentiment.config import PreprocessingConfig
from bert_sentiment.inference.model_folders import runs_folder
from bert_sentiment.inference.predictor import Prediction, Predictor, unusable
from bert_sentiment.models.bert_classifier import SentimentModel
from bert_sentiment.models.devices import find_device
from roadmap_shared.errors import UserError

TinyModel = Callable[..., SentimentModel]
TEXTS = [
    "good",
    "the plot was bright and i loved it !",
    "not a good film , but really fine",
    "awful , awful , and very dull , we hated that and never " * 3,
    "?",
]


def sharpened(model: SentimentModel) -> SentimentModel:
    """With larger random weights: fresh ones give every text nearly the same probabilities."""
    with torch.no_grad():
        for parameter in model.network.parameters():
            if parameter.dim() > 1:
                parameter *= 6
    return model


@pytest.fixture
def predictor(tiny_model: TinyModel) -> Predictor:
    return Predictor(sharpened(tiny_model()))


def test_predictions_are_the_softmax_of_each_text_alone(tiny_model: TinyModel, architecture: str) -> None:
    model = replace(sharpened(tiny_model(architecture)), temperature=1.6)
    for text, prediction in zip(TEXTS, Predictor(model).predict(TEXTS, batch_size=3), strict=True):
        inputs = model.tokenizer(text, return_tensors="pt", truncation=True, max_length=64)
        inputs.pop("token_type_ids", None)
        with torch.no_grad():
            expected = (model.network(**inputs).logits[0] / 1.6).softmax(-1).tolist()
        assert list(prediction.probabilities.values()) == pytest.approx(expected, abs=1e-5)
        assert prediction.probability == max(prediction.probabilities.values())
        assert prediction.label == prediction.best == model.labels[expected.index(max(expected))]


def test_texts_do_differ(predictor: Predictor) -> None:
    rows = [list(prediction.probabilities.values()) for prediction in predictor.predict(TEXTS)]
    assert max(abs(a - b) for row in rows for a, b in zip(row, rows[0], strict=True)) > 0.03


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(order=st.permutations(TEXTS), batch_size=st.integers(1, 6))
def test_the_batch_changes_nothing(predictor: Predictor, order: list[str], batch_size: int) -> None:
    alone = {text: predictor.predict([text])[0] for text in TEXTS}
    for text, prediction in zip(order, predictor.predict(order, batch_size), strict=True):
        assert prediction.label == alone[text].label
        assert prediction.probabilities == pytest.approx(alone[text].probabilities, abs=1e-5)


def test_unsure_is_said_below_the_threshold_and_not_at_it(predictor: Predictor) -> None:
    (sure,) = predictor.predict(["good"])
    assert replace(predictor, unsure_below=sure.probability).predict(["good"])[0] == sure
    (unsure,) = replace(predictor, unsure_below=sure.probability + 1e-6).predict(["good"])
    assert unsure == replace(sure, label="unsure")
    assert unsure.best == sure.label


def test_no_texts_no_predictions(predictor: Predictor) -> None:
    assert predictor.predict([]) == []


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "is empty"),
        (" \n\t", "is empty"),
        ("<br /><p>", "is empty once markup is taken away"),
        ("x" * 1_000_001, "has 1,000,001 characters; at most 1,000,000 are read"),
        ("a \ud83d b", "holds a broken character (half of a surrogate pair, or bytes that are not UTF-8)"),
    ],
)
def test_unusable_texts_are_named(predictor: Predictor, text: str, reason: str) -> None:
    assert unusable(text, predictor.model.preprocessing) == reason
    with pytest.raises(UserError) as caught:
        predictor.predict(["fine", text])
    assert str(caught.value) == f"text 2 of 2: {reason}"


def test_a_model_with_one_output_is_no_classifier(tiny_model: TinyModel) -> None:
    with pytest.raises(UserError) as caught:
        Predictor(tiny_model(labels=("score",)), folder=Path("model"))
    assert str(caught.value) == "model: has one output and not a label for each class: use a classifier"


def test_full_gpu_memory_names_the_batch_size(predictor: Predictor, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*arguments: object) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr(SentimentModel, "probabilities", full)
    with pytest.raises(UserError) as caught:
        predictor.predict(["good"], batch_size=512)
    assert str(caught.value) == (
        "the GPU's memory does not hold 512 texts: use a smaller --batch_size, or --device cpu"
    )


def test_the_fingerprint_depends_on_what_predicts_and_on_nothing_else(tiny_model: TinyModel, tmp_path: Path) -> None:
    tiny_model().save(tmp_path / "model")
    model = SentimentModel.load(tmp_path / "model")
    first = Predictor(model).fingerprint()
    Predictor(model).predict(TEXTS)
    assert Predictor(model).fingerprint() == first, "use leaves no trace"
    copy = shutil.copytree(tmp_path / "model", tmp_path / "copy")
    assert Predictor(SentimentModel.load(copy), unsure_below=0.9, folder=copy).fingerprint() == first
    assert Predictor(replace(model, temperature=1.1)).fingerprint() != first
    assert Predictor(replace(model, preprocessing=PreprocessingConfig(max_length=20))).fingerprint() != first
    model.tokenizer.add_tokens(["splendid"])
    assert Predictor(model).fingerprint() != first
    model = SentimentModel.load(copy)
    with torch.no_grad():
        next(model.network.parameters())[3, 3] += 1e-3
    assert Predictor(model).fingerprint() != first


# Which folder a name means


@pytest.fixture
def runs(tiny_model: TinyModel, tmp_path: Path) -> Path:
    """Three runs: two with a model, and the latest still training."""
    project = tmp_path / "runs" / "bert_sentiment"
    for number, labels in enumerate([("bad", "good"), ("no", "yes")], 1):
        run = project / f"20260101-00000{number}-run"
        tiny_model(labels=labels).save(run / "model")
        (run / "config.yaml").touch()
    training = project / "20260101-000003-run"
    training.mkdir()
    (training / "config.yaml").touch()
    (project / "latest").symlink_to(training.name)
    return project.parent


def labels_of(model: str, root: Path) -> tuple[str, ...]:
    return Predictor.find(model, root, "cpu").labels


def test_latest_is_the_newest_run_with_a_model(runs: Path) -> None:
    predictor = Predictor.find("latest", runs, "cpu", unsure_below=0.7)
    assert predictor.folder == runs / "bert_sentiment" / "20260101-000002-run" / "model"
    assert (predictor.labels, predictor.unsure_below) == (("no", "yes"), 0.7)
    # The link wins over the name where its run has a model: a resumed run may be older by name.
    (runs / "bert_sentiment" / "latest").unlink()
    (runs / "bert_sentiment" / "latest").symlink_to("20260101-000001-run")
    assert labels_of("latest", runs) == ("bad", "good")


def test_a_model_that_is_being_saved_does_not_count(runs: Path) -> None:
    (runs / "bert_sentiment" / "20260101-000002-run" / "model" / "sentiment.json").unlink()
    assert labels_of("latest", runs) == ("bad", "good")


def test_a_run_its_name_and_a_model_folder_are_found(runs: Path) -> None:
    run = runs / "bert_sentiment" / "20260101-000001-run"
    for name in (str(run), run.name, str(run / "model")):
        assert labels_of(name, runs) == ("bad", "good")


def test_runs_are_found_from_a_folder_below(runs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    below = runs.parent / "notes" / "2026"
    below.mkdir(parents=True)
    monkeypatch.chdir(below)
    assert runs_folder(Path("runs")) == runs
    assert labels_of("latest", Path("runs")) == ("no", "yes")
    monkeypatch.chdir(runs.parent)
    assert runs_folder(Path("runs")) == Path("runs")


def message(model: str, root: Path) -> str:
    with pytest.raises(UserError) as caught:
        Predictor.find(model, root, "cpu")
    return str(caught.value)


TRAIN = "Train one with `bert-sentiment run`, name its folder with --model, or the folder of the runs with --root"


def test_errors_say_what_there_is(runs: Path, tmp_path: Path) -> None:
    project = runs / "bert_sentiment"
    training = project / "20260101-000003-run"
    assert message(str(training), runs) == (
        f"{training}: is a run without a model: it has not ended, or its command keeps none. {TRAIN}"
    )
    assert message(str(tmp_path), runs) == (
        f"{tmp_path}: is neither a model folder (no config.json in it) nor a run. {TRAIN}"
    )
    assert message("lates", runs) == "--model lates: there is no such folder. Did you mean 'latest'?"
    assert message("bert/base", runs) == (
        f"--model bert/base: there is no such folder. Runs with a model in {project}: "
        "20260101-000001-run, 20260101-000002-run"
    )
    weights = project / "20260101-000001-run" / "model" / "model.safetensors"
    assert message(str(weights), runs) == f"--model {weights}: is a file: name the folder that holds it"
    empty = tmp_path / "empty"
    assert message("latest", empty) == f"{empty / 'bert_sentiment'}: holds no run with a model. {TRAIN}"
    assert message("mine", empty) == (
        f"--model mine: there is no such folder. There is no run in {empty / 'bert_sentiment'}"
    )


def test_damaged_weights_are_one_line(runs: Path) -> None:
    model = runs / "bert_sentiment" / "20260101-000001-run" / "model"
    weights = model / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:500])
    assert message(str(model), runs).startswith(f"{model}: cannot be loaded as a text classifier: ")


def test_auto_takes_a_gpu_where_there_is_one(monkeypatch: pytest.MonkeyPatch) -> None:
    for cuda, mps, expected in (
        (True, False, "cuda"),
        (True, True, "cuda"),
        (False, True, "mps"),
        (False, False, "cpu"),
    ):
        monkeypatch.setattr(torch.cuda, "is_available", lambda there=cuda: there)
        monkeypatch.setattr(torch.backends.mps, "is_available", lambda there=mps: there)
        assert find_device("auto") == torch.device(expected)
        assert find_device("cpu") == torch.device("cpu")


def test_prediction_orders_labels_as_the_classifier(predictor: Predictor) -> None:
    (prediction,) = predictor.predict(["good"])
    assert isinstance(prediction, Prediction)
    assert tuple(prediction.probabilities) == ("negative", "neutral", "positive")
    assert sum(prediction.probabilities.values()) == pytest.approx(1, abs=1e-6)
