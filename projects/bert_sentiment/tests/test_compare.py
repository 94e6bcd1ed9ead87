"""The comparison: what is measured, what is kept, what is said of the differences, and what goes wrong."""

import html
import json
import signal
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from matplotlib.colors import to_hex
from scipy.stats import chi2

from bert_sentiment.cli import main
from bert_sentiment.comparison import command, keys, measuring
from bert_sentiment.comparison.command import run
from bert_sentiment.comparison.compared import short_names
from bert_sentiment.comparison.data_sets import (
    NamedSplits,
    content_digest,
    is_hub_id,
    load_data_sets,
    percent,
    read_settings,
    shared_texts,
    take_share,
    too_small,
    why_no_test,
)
from bert_sentiment.comparison.figures import accuracy_figure, cross_figure, efficiency_figure
from bert_sentiment.comparison.fitting import Fit, repeated
from bert_sentiment.comparison.keys import digest, fit_key
from bert_sentiment.comparison.measuring import Measured, Place
from bert_sentiment.comparison.results import Result, ResultCache
from bert_sentiment.comparison.scores import champion, cross_matrix, curves, leaderboard, mean_accuracy
from bert_sentiment.comparison.scratch import SPECIAL, build_scratch, train_wordpiece
from bert_sentiment.config import CompareConfig, PreprocessingConfig, ScratchConfig, TrainerConfig
from bert_sentiment.config.compare import ModelSpec
from bert_sentiment.data.types import Example, SentimentDataset, Splits
from bert_sentiment.models import callbacks
from roadmap_shared.config import RunConfig, load_config, to_yaml
from roadmap_shared.errors import UserError
from roadmap_shared.metrics import Interval, bootstrap_interval
from roadmap_shared.report import PALETTE, figure_svg

LABELS = ("negative", "positive")
QUICK = TrainerConfig(
    epochs=1, batch_size=16, learning_rate=2e-3, head_factor=1.0, patience=None, threads=1, device="cpu"
)
TINY = ScratchConfig(layers=1, width=16, heads=2, vocabulary=120, epochs=1)


def rule(n: int, seed: int, labels: tuple[str, ...] = LABELS) -> SentimentDataset:
    """Texts whose label is that of the one opinion word in them."""
    draw = np.random.default_rng(seed)
    words = "the film was and it is a phone you we they plot".split()
    opinions = [["bad", "awful"], ["good", "great"], ["plain", "usual"]]
    examples = []
    for index in range(n):
        label = index % len(labels)
        text = [*draw.choice(words, size=6), draw.choice(opinions[label]), f"x{seed}y{index}"]
        examples.append(Example(" ".join(text), label))
    return SentimentDataset(labels, tuple(examples), "a rule")


def named(name: str, seed: int = 0, labels: tuple[str, ...] = LABELS, n_test: int = 40) -> NamedSplits:
    parts = rule(60, seed, labels), rule(20, seed + 100, labels), rule(n_test, seed + 200, labels)
    return NamedSplits(name, Splits(*parts))


def write_csv(path: Path, dataset: SentimentDataset) -> Path:
    rows = [f"{example.text},{dataset.labels[example.label]}" for example in dataset.examples]
    path.write_text("\n".join(["text,label", *rows]) + "\n", encoding="utf-8")
    return path


@pytest.fixture
def compare_config(tmp_path):
    """A function to a config of a small comparison on two files with the same labels."""
    one = write_csv(tmp_path / "one.csv", rule(90, 1))
    two = write_csv(tmp_path / "two.csv", rule(90, 2))

    def build(**changes) -> CompareConfig:
        plain = CompareConfig(
            models=("majority", "tfidf"),
            datasets=(f"one={one}", f"two={two}"),
            shares=(),
            min_steps=0,
            n_resamples=200,
            run=RunConfig(root=tmp_path / "runs"),
            trainer=QUICK,
            scratch=TINY,
        )
        return replace(plain, **changes)

    return build


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


@pytest.fixture
def no_report(monkeypatch):
    """Draws no report: these tests are about what is measured."""
    monkeypatch.setattr(command, "comparison_report", lambda compared: "")


def report_of(tmp_path: Path) -> str:
    page = tmp_path / "runs" / "bert_sentiment" / "latest" / "report.html"
    return html.unescape(page.read_text(encoding="utf-8"))


# --- what can be asked for ------------------------------------------------------------------------

KINDS = (
    "Known: majority, tfidf, scratch, and frozen:MODEL or finetune:MODEL, where MODEL is minilm, a folder or a hub id"
)
BUILT_IN = "Built in: films, products, tweets, all; write others as NAME=PATH or NAME=HUB_ID, as in mine=reviews.csv"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--models", "tfdif"], f"--models tfdif: unknown kind of model 'tfdif'. Did you mean 'tfidf'? {KINDS}"),
        (
            ["--models", "finetun:minilm"],
            f"--models finetun:minilm: unknown kind of model 'finetun'. Did you mean 'finetune'? {KINDS}",
        ),
        (
            ["--models", "bert-base-uncased"],
            "--models bert-base-uncased: unknown kind of model 'bert-base-uncased'. "
            f"Did you mean 'finetune:bert-base-uncased'? {KINDS}",
        ),
        (["--models", "frozen"], "--models frozen: name the encoder behind it, as in frozen:minilm"),
        (["--models", "tfidf:minilm"], "--models tfidf:minilm: tfidf takes no encoder: leave ':minilm' out"),
        (["--models", "tfidf", "tfidf"], "--models: 'tfidf' is given twice"),
        (["--datasets", "film"], f"--datasets film: unknown data set. Did you mean 'films'? {BUILT_IN}"),
        (["--datasets", "a.csv"], f"--datasets a.csv: unknown data set. {BUILT_IN}"),
        (
            ["--datasets", "films=a.csv"],
            "--datasets films=a.csv: 'films' is a built-in data set: give yours another name",
        ),
        (
            ["--datasets", "my set=a.csv"],
            "--datasets my set=a.csv: write it as NAME=PATH or NAME=HUB_ID, as in mine=reviews.csv",
        ),
        (["--datasets", "films", "films"], "--datasets: 'films' is given twice"),
        (["--shares", "10"], "--shares 10.0 must be above 0 and at most 1: 0.25 is a quarter of the texts"),
        (["--n_resamples", "0"], "--n_resamples 0 must be at least 1"),
        (["--scratch.heads", "3"], "--scratch.width 128 is not a multiple of --scratch.heads 3"),
        (["--scratch.vocabulary", "9"], "--scratch.vocabulary 9 must be at least 100"),
    ],
)
def test_a_wrong_request_is_one_line(arguments, message, capsys):
    assert main(["compare", *arguments]) == 2
    assert capsys.readouterr().err == f"bert-sentiment compare: {message}\n"


def test_a_spec_is_taken_apart_at_its_first_colon():
    assert ModelSpec.parse("finetune:C:/models/bert") == ModelSpec("finetune", "C:/models/bert")
    assert [str(ModelSpec.parse(text)) for text in ("tfidf", "frozen:minilm")] == ["tfidf", "frozen:minilm"]


def test_the_config_of_a_run_repeats_it(compare_config, tmp_path):
    config = compare_config(dataset_settings=("one.label_map=a=negative b=positive",), shares=(0.5,))
    (tmp_path / "again.yaml").write_text(to_yaml(config), encoding="utf-8")
    assert load_config(CompareConfig, tmp_path / "again.yaml") == config


def test_settings_of_one_data_set_go_before_those_of_all():
    items = ["one.label_map=0=negative '4=very positive'", "max_examples=50", "one.max_examples=20", "text_column=a b"]
    assert read_settings(items, ["one", "two"]) == {
        "one": {"label_map": ["0=negative", "4=very positive"], "max_examples": ["20"], "text_column": ["a", "b"]},
        "two": {"max_examples": ["50"], "text_column": ["a", "b"]},
    }


@pytest.mark.parametrize(
    ("item", "message"),
    [
        ("one", "'one': write it as NAME.SETTING=VALUE, as in mine.test_path=test.csv"),
        ("onne.test_share=0.3", "'onne.test_share=0.3': there is no data set 'onne'. Did you mean 'one'?"),
        ("one.test_shar=0.3", "'one.test_shar=0.3': there is no setting 'test_shar'. Did you mean 'test_share'?"),
        ("one.path=a.csv", "'one.path=a.csv': which texts are read is said by --datasets NAME=SOURCE"),
        ("one.label_map='0=a", "'one.label_map='0=a': No closing quotation"),
    ],
)
def test_a_wrong_data_set_setting(item, message):
    with pytest.raises(UserError) as raised:
        read_settings([item], ["one", "two"])
    assert str(raised.value) == f"--dataset_settings {message}"


def test_an_error_of_a_loader_names_the_data_set(compare_config, tmp_path):
    with pytest.raises(UserError) as raised:
        load_data_sets(compare_config(dataset_settings=("two.max_examples=many",)))
    assert str(raised.value) == (
        "data set 'two': --dataset_settings two: max_examples: 'many' is not a whole number or None"
    )
    with pytest.raises(UserError) as raised:
        load_data_sets(compare_config(dataset_settings=("one.text_column=txt",)))
    assert str(raised.value) == (
        f"data set 'one': {tmp_path / 'one.csv'}: has no column 'txt' for --dataset_settings one.text_column. "
        "Did you mean 'text'? Its columns are text, label"
    )


def test_a_source_is_a_path_or_a_hub_id(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "owner").mkdir()
    (tmp_path / "owner" / "local").mkdir()
    sources = (
        "stanfordnlp/imdb",
        "imdb",
        "data/reviews.csv",
        "x.jsonl.gz",
        "owner/local",
        "/data/reviews",
        "./reviews",
    )
    assert [is_hub_id(source) for source in sources] == [True, True, False, False, False, False, False]


def test_built_in_domains_are_tested_on_their_own_texts():
    films, everything = load_data_sets(CompareConfig(datasets=("films", "all")))
    assert [part.domains for part in (films.splits.train, films.splits.validation, films.splits.test)] == [
        ["films"]
    ] * 3
    assert (
        set(everything.splits.train.domains) == set(everything.splits.test.domains) == {"films", "products", "tweets"}
    )


def test_it_is_not_for_several_processes(compare_config, monkeypatch):
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(UserError) as raised:
        run(compare_config())
    assert str(raised.value) == "compare trains one model after another in one process: start it without torchrun"


# --- parts of the texts, and tests across data sets -------------------------------------------------


@given(shares=st.tuples(st.floats(0.02, 1), st.floats(0.02, 1)), seed=st.integers(0, 50), n=st.integers(10, 90))
@settings(max_examples=40, deadline=None)
def test_smaller_shares_lie_within_larger_ones_and_keep_the_proportions(shares, seed, n):
    train = rule(n, 0, ("negative", "neutral", "positive"))
    small, large = (take_share(train, share, seed) for share in sorted(shares))
    assert set(small.examples) <= set(large.examples) <= set(train.examples)
    assert len(small) == round(min(shares) * n)
    if len(small) >= 3:
        counts = Counter(small.targets)
        assert max(counts.values()) - min(counts.values()) <= 2
        assert len(counts) == 3


def test_a_share_without_two_texts_a_label_says_why():
    train = rule(20, 0)
    assert too_small(train, 0.2, 0) is None
    assert too_small(train, 0.15, 0) == (
        "15 % of the 20 training texts are 3, with 1 text of the label 'negative' (at least 2 are needed)"
    )
    assert too_small(train, 0.05, 0) == (
        "5 % of the 20 training texts are 1, with no text of the label 'positive' (at least 2 are needed)"
    )


def test_a_test_needs_the_same_labels_in_whatever_order():
    one, turned = named("one"), named("turned", labels=("positive", "negative"))
    three = named("three", labels=("negative", "neutral", "positive"))
    assert why_no_test(one, turned) is None
    assert why_no_test(one, three) == "the labels differ: only three has neutral"
    assert why_no_test(named("stars", labels=("1", "2")), one) == (
        "the labels differ: only stars has 1, 2, only one has negative, positive"
    )


def test_texts_shared_by_two_data_sets_are_counted():
    one, two = named("one", 0), named("two", 5)
    assert shared_texts(one, two) == 0
    leaked = replace(two.splits.test, examples=(*two.splits.test.examples, *one.splits.train.examples[:3]))
    assert shared_texts(one, NamedSplits("two", replace(two.splits, test=leaked))) == 3


def test_texts_are_repeated_until_there_are_enough_steps():
    train = rule(20, 0)
    trainer = replace(QUICK, epochs=5, batch_size=8)
    assert len(repeated(train, trainer, 15)) == 20  # 3 steps an epoch are 15 already
    for steps in (16, 100, 333):
        n_texts = len(repeated(train, trainer, steps))
        assert n_texts % 20 == 0
        assert 5 * -(-n_texts // 8) >= steps > 5 * -(-(n_texts - 20) // 8) - 5


# --- keys and kept results -------------------------------------------------------------------------


def key_of(config: CompareConfig, model: str, data: NamedSplits | None = None) -> str:
    data = data or named("one")
    return digest(fit_key(Fit(ModelSpec.parse(model), data, 1.0, data.splits.train), config))


def test_a_key_changes_with_all_that_changes_a_figure_and_with_nothing_else(encoder_folder, tmp_path, monkeypatch):
    config = CompareConfig(trainer=QUICK)
    models = ("majority", "tfidf", "scratch", f"frozen:{encoder_folder('bert')}", f"finetune:{encoder_folder('bert')}")

    def changed(other: CompareConfig, data: NamedSplits | None = None) -> list[str]:
        return [model.split(":")[0] for model in models if key_of(other, model, data) != before[model]]

    before = {model: key_of(config, model) for model in models}
    assert len(set(before.values())) == len(models)
    everyone = [model.split(":")[0] for model in models]
    assert changed(replace(config, n_resamples=5, shares=(0.5,), cache=tmp_path)) == []
    assert changed(replace(config, trainer=replace(QUICK, threads=2))) == []
    assert changed(config, NamedSplits("another name", named("one").splits)) == []
    assert changed(replace(config, trainer=replace(QUICK, learning_rate=1e-3))) == ["scratch", "finetune"]
    assert changed(replace(config, min_steps=7)) == ["scratch", "finetune"]
    assert changed(replace(config, run=RunConfig(seed=2))) == ["scratch", "finetune"]
    assert changed(replace(config, scratch=TINY)) == ["scratch"]
    assert changed(replace(config, preprocessing=PreprocessingConfig(html=False))) == ["scratch", "frozen", "finetune"]
    assert changed(config, named("one", seed=9)) == everyone
    monkeypatch.setattr(keys, "version", lambda name: "1.0" if name == "scikit-learn" else "2.0")
    assert changed(config) == ["tfidf", "scratch", "frozen", "finetune"]


def test_other_weights_in_a_folder_are_another_model(tmp_path):
    for name, content in (("config.json", b"{}"), ("model.safetensors", b"weights")):
        (tmp_path / name).write_bytes(content)
    before = keys.weights_digest(str(tmp_path))
    (tmp_path / "model.safetensors").write_bytes(b"others!")
    assert keys.weights_digest(str(tmp_path)) != before
    (tmp_path / "model.safetensors").write_bytes(b"weights")
    assert keys.weights_digest(str(tmp_path)) == before


def test_a_digest_of_texts_holds_words_labels_and_order():
    data = rule(6, 0)
    first, *others = data.examples
    variants = [
        data,
        replace(data, labels=("negative", "good")),
        replace(data, examples=(*others, first)),
        replace(data, examples=(replace(first, text=first.text + "!"), *others)),
        replace(data, examples=(replace(first, label=1), *others)),
    ]
    assert len({content_digest(variant) for variant in variants}) == len(variants)
    assert content_digest(replace(data, origin="elsewhere")) == content_digest(data)


RESULT = Result((0, 1, 1), LABELS, 1.5, 10, 4)


@pytest.mark.parametrize(
    ("damage", "why"),
    [
        (lambda text: text[:40], "it is no JSON"),
        (lambda text: text.replace('"predicted": [0, 1, 1]', '"predicted": [0, 1, 0]'), "its checksum does not agree"),
        (lambda text: "[]", "it holds no result"),
        (lambda text: "", "it is no JSON"),
    ],
)
def test_a_damaged_result_is_named_and_absent(damage, why, tmp_path, capsys):
    cache = ResultCache(tmp_path)
    cache.put({"a": 1}, RESULT, "a model on some texts")
    assert cache.get({"a": 1}) == RESULT
    assert cache.get({"a": 2}) is None
    path = next(tmp_path.glob("*.json"))
    path.write_text(damage(path.read_text(encoding="utf-8")), encoding="utf-8")
    assert ResultCache(tmp_path).get({"a": 1}) is None
    assert capsys.readouterr().err == f"{path}: the kept result is damaged ({why}), it is measured again\n"


def test_a_result_under_a_wrong_name_is_not_taken(tmp_path, capsys):
    cache = ResultCache(tmp_path)
    cache.put({"a": 1}, RESULT, "")
    (tmp_path / f"{digest({'a': 1})}.json").rename(tmp_path / f"{digest({'a': 2})}.json")
    assert cache.get({"a": 2}) is None
    assert "it belongs to another key" in capsys.readouterr().err


def test_a_cache_that_cannot_be_made(tmp_path):
    (tmp_path / "file").write_text("", encoding="utf-8")
    with pytest.raises(UserError) as raised:
        ResultCache(tmp_path / "file" / "below")
    assert str(raised.value) == (
        f"--cache {tmp_path / 'file' / 'below'}: the folder for the results cannot be made (Not a directory): "
        "name another"
    )


# --- a comparison as a whole ------------------------------------------------------------------------


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
    run(replace(config, trainer=replace(QUICK, weight_decay=0.5)))
    assert fits == ["scratch on one"]
    fits.clear()
    text = load_data_sets(config)[0].splits.train.texts[0]
    texts = (tmp_path / "one.csv").read_text(encoding="utf-8")
    (tmp_path / "one.csv").write_text(texts.replace(f"{text},", f"{text} really,"), encoding="utf-8")
    run(config)
    assert fits == ["tfidf on one", "scratch on one"]


def test_a_changed_test_text_is_a_test_that_was_not_done(tmp_path):
    """A model is not kept, its predictions are: another test part fits it again, and only that part is new."""
    data, other = named("one"), named("two", 3)
    fit = Fit(ModelSpec("majority"), data, 1.0, data.splits.train)
    cache, config = ResultCache(tmp_path), CompareConfig()
    assert measuring.results_of(fit, [data], config, cache)[1] is True
    assert measuring.results_of(fit, [data], config, cache)[1] is False
    assert measuring.results_of(fit, [data, other], config, cache)[1] is True
    assert len(list(tmp_path.glob("*.json"))) == 2


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
        trainer=replace(QUICK, epochs=2),
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
    tiny_model("bert", labels=LABELS).save(tmp_path / "model")
    three = write_csv(tmp_path / "three.csv", rule(90, 3, ("negative", "neutral", "positive")))
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
        scratch=replace(TINY, learning_rate=1e30),
        trainer=replace(QUICK, clip_norm=0.0, epochs=3),
    )
    config = replace(config, scratch=replace(config.scratch, epochs=3))
    assert run(config)["n_failed"] == 1
    assert "training diverged" in report_of(tmp_path)
    assert list((tmp_path / "runs" / "bert_sentiment" / "compared" / "unfinished").iterdir()) == []


# --- fitted models ----------------------------------------------------------------------------------


def test_parameters_are_those_of_the_encoder_and_the_layer_on_top(compare_config, encoder_folder, tmp_path):
    data = named("one")
    config = compare_config()
    counts = {}
    for model in ("majority", "tfidf", f"frozen:{encoder_folder('bert')}", f"finetune:{encoder_folder('bert')}"):
        fit = Fit(ModelSpec.parse(model), data, 1.0, data.splits.train)
        results, _ = measuring.results_of(fit, [data], config, ResultCache(tmp_path / "cache"))
        counts[fit.model.kind] = (results["one"].parameters, results["one"].trained)
    assert counts["majority"] == (2, 2)
    # Logistic regression on two labels has one weight a feature and a bias; the encoder is 32 wide.
    assert counts["frozen"][1] == 33
    assert counts["tfidf"][0] == counts["tfidf"][1] > 60
    encoder, layer = counts["frozen"][0] - 33, 32 * 2 + 2
    assert counts["finetune"] == (encoder + layer, encoder + layer)


@pytest.mark.usefixtures("no_report")
def test_a_scratch_model_learns_the_rule(compare_config):
    scratch = ScratchConfig(layers=1, width=32, heads=2, vocabulary=120, epochs=8, learning_rate=5e-3)
    config = compare_config(models=("scratch",), datasets=compare_config().datasets[:1], scratch=scratch)
    assert run(config)["accuracy"] >= 0.9


def test_the_tokens_of_a_text_depend_on_the_texts_alone():
    texts = rule(60, 0).texts
    vocabularies = [train_wordpiece(texts, 130).get_vocab() for _ in range(4)]
    assert vocabularies[1:] == vocabularies[:-1]
    vocabulary = vocabularies[0]
    assert [token for token, index in sorted(vocabulary.items(), key=lambda item: item[1])][:5] == list(SPECIAL)
    assert sorted(vocabulary.values()) == list(range(len(vocabulary)))
    assert len(vocabulary) == 130
    assert "awful" in vocabulary
    # A letter within words is a token like any other: it is found within words, and not as the text "##a".
    encoded = train_wordpiece(texts, 130).encode("##a filmawful")
    assert encoded.tokens[:4] == ["[CLS]", "[UNK]", "[UNK]", "a"]


def test_a_scratch_model_depends_on_seed_and_texts():
    texts = rule(30, 0).texts
    first, same, other = (
        build_scratch(TINY, PreprocessingConfig(max_length=16), texts, LABELS, seed).logits(texts[:4])
        for seed in (1, 1, 2)
    )
    assert np.array_equal(first, same)
    assert not np.allclose(first, other)
    model = build_scratch(TINY, PreprocessingConfig(max_length=16), texts, LABELS, 1)
    assert model.labels == LABELS
    assert model.logits(["good " * 100]).shape == (1, 2)  # cut to what the position table holds


# --- what the results say ---------------------------------------------------------------------------


def result(correct: np.ndarray, data: NamedSplits) -> Result:
    """Predictions that are right where `correct` says so."""
    targets = np.array(data.splits.test.targets)
    predicted = np.where(correct, targets, 1 - targets)
    return Result(tuple(predicted.tolist()), data.labels, 1.0, 10, 5)


def test_the_best_and_what_cannot_be_told_apart_from_it():
    data = named("one", n_test=100)
    draw = np.random.default_rng(0)
    right = {"good": draw.random(100) < 0.9, "bad": draw.random(100) < 0.5}
    right["as good"] = right["good"].copy()
    right["as good"][np.flatnonzero(right["good"])[:2]] = False
    measured = Measured({Place(name, "one", "one"): result(correct, data) for name, correct in right.items()})
    board = leaderboard(measured, data, ["bad", "missing", "as good", "good"], 1000)
    assert [(entry.model, entry.verdict) for entry in board] == [
        ("good", "best"),
        ("as good", "cannot tell apart"),
        ("bad", "worse"),
    ]
    assert [entry.scores.accuracy.estimate for entry in board] == [right[e.model].mean() for e in board]
    close, far = board[1:]
    assert close.behind is not None
    assert close.mcnemar is not None
    assert close.behind.difference == pytest.approx(0.02)
    assert (close.mcnemar.only_a, close.mcnemar.only_b, close.mcnemar.p_value) == (0, 2, 0.5)
    assert far.mcnemar is not None
    only_good, only_bad = int((right["good"] & ~right["bad"]).sum()), int((~right["good"] & right["bad"]).sum())
    assert (far.mcnemar.only_b, far.mcnemar.only_a) == (only_good, only_bad)
    corrected = (abs(only_good - only_bad) - 1) ** 2 / (only_good + only_bad)
    assert far.mcnemar.p_value == pytest.approx(chi2.sf(corrected, df=1))
    assert leaderboard(measured, named("two"), ["good"], 10) == []


def test_labels_in_another_order_are_the_same_labels():
    one, turned = named("one"), named("turned", labels=("positive", "negative"))
    # Of a model trained on `one`, which calls positive 1: right on every text of `turned`, where it is 0.
    texts = Result(tuple(1 - target for target in turned.splits.test.targets), one.labels, 1.0, 1, 1)
    assert measuring.accuracy_of(texts, turned) == 1
    measured = Measured({Place("a", "one", "turned"): texts}, {("a", "turned"): "broken"})
    matrix = cross_matrix(measured, [one, turned], "a", 50)
    assert matrix == [["not measured", Interval(1, 1, 1)], ["failed", "failed"]]


def test_the_mean_over_data_sets_and_its_interval():
    one, two = named("one", 0, n_test=60), named("two", 7, n_test=30)
    draw = np.random.default_rng(1)
    right = {"one": draw.random(60) < 0.8, "two": draw.random(30) < 0.6}
    measured = Measured({Place("a", data.name, data.name): result(right[data.name], data) for data in (one, two)})
    mean = mean_accuracy(measured, "a", [one, two], 4000)
    assert mean.estimate == pytest.approx((right["one"].mean() + right["two"].mean()) / 2)
    # The same by hand: the number of right answers in a resample is binomial.
    shares = [draw.binomial(len(r), r.mean(), size=40_000) / len(r) for r in right.values()]
    low, high = np.quantile(np.mean(shares, axis=0), [0.025, 0.975])
    assert (mean.low, mean.high) == (pytest.approx(low, abs=0.015), pytest.approx(high, abs=0.015))
    # A data set given twice under two names holds nothing more: the interval is that of one.
    twin = NamedSplits("twin", one.splits)
    measured.results[Place("a", "twin", "twin")] = measured.results[Place("a", "one", "one")]
    single = bootstrap_interval(right["one"].astype(float), n_resamples=4000)
    both = mean_accuracy(measured, "a", [one, twin], 4000)
    assert (both.estimate, both.low, both.high) == pytest.approx((single.estimate, single.low, single.high))


def test_the_champion_was_measured_everywhere():
    one, two = named("one", 0), named("two", 7)
    everywhere = np.arange(40) < 28
    measured = Measured(
        {
            Place("lucky", "one", "one"): result(np.arange(40) < 39, one),
            Place("steady", "one", "one"): result(everywhere, one),
            Place("steady", "two", "two"): result(everywhere, two),
        }
    )
    best = champion(measured, [one, two], ["lucky", "steady"], 100)
    assert (best.model, best.accuracy.estimate) == ("steady", pytest.approx(0.7))


def test_a_curve_ends_with_all_texts():
    data = named("one")
    measured = Measured(
        {Place("a", "one", "one", share): result(np.arange(40) < 40 * share, data) for share in (1.0, 0.25, 0.5)}
    )
    points = curves(measured, data, ["a", "b"], 50)
    assert list(points) == ["a"]
    assert [(point.n_texts, point.accuracy.estimate) for point in points["a"]] == [(15, 0.25), (30, 0.5), (60, 1.0)]


# --- figures ----------------------------------------------------------------------------------------


def test_the_heat_map_shows_its_numbers_and_why_there_are_none():
    matrix = [[Interval(0.9123, 0.9, 0.95), "labels differ"], [Interval(0.5, 0.4, 0.6), Interval(0.75, 0.7, 0.8)]]
    names = ["$x$ & <b>", "two"]
    figure = cross_figure({"a": matrix, "$m$": matrix}, names)
    for axis in figure.axes:
        assert [text.get_text() for text in axis.texts] == ["0.912", "labels\ndiffer", "0.500", "0.750"]
        assert [text.get_fontweight() for text in axis.texts if "." in text.get_text()] == ["bold", "normal", "bold"]
        assert [label.get_text() for label in axis.get_xticklabels()] == names
    assert "$x$" in figure_svg(figure)


def test_the_accuracies_are_coloured_by_verdict():
    data = named("one", n_test=100)
    right = {"good": np.arange(100) < 90, "bad": np.arange(100) < 40}
    measured = Measured({Place(name, "one", "one"): result(correct, data) for name, correct in right.items()})
    board = leaderboard(measured, data, list(right), 200)
    (axis,) = accuracy_figure({"one": board}, {name: name for name in right}).axes
    dots: list[Any] = list(axis.collections)[1::2]
    points = {float(dot.get_offsets()[0][0]): to_hex(dot.get_facecolor()[0]) for dot in dots}
    assert points == {0.9: PALETTE[0], 0.4: PALETTE[1]}


def test_a_curve_is_drawn_through_its_points():
    data = named("one")
    measured = Measured(
        {Place("a", "one", "one", share): result(np.arange(40) < 40 * share, data) for share in (1.0, 0.5)}
    )
    points = curves(measured, data, ["a"], 50)
    (axis,) = efficiency_figure({"one": points}, {"a": "a"}).axes
    x, y = axis.lines[0].get_data()
    assert (list(x), list(y)) == ([30, 60], [0.5, 1.0])


def test_short_names_stay_apart():
    models = ["tfidf", "finetune:/a/bert", "frozen:/a/bert", "finetune:google/bert"]
    assert list(short_names(models).values()) == ["tfidf", "finetune:/a/bert", "frozen:bert", "finetune:google/bert"]
    assert percent(0.125) == "12.5 %"
