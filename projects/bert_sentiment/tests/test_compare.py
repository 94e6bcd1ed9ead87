"""The comparison as a whole: what is measured and what is not measured again, interruptions, and what goes wrong."""

import html
import json
import signal
from dataclasses import replace
from pathlib import Path

import pytest

from bert_sentiment.comparison import fitting, measuring
from bert_sentiment.comparison.command import run
from bert_sentiment.comparison.data_sets import load_data_sets
from bert_sentiment.models import callbacks
from roadmap_shared.errors import UserError

from .helpers import QUICK_TRAINER, TINY_SCRATCH, TWO_LABELS, rule, write_dataset


@pytest.fixture
def fits(monkeypatch):
    """The fits that were really done, in order."""
    done: list[str] = []
    real = measuring.fit_model

    def record(fit, config, place):
        done.append(str(fit))
        return real(fit, config, place)

    monkeypatch.setattr(measuring, "fit_model", record)
    return done


def report_of(tmp_path: Path) -> str:
    page = tmp_path / "runs" / "bert_sentiment" / "latest" / "report.html"
    return html.unescape(page.read_text(encoding="utf-8"))


def test_every_architecture_and_every_baseline(compare_config, encoder_folder, fits, tmp_path):
    architectures = ("bert", "roberta", "distilbert", "albert", "modernbert")
    models = ["majority", "tfidf", "scratch", f"frozen:{encoder_folder('bert')}"]
    models += [f"finetune:{encoder_folder(name)}" for name in architectures]
    config = compare_config(models=tuple(models), datasets=compare_config().datasets[:1])
    summary = run(config)
    assert list(summary)[6:9] == ["accuracy", "accuracy_low", "accuracy_high"]
    assert summary["accuracy_low"] <= summary["accuracy"] <= summary["accuracy_high"]
    assert summary["best_model"] == summary["best_model_one"] == "tfidf"
    assert summary["accuracy"] == summary["accuracy_one"] == summary["baseline_tfidf_accuracy"] == 1
    assert summary["baseline_majority_accuracy"] == 0.5
    assert (summary["n_fits_measured"], summary["n_fits_kept"], summary["n_failed"]) == (9, 0, 0)
    page = report_of(tmp_path)
    for name in ("frozen:encoder-bert", *(f"finetune:encoder-{name}" for name in architectures)):
        assert name in page
    # The same again: nothing is fitted, and the figures are the same.
    fits.clear()
    again = run(config)
    assert fits == []
    about = ("seconds", "peak_memory_mb", "n_fits_measured", "n_fits_kept")
    assert {key: summary[key] for key in summary if key not in about} == {
        key: again[key] for key in again if key not in about
    }
    assert (again["n_fits_measured"], again["n_fits_kept"]) == (0, 9)


@pytest.mark.usefixtures("no_report")
def test_one_more_model_costs_one_more_fit_a_data_set(compare_config, fits):
    run(compare_config(models=("majority",)))
    fits.clear()
    run(compare_config(models=("tfidf", "majority")))
    assert fits == ["tfidf on one", "tfidf on two"]


@pytest.mark.usefixtures("no_report")
def test_a_changed_text_or_setting_is_measured_anew(compare_config, fits, tmp_path):
    config = compare_config(models=("tfidf", "scratch"), datasets=compare_config().datasets[:1])
    run(config)
    fits.clear()
    run(replace(config, trainer=replace(QUICK_TRAINER, weight_decay=0.5)))
    assert fits == ["scratch on one"]
    fits.clear()
    text = load_data_sets(config)[0].splits.train.texts[0]
    texts = (tmp_path / "one.csv").read_text(encoding="utf-8")
    (tmp_path / "one.csv").write_text(texts.replace(f"{text},", f"{text} really,"), encoding="utf-8")
    run(config)
    assert fits == ["tfidf on one", "scratch on one"]


@pytest.mark.usefixtures("no_report")
def test_the_preprocessing_of_one_data_set_is_measured_anew_there_alone(compare_config, fits, monkeypatch):
    config = compare_config(models=("tfidf", "scratch"))
    run(config)
    fits.clear()
    lengths: list[int] = []
    real = fitting.train

    def record(model, *arguments):
        lengths.append(model.preprocessing.max_length)
        return real(model, *arguments)

    monkeypatch.setattr(fitting, "train", record)
    own = replace(config, dataset_settings=("two.max_length=20",))
    run(own)
    assert fits == ["scratch on two"]
    assert lengths == [20]  # the model itself has the setting, and takes it to other texts
    fits.clear()
    run(own)
    run(config)
    assert fits == []


@pytest.mark.usefixtures("no_report")
def test_a_damaged_result_is_measured_again(compare_config, fits, tmp_path, capsys):
    config = compare_config(models=("tfidf",), cross_domain=False)
    first = run(config)
    files = sorted((tmp_path / "runs" / "bert_sentiment" / "compared").glob("*.json"))
    assert len(files) == 2
    record = json.loads(files[0].read_text(encoding="utf-8"))
    files[0].write_text("{", encoding="utf-8")
    fits.clear()
    assert run(config)["accuracy"] == first["accuracy"]
    assert f"{files[0]}: the kept result is damaged" in capsys.readouterr().err
    assert fits == [record["about"].partition(",")[0]]
    fits.clear()
    run(config)
    assert fits == []


@pytest.mark.usefixtures("no_report")
def test_an_interrupted_comparison_continues(compare_config, monkeypatch, capsys):
    config, real, done = compare_config(), measuring.fit_model, []

    def interrupted(fit, config, place):
        if len(done) == 2:
            raise KeyboardInterrupt
        done.append(str(fit))
        return real(fit, config, place)

    monkeypatch.setattr(measuring, "fit_model", interrupted)
    with pytest.raises(KeyboardInterrupt):
        run(config)
    assert "2 of 4 fits are done and kept: the same command continues\n" in capsys.readouterr().err
    monkeypatch.setattr(measuring, "fit_model", lambda *fit: done.append(str(fit[0])) or real(*fit))
    assert run(config)["n_fits_kept"] == 2
    assert done == ["majority on one", "tfidf on one", "majority on two", "tfidf on two"]


class Interrupter(callbacks.RunLogger):
    """Presses Ctrl-C at the third step."""

    def on_step_begin(self, args, state, control, **kwargs):
        if state.global_step == 2:
            signal.raise_signal(signal.SIGINT)


@pytest.mark.usefixtures("no_report")
def test_an_interrupted_training_continues_from_its_checkpoint(compare_config, encoder_folder, monkeypatch, tmp_path):
    config = compare_config(
        models=(f"finetune:{encoder_folder('bert')}",),
        datasets=compare_config().datasets[:1],
        trainer=replace(QUICK_TRAINER, epochs=2),
    )
    whole = run(replace(config, cache=tmp_path / "whole"))
    with monkeypatch.context() as patched:
        patched.setattr("bert_sentiment.models.trainer.RunLogger", Interrupter)
        with pytest.raises(KeyboardInterrupt):
            run(config)
    unfinished = tmp_path / "runs" / "bert_sentiment" / "compared" / "unfinished"
    assert [path.name for path in unfinished.glob("*/checkpoints/*")] == ["checkpoint-3"]
    clock = next(unfinished.glob("*/seconds.json"))
    clock.write_text("1000", encoding="utf-8")
    started: list[int] = []

    class Watcher(callbacks.RunLogger):
        def on_train_begin(self, args, state, control, **kwargs):
            started.append(state.global_step)
            super().on_train_begin(args, state, control, **kwargs)

    monkeypatch.setattr("bert_sentiment.models.trainer.RunLogger", Watcher)
    assert run(config)["accuracy"] == whole["accuracy"]
    assert started == [3]
    assert list(unfinished.iterdir()) == []
    kept, uninterrupted = (
        json.loads(next(folder.glob("*.json")).read_text(encoding="utf-8"))["result"]
        for folder in (unfinished.parent, tmp_path / "whole")
    )
    assert kept["predicted"] == uninterrupted["predicted"]
    assert kept["seconds"] > 1000 > uninterrupted["seconds"]


def test_a_model_that_fails_is_named_and_the_others_go_on(compare_config, tmp_path, capsys):
    broken = tmp_path / "broken"
    broken.mkdir()
    (broken / "config.json").write_text("{", encoding="utf-8")
    config = compare_config(models=("tfidf", f"finetune:{broken}", "majority"))
    summary = run(config)
    reason = (
        f"{broken}: cannot be loaded as a text classifier: It looks like the config file at '{broken}/config.json' is "
        "not a valid JSON file."
    )
    assert f"finetune:{broken} on one: failed, the others go on: {reason}\n" in capsys.readouterr().err
    assert (summary["best_model"], summary["n_failed"], summary["n_fits_measured"]) == ("tfidf", 2, 4)
    page = report_of(tmp_path)
    assert f"<code>finetune:{broken}</code> on one, two: " in page
    assert page.count("failed") >= 4
    with pytest.raises(UserError) as raised:
        run(replace(config, models=(f"finetune:{broken}",), datasets=config.datasets[:1]))
    assert str(raised.value) == f"no model could be measured: finetune:{broken} on one: {reason}"


def test_a_classifier_of_other_labels_fails_where_they_differ(compare_config, tiny_model, tmp_path):
    tiny_model("bert", labels=TWO_LABELS).save(tmp_path / "model")
    three = write_dataset(tmp_path / "three.csv", rule(90, 3, ("negative", "neutral", "positive")))
    model = f"finetune:{tmp_path / 'model'}"
    config = compare_config(models=("majority", model), datasets=(compare_config().datasets[0], f"three={three}"))
    assert run(config)["n_failed"] == 1
    page = report_of(tmp_path)
    assert (
        f"--models {model}: is a classifier with the labels negative, positive, but the texts have negative, neutral, "
        "positive. Name the file's labels as the model does with --dataset_settings three.label_map, or start from"
    ) in page
    assert "one → three has no figure: the labels differ: only three has neutral." in page
    assert "labels differ" in page


def test_a_curve_and_a_share_that_is_too_small(compare_config, fits, tmp_path):
    run(compare_config(models=("majority", "tfidf"), datasets=compare_config().datasets[:1], shares=(0.02, 0.5, 1.0)))
    assert fits == [
        "majority on one",
        "tfidf on one",
        "majority on one, 50 % of the texts",
        "tfidf on one, 50 % of the texts",
    ]
    n = len(load_data_sets(compare_config())[0].splits.train)
    page = report_of(tmp_path)
    assert f"one: 2 % of the {n} training texts are 1, with no text of the label '" in page
    assert (tmp_path / "runs" / "bert_sentiment" / "latest" / "figures" / "label_efficiency.png").is_file()


def test_overlapping_data_sets_are_warned_of(compare_config, tmp_path):
    source = compare_config().datasets[0].partition("=")[2]
    run(compare_config(datasets=(f"one={source}", f"same={source}"), dataset_settings=("same.split_seed=9",)))
    page = report_of(tmp_path)
    assert "test texts of same are among the training or validation texts of one: one → same is too high." in page


def test_a_diverging_training_leaves_no_checkpoints(compare_config, tmp_path):
    config = compare_config(
        models=("majority", "scratch"),
        datasets=compare_config().datasets[:1],
        scratch=replace(TINY_SCRATCH, learning_rate=1e30),
        trainer=replace(QUICK_TRAINER, clip_norm=0.0, epochs=3),
    )
    config = replace(config, scratch=replace(config.scratch, epochs=3))
    assert run(config)["n_failed"] == 1
    assert "training diverged" in report_of(tmp_path)
    assert list((tmp_path / "runs" / "bert_sentiment" / "compared" / "unfinished").iterdir()) == []
